#!/bin/bash
# lint.sh [--format | --deep] [FILE...] -- clang-format and clang-tidy over the C++ sources. --format rewrites instead
# of complaining and leaves clang-tidy out. --deep lets the static analyzer follow as many paths as it does by default,
# which takes twice as long. With files, only those.
set -euo pipefail

cd "$(dirname "$0")/../.."
if ! command -v clang-format >/dev/null || ! command -v clang-tidy >/dev/null; then
  echo "lint: clang-format or clang-tidy is missing; apt-get install clang-format clang-tidy" >&2
  exit 1
fi

format=false
analyzer=(--extra-arg=-Xclang --extra-arg=-analyzer-config --extra-arg=-Xclang --extra-arg=max-nodes=40000)
case "${1:-}" in
  --format) format=true && shift ;;
  --deep) analyzer=() && shift ;;
esac
if [ $# -gt 0 ]; then
  files=("$@")
else
  mapfile -t files < <(find native test/native -name '*.cpp' -o -name '*.h' | sort)
fi
if $format; then
  clang-format -i "${files[@]}"
  exit
fi
status=0
# One style of includes: a native header is named by its path from native/.
own=$(grep -nE '^#include "(\.|[^/]*")' $(printf '%s\n' "${files[@]}" | grep '^native/') /dev/null || true)
if [ -n "$own" ]; then
  printf '%s\n' "$own" 'lint: name a native header by its path from native/' >&2
  status=1
fi
clang-format --dry-run --Werror "${files[@]}" || status=1

# clang-tidy sees headers through the sources that include them; what it cannot compile here it is not given.
mapfile -t sources < <(printf '%s\n' "${files[@]}" | grep -E '^native/.*\.cpp$' |
  grep -Fxf <(node native/build/gyp-inputs.cjs addon; node native/build/gyp-inputs.cjs sse42) || true)
[ ${#sources[@]} -gt 0 ] || exit $status

flags=(-std=c++20 "-I$PWD/native" -DNAPI_VERSION=9 -DNAPI_DISABLE_CPP_EXCEPTIONS -DNODE_ADDON_API_DISABLE_DEPRECATED
  -DRC_VERSION="\"0\""
  -isystem "$(node native/build/gyp-inputs.cjs node-addon-api)"
  -isystem "$(node native/build/gyp-inputs.cjs node-headers)")
if [ "$(uname -m)" = x86_64 ]; then flags+=(-msse4.2 -mpclmul); fi
mkdir -p build/lint
printf '%s\n' "${flags[@]}" >build/lint/compile_flags.txt

# One file on each core. What it says on stderr is how many warnings of system headers it left out.
printf '%s\0' "${sources[@]}" |
  xargs -0 -I FILE -P "$(nproc)" \
    bash -c 'clang-tidy --quiet -p build/lint "$@" 2> >(grep -v "generated\.$" >&2)' - "${analyzer[@]}" FILE || status=1
exit $status
