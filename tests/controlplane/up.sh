#!/usr/bin/env bash
# up.sh STATE: starts a control plane on a loopback address of its own and keeps all that belongs
# to it in the folder STATE: admin.kubeconfig, ca.crt, audit.log, ip, pids and the logs.
#
#   CORE=1   without scheduler and kwok, for tests that need no pods
#   FSYNC=1  writes are durable, for benchmarks; off by default, since tests need no durability
set -euo pipefail
here=$(dirname "$(realpath "$0")")
state=$(realpath -m "${1:?usage: up.sh STATE}")
bin=$("$here/build.sh")
kubectl=$bin/kubectl
export KUBECONFIG=$state/admin.kubeconfig

if [ -s "$state/pids" ] && "$kubectl" get --raw /readyz --request-timeout=2s >/dev/null 2>&1; then
  echo "already running: $KUBECONFIG" >&2
  exit 0
fi

mkdir -p "$state"
cd "$state"
umask 077
: >pids

# Fixed ports on an address of its own: no race for free ports, many side by side.
# Binding is the lock: an address is free when nobody listens on its etcd port.
claim_address() {
  local cache=${KINTSUGI_CACHE:-$HOME/.cache/kintsugi} number pid
  mkdir -p "$cache/addresses"
  for number in $(seq 2 250); do
    ip=127.0.0.$number
    claim=$cache/addresses/$ip
    pid=$(cat "$claim" 2>/dev/null || true)
    # A claim whose etcd is gone is stale; one younger than its etcd names the script itself.
    if [ -n "$pid" ] && ! kill -0 "$pid" 2>/dev/null; then rm -f "$claim"; fi
    (echo 2>/dev/null >"/dev/tcp/$ip/2379") 2>/dev/null && continue
    if (set -o noclobber; echo $$ >"$claim") 2>/dev/null; then return; fi
  done
  echo "no free loopback address" >&2
  exit 1
}
claim_address
echo "$ip" >ip

run() {
  local program=$1
  shift
  # In a session of its own, so that a Ctrl-C meant for a test does not end the control plane.
  setsid "$bin/$program" "$@" >"$program.log" 2>&1 </dev/null &
  echo "$! $program" >>pids
}

fail() {
  echo "the control plane did not start: $1" >&2
  tail -n 5 ./*.log >&2
  "$here/down.sh" "$state"
  exit 1
}

alive() { while read -r pid program; do kill -0 "$pid" 2>/dev/null || fail "$program ended"; done <pids; }

users="admin controller-manager scheduler kwok"
for user in $users; do
  echo "$(od -An -tx1 -N16 /dev/urandom | tr -d ' \n'),$user,$user,system:masters"
done >tokens.csv
for user in $users; do
  token=$(awk -F, -v user="$user" '$2 == user {print $1}' tokens.csv)
  cat >"$user.kubeconfig" <<YAML
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: $user}}]
clusters: [{name: test, cluster: {server: "https://$ip:6443", certificate-authority: $state/certs/apiserver.crt}}]
users: [{name: $user, user: {token: $token}}]
YAML
done
cat >audit.yaml <<YAML
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
YAML

rm -rf etcd
no_fsync=--unsafe-no-fsync
[ "${FSYNC:-}" = 1 ] && no_fsync=
run etcd --data-dir=etcd --log-level=warn ${no_fsync:+"$no_fsync"} \
  --listen-peer-urls="http://$ip:0" --listen-client-urls="http://$ip:2379" \
  --advertise-client-urls="http://$ip:2379"
head -n 1 pids | cut -d' ' -f1 >"$claim"
# The API server's own key signs ServiceAccount tokens, too: it writes it early enough.
run kube-apiserver --etcd-servers="http://$ip:2379" --bind-address="$ip" --secure-port=6443 \
  --cert-dir=certs --endpoint-reconciler-type=none --authorization-mode=RBAC \
  --service-account-issuer=https://kubernetes.default.svc \
  --service-account-signing-key-file=certs/apiserver.key \
  --service-account-key-file=certs/apiserver.key --token-auth-file=tokens.csv \
  --service-cluster-ip-range=10.96.0.0/16 --allow-privileged \
  --audit-policy-file=audit.yaml --audit-log-path=audit.log

for _ in $(seq 600); do
  "$kubectl" get --raw /readyz --request-timeout=2s >/dev/null 2>&1 && ready=1 && break
  alive
  sleep 0.1
done
[ "${ready:-}" = 1 ] || fail "it was not ready within a minute"
# The second certificate is the CA's: what --root-ca-file must have.
awk '/BEGIN/ {n++} n == 2' certs/apiserver.crt >ca.crt

run kube-controller-manager --kubeconfig=controller-manager.kubeconfig --leader-elect=false \
  --secure-port=0 --use-service-account-credentials \
  --service-account-private-key-file=certs/apiserver.key --root-ca-file=ca.crt
if [ "${CORE:-}" != 1 ]; then
  run kube-scheduler --kubeconfig=scheduler.kubeconfig --leader-elect=false --secure-port=0
  run kwok --kubeconfig=kwok.kubeconfig --manage-all-nodes --config="$bin/stages.yaml"
  "$kubectl" apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Node
metadata:
  name: node-0
  labels: {kubernetes.io/hostname: node-0, kubernetes.io/os: linux}
  annotations: {kwok.x-k8s.io/node: fake}
status:
  allocatable: {cpu: 64, memory: 256Gi, pods: 1000}
  capacity: {cpu: 64, memory: 256Gi, pods: 1000}
YAML
fi
alive
echo "running on $ip: $KUBECONFIG" >&2
