#!/usr/bin/env bash
# trixie.sh DIR -- Debian 13's kernel, C library and rdma-core as a tree in DIR/root, for a guest that has RDMA FLUSH. Fetched
# once, by apt-get with state of its own in DIR and from the mirror that this machine's apt uses; nothing is installed.
# Prints the kernel's version.
set -euo pipefail
dir=$(realpath -m "$1")
packages=(linux-image-amd64 libc6 libibverbs1 ibverbs-providers librdmacm1t64 libibverbs-dev librdmacm-dev)
if [ ! -s "$dir/kernel" ]; then
  rm -rf "$dir"
  mkdir -p "$dir"/{apt/lists/partial,apt/cache/archives/partial,apt/parts,debs,root}
  touch "$dir/apt/status"
  # The mirror of Debian's main archive, whatever it is called here.
  mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' | awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }')
  [ -n "$mirror" ] || { echo "trixie.sh: apt knows no mirror of Debian's archive; try apt-get update" >&2; exit 1; }
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  echo "deb [signed-by=$keyring] $mirror trixie main" > "$dir/apt/sources.list"
  own=(-o Dir::Etc::SourceList="$dir/apt/sources.list" -o Dir::Etc::SourceParts="$dir/apt/parts"
    -o Dir::State::Lists="$dir/apt/lists" -o Dir::State::status="$dir/apt/status" -o Dir::Cache="$dir/apt/cache"
    -o APT::Sandbox::User=root)
  apt-get -q -y "${own[@]}" update >&2
  # linux-image-amd64 only names the newest kernel's package.
  image=$(apt-cache "${own[@]}" depends linux-image-amd64 | awk '$1 == "Depends:" { print $2; exit }')
  (cd "$dir/debs" && apt-get -q -y "${own[@]}" download "${packages[@]:1}" "$image" >&2)
  for deb in "$dir"/debs/*.deb; do dpkg-deb -x "$deb" "$dir/root"; done
  # In the tree that this is laid over /lib is a link to /usr/lib.
  for folder in lib lib64; do
    [ -d "$dir/root/$folder" ] && [ ! -L "$dir/root/$folder" ] && cp -a "$dir/root/$folder/." "$dir/root/usr/$folder/" && rm -rf "${dir:?}/root/$folder"
  done
  version=${image#linux-image-}
  depmod -b "$dir/root/usr" "$version"
  rm -rf "$dir/debs" "$dir/apt"
  echo "$version" > "$dir/kernel"
fi
cat "$dir/kernel"
