#!/bin/bash
# run-all.sh MODE PROGRAM... -- runs native test programs, two at a time (RC_NATIVE_TEST_JOBS is another number), and sums up. What one
# says is printed when it has ended, in one piece. A program that dies, hangs or is stopped by a sanitizer counts as one
# failure more. The last line is `N passed, N failed, N skipped`.
set -uo pipefail

mode=$1
shift
jobs=${RC_NATIVE_TEST_JOBS:-2}
limit=${RC_NATIVE_TEST_SECONDS:-$([ "${RC_LONG:-0}" = 1 ] && echo 3600 || echo 300)}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1 second_deadlock_stack=1}

# ThreadSanitizer of older compilers does not start under the address randomisation of newer kernels.
launcher=()
if [ "$mode" = tsan ] && setarch -R true 2>/dev/null; then launcher=(setarch -R); fi

passed=0
failed=0
skipped=0
declare -A running=() # the program of each process
outputs=$(mktemp -d)
# What is told to end takes its programs with it: timeout hands the signal on.
trap '[ ${#running[@]} -eq 0 ] || kill "${!running[@]}" 2>/dev/null; rm -rf "$outputs"' EXIT
trap 'exit 130' INT TERM

# report NAME STATUS -- prints and counts what a program said that has ended.
report() {
  local name=$1 status=$2 output=$outputs/$1 left summary ok bad
  echo "== $name ($mode)"
  cat "$output"
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
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
      echo "not ok $name: still running after $limit s, or killed"
    else
      echo "not ok $name: died with status $status"
    fi
  fi
}

# await_some -- waits until one of the programs that run has ended, and reports all that have.
await_some() {
  local pid status
  wait -n
  for pid in "${!running[@]}"; do
    if kill -0 "$pid" 2>/dev/null; then continue; fi
    status=0
    wait "$pid" || status=$?
    report "${running[$pid]}" "$status"
    unset "running[$pid]"
  done
}

for program in "$@"; do
  name=$(basename "$program")
  while [ ${#running[@]} -ge "$jobs" ]; do await_some; done
  timeout --kill-after=10 "$limit" "${launcher[@]}" "$program" >"$outputs/$name" 2>&1 &
  running[$!]=$name
done
while [ ${#running[@]} -gt 0 ]; do await_some; done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
