# flush-suite.sh -- what runs in the guest with RDMA FLUSH: sourced after setup.sh, steps as in suite.sh.
# shellcheck shell=bash
cd "$GUEST_CHECKOUT" || finish 1
export RDMA_CHECKPOINT_TEST_ADDRESS=10.77.0.1

source "$GUEST_CHECKOUT/test/soft-roce/guest/step.sh"

# Every flush of persistent memory that the kernel carries out is a line of the trace, with its length.
trace_flushes() {
  mount -t tracefs tracefs /sys/kernel/tracing 2> /dev/null
  echo 'p:rdmacp/flush rxe_flush_pmem_iova start=%si:x64 bytes=%dx:u32' > /sys/kernel/tracing/kprobe_events &&
    echo 1 > /sys/kernel/tracing/events/rdmacp/flush/enable
}

dummy dummy0 $RDMA_CHECKPOINT_TEST_ADDRESS/24 fd77::1/64 && rxe dummy0 && devdax && trace_flushes || finish 1
uname -r
rdma link

step devices 60 node dist/cli/main.js devices
step conformance 420 build/native-tests/release/conformance_verbs_test
step fence 600 build/native-tests/release/fence_exactness_test
step devdax 200 env DURABLE_METHOD=flush-verb node test/soft-roce/guest/devdax.mjs /dev/dax0.0 $RDMA_CHECKPOINT_TEST_ADDRESS
step flush 200 node test/soft-roce/guest/flush.mjs /dev/dax0.0 $RDMA_CHECKPOINT_TEST_ADDRESS
