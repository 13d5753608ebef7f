#!/bin/bash
# run-all.sh MODE PROGRAM... -- runs native test programs one after the other and sums up. A program that dies, hangs
# or is stopped by a sanitizer counts as one failure more. The last line is `N passed, N failed, N skipped`.
set -uo pipefail

mode=$1
shift
limit=${RC_NATIVE_TEST_SECONDS:-$([ "${RC_LONG:-0}" = 1 ] && echo 3600 || echo 300)}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1 second_deadlock_stack=1}

# ThreadSanitizer of older compilers does not start under the address randomisation of newer kernels.
launcher=()
if [ "$mode" = tsan ] && setarch -R true 2>/dev/null; then launcher=(setarch -R); fi

passed=0
failed=0
skipped=0
output=$(mktemp)
trap 'rm -f "$output"' EXIT
for program in "$@"; do
  name=$(basename "$program")
  echo "== $name ($mode)"
  timeout --kill-after=10 "$limit" "${launcher[@]}" "$program" 2>&1 | tee "$output"
  status=${PIPESTATUS[0]}
  # A program says itself what it leaves out, and why: `# skipped N tests of ...`.
  left=$(sed -nE 's/^# skipped ([0-9]+) .*/\1/p' "$output" | awk '{ sum += $1 } END { print sum + 0 }')
  skipped=$((skipped + left))
  if summary=$(grep -E '^# [0-9]+ passed, [0-9]+ failed$' "$output" | tail -1) && [ -n "$summary" ]; then
    read -r _ ok _ bad _ <<<"$summary"
    passed=$((passed + ok))
    failed=$((failed + bad))
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
      failed=$((failed + 1))
      echo "not ok $name: ended with status $status after its last test"
    fi
  else
    passed=$((passed + $(grep -c '^ok ' "$output")))
    failed=$((failed + $(grep -c '^not ok ' "$output") + 1))
    if [ "$status" -eq 124 ]; then
      echo "not ok $name: still running after $limit s"
    else
      echo "not ok $name: died with status $status"
    fi
  fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
