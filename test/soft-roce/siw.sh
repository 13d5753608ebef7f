#!/usr/bin/env bash
# siw.sh OUT_DIR KERNEL_VERSION -- builds the kernel's soft-iWARP module from Debian's source package (its kernel is built
# without it). Done once for a kernel version; OUT_DIR/siw-VERSION.ko is the cache.
set -euo pipefail
out=$1 version=$2
module=$out/siw-$version.ko
[ -s "$module" ] && exit 0
archive=$(ls /usr/src/linux-source-"$(cut -d. -f1,2 <<<"$version")".tar.xz)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
top=$(basename "$archive" .tar.xz)
tar -C "$work" -xf "$archive" "$top/drivers/infiniband/sw/siw"
make -s -C "/usr/src/linux-headers-$version" M="$work/$top/drivers/infiniband/sw/siw" CONFIG_RDMA_SIW=m modules
cp "$work/$top/drivers/infiniband/sw/siw/siw.ko" "$module"
