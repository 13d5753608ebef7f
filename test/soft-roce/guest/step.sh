# step.sh -- sourced by a suite: how a step is run. GUEST_STEPS names the steps; without it all that `step` names.
# Each step leaves its output in /run/results/NAME.log and one line in /run/results/steps: NAME STATUS SECONDS.
# shellcheck shell=bash
guest_code=0

# step NAME SECONDS COMMAND... -- a step that takes longer has hung, and is killed.
step() {
  local name=$1 limit=$2 started=$SECONDS status
  shift 2
  case " ${GUEST_STEPS:-$name} " in *" $name "*) ;; *) return 0 ;; esac
  echo "== $name"
  timeout --kill-after=10 "$limit" "$@" > "/run/results/$name.log" 2>&1
  status=$?
  echo "$name $status $((SECONDS - started))" >> /run/results/steps
  [ "$status" -eq 0 ] || guest_code=1
}
