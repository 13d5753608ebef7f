# setup.sh -- sourced by every guest script: kernel RDMA on a dummy interface, and how a guest ends.
# shellcheck shell=bash
ulimit -l unlimited
ulimit -c unlimited
echo '/run/results/core.%e.%p' > /proc/sys/kernel/core_pattern
ip link set lo up

# load MODULE... -- with what they need
load() { for module in "$@"; do modprobe "$module" || return 1; done; }

# dummy NAME ADDRESS/BITS -- an interface that RDMA devices can stand on
dummy() {
  load dummy || return 1
  ip link add "$1" type dummy && ip link set "$1" mtu 9000 up && ip addr add "$2" dev "$1" && ip -6 addr add "$3" dev "$1" nodad
}

# wire ADDRESS/BITS -- the interface that is joined to another guest's
wire() { load virtio_net && ip link set eth0 up && ip addr add "$1" dev eth0; }

# rxe NETDEV: soft-RoCE as rxe0
rxe() { load rdma_rxe rdma_ucm ib_uverbs && rdma link add rxe0 type rxe netdev "$1"; }

# siw NETDEV: soft-iWARP as siw0
siw() { load rdma_ucm ib_uverbs libcrc32c iw_cm && { [ -d /sys/module/siw ] || insmod "$GUEST_SIW"; } && rdma link add siw0 type siw netdev "$1"; }

# devdax -- the emulated NVDIMM as /dev/dax0.0
devdax() { load nfit nd_pmem device_dax dax_pmem && { [ -e /dev/dax0.0 ] || ndctl create-namespace -f -e namespace0.0 -m devdax > /dev/null; }; }

# finish [CODE] -- keeps the kernel's log, says the exit code on the console and powers off
finish() {
  local code=${1:-${guest_code:-0}}
  dmesg > /run/results/dmesg.txt
  sync
  echo
  echo "GUEST-EXIT $code"
  echo o > /proc/sysrq-trigger
  # The host's root is gone before the machine is: nothing is read from it any more, not even this script.
  while :; do :; done
}
