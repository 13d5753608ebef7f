# suite.sh -- what runs in the guest: sourced after setup.sh. GUEST_STEPS names the steps; without it all that `step` names.
# shellcheck shell=bash
cd "$GUEST_CHECKOUT" || finish 1
native=$GUEST_CHECKOUT/build/native-tests/release
sanitized=$GUEST_CHECKOUT/build/native-tests/asan
in=test/integration
product_tests=${GUEST_PRODUCT:-$in/transports.test.ts $in/client-region.test.ts $in/registered-memory.test.ts $in/failover-fence.test.ts $in/demo.test.ts}
rxe_address=10.77.0.1
siw_address=10.78.0.1

source "$GUEST_CHECKOUT/test/soft-roce/guest/step.sh"

on_rxe() { env RDMA_CHECKPOINT_TEST_ADDRESS=$rxe_address "$@"; }
on_rxe_ipv6() { env RDMA_CHECKPOINT_TEST_ADDRESS=fd77::1 "$@"; }
on_siw() { env RDMA_CHECKPOINT_TEST_ADDRESS=$siw_address RDMA_CHECKPOINT_TEST_DEVICE=iwarp "$@"; }
export -f on_rxe on_rxe_ipv6 on_siw load devdax
export rxe_address siw_address

# What the kernel still counts for a device once its users are gone: rxe keeps one of each for management packets.
counts_are_zero() {
  local line
  for _ in $(seq 50); do
    line=$(rdma resource show | tr '\n' ' ')
    if [[ $line =~ rxe0:\ pd\ 1\ cq\ 1\ qp\ 1\ cm_id\ 0\ mr\ 0 ]] && [[ $line =~ siw0:\ pd\ 0\ cq\ 0\ qp\ 0\ cm_id\ 0\ mr\ 0 ]]; then
      echo "ok the kernel counts nothing of ours: $line"
      return 0
    fi
    sleep 0.1
  done
  echo "not ok the kernel still counts: $line"
  return 1
}
export -f counts_are_zero

dummy dummy0 $rxe_address/24 fd77::1/64 && rxe dummy0 || finish 1
dummy dummy1 $siw_address/24 fd78::1/64 && siw dummy1 || finish 1
rdma link

step conformance-rxe 420 bash -c 'on_rxe '"$native"'/conformance_verbs_test'
step conformance-siw 420 bash -c 'on_siw '"$native"'/conformance_verbs_test'
# The suite again, over IPv6, with all of native/ under AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer.
step conformance-rxe-asan 900 bash -c 'on_rxe_ipv6 '"$sanitized"'/conformance_verbs_test'
step fence-rxe 600 bash -c 'on_rxe '"$native"'/fence_exactness_test'
step fence-siw 600 bash -c 'on_siw '"$native"'/fence_exactness_test'
step interop-siw-client 120 env RDMA_CHECKPOINT_TEST_ADDRESS=$siw_address RDMA_CHECKPOINT_TEST_CLIENT=verbs "$native/conformance_interop_test"
step interop-siw-unit 120 env RDMA_CHECKPOINT_TEST_ADDRESS=$siw_address RDMA_CHECKPOINT_TEST_CLIENT=iwarp "$native/conformance_interop_test"
step devices 60 node dist/cli/main.js devices
step devdax 200 bash -c 'devdax && ls -l /dev/dax0.0 && node test/soft-roce/guest/devdax.mjs /dev/dax0.0 '"$rxe_address"

# Integration tests and the demo, with the data plane of every unit on rxe. Modules are loaded once for all files
# (--no-isolate): loading them takes longer than the tests.
product() {
  env RDMA_CHECKPOINT_TEST_ADDRESS=$rxe_address RC_QUICK=1 RC_TEST_WORKERS=1 RC_TEST_TIMEOUT_MS=300000 \
    NODE_OPTIONS="--import file://$GUEST_CHECKOUT/test/soft-roce/on-device.mjs" node test/run.mjs --no-native --no-isolate "$@"
}
export -f product
step product 1500 bash -c 'product '"$product_tests"
# All of them that are about more than user-space iWARP, the addon's surface and this machine's speed; only when it is named.
if [[ " ${GUEST_STEPS:-} " == *" product-all "* ]]; then
  step product-all 3000 bash -c 'product $(ls '"$in"'/*.test.ts | grep -vE "/(native-.*|tshark|bench-takeover|delta-state)\.test")'
fi
# A process that has no capability to pin more than it may.
step locked-memory 120 setpriv --bounding-set=-ipc_lock --inh-caps=-ipc_lock prlimit --memlock=$((64 * 1024 * 1024)) \
  node test/soft-roce/guest/locked-memory.mjs $rxe_address
step resources 30 bash -c counts_are_zero
# Over an interface that was down under a connection this rxe takes no new connections, of any process: the device is made again.
device_events() {
  node test/soft-roce/guest/device-events.mjs $rxe_address rxe0 dummy0
  local status=$?
  rdma link delete rxe0 && rxe dummy0 && return $status
}
export -f device_events rxe
step device-events 180 bash -c device_events
# The last: nothing is on the device afterwards.
step removal 120 node test/soft-roce/guest/removal.mjs $rxe_address rxe0
