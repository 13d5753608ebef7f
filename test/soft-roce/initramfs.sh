#!/usr/bin/env bash
# initramfs.sh OUT KERNEL_VERSION [MODULES] -- a small initramfs: busybox, guest/init, and the modules that reach the host's
# root; from MODULES/lib/modules, default /lib/modules.
set -euo pipefail
out=$1 version=$2 modules=${3:-/}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{bin,modules,proc,sys,dev}
cp /bin/busybox "$work/bin/busybox"
cp "$here/guest/init" "$work/init"
chmod 755 "$work/init"
order=0
for module in virtio_pci 9p 9pnet_virtio overlay; do
  modprobe -d "$modules" -S "$version" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
  order=$((order + 1))
  name=$(printf '%02d-%s' "$order" "$(basename "$file")")
  case $file in
    *.xz) xz -dc "$file" > "$work/modules/${name%.xz}"; name=${name%.xz} ;;
    *) cp "$file" "$work/modules/$name" ;;
  esac
  echo "/modules/$name" >> "$work/modules.list"
done
(cd "$work" && find . | cpio --quiet -o -H newc | gzip -1) > "$out.part"
mv "$out.part" "$out"
