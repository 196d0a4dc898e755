#!/usr/bin/env bash
# up.sh STATE: starts a control plane on a loopback address of its own; many run side by side.
# All that belongs to it is in the folder STATE, which starts afresh: admin.kubeconfig, ca.crt,
# audit.log, ip, pids, and a log for each program. down.sh STATE stops it.
#
#   CORE=1   only etcd, API server and controller manager: no pod runs
#   FSYNC=1  etcd flushes each write to the disk, for benchmarks; tests need no durability
set -euo pipefail
here=$(dirname "$(realpath "$0")")
state=$(realpath -m "${1:?usage: up.sh STATE}")
bin=$("$here/build.sh")
export KUBECONFIG=$state/admin.kubeconfig

ready() { "$bin/kubectl" get --raw /readyz --request-timeout=2s >/dev/null 2>&1; }

if [ -s "$state/pids" ] && ready; then
  echo "already running: $KUBECONFIG" >&2
  exit 0
fi

umask 077
mkdir -p "$state"
cd "$state"
"$here/down.sh" "$state" # What is left of one that did not end well.
# The old certificate names the old address.
rm -rf etcd certs audit.log ./*.kubeconfig

# An interrupt is looked at between two steps, so that each program started is in `pids`.
interrupted=
trap 'interrupted=yes' INT TERM HUP
finish() {
  local status=$?
  [ $status != 0 ] || return 0
  if [ -z "$interrupted" ]; then
    echo "the control plane did not start; the ends of its logs:" >&2
    tail -n 5 ./*.log >&2 || true
  fi
  "$here/down.sh" "$state"
}
trap finish EXIT

# Fixed ports on a free address: no race for free ports. The lock on the address's file is inherited
# by etcd and the API server and ends with them, so none is ever stale. Others may listen, too.
claim_address() {
  local addresses=${KINTSUGI_CACHE:-$HOME/.cache/kintsugi}/addresses
  mkdir -p "$addresses"
  for ip in 127.0.0.{2..250}; do
    exec 8>"$addresses/$ip"
    flock -n 8 && ! listening 2379 && ! listening 6443 && return
  done
  echo "no free loopback address" >&2
  exit 1
}
listening() { (: <>"/dev/tcp/$ip/$1") 2>/dev/null; }
claim_address
echo "$ip" >ip

# In a session of its own: a Ctrl-C is for whoever uses the control plane, not for its programs.
run() {
  setsid "$bin/$1" "${@:2}" >"$1.log" 2>&1 </dev/null &
  echo "$! $1" >>pids
  disown
}

check() {
  local pid program
  [ -z "$interrupted" ] || exit 130
  while read -r pid program; do
    kill -0 "$pid" 2>/dev/null || { echo "$program ended" >&2; exit 1; }
  done <pids
}

for user in admin controller-manager scheduler kwok; do
  token=$(od -An -tx1 -N16 /dev/urandom | tr -d ' \n')
  echo "$token,$user,$user,system:masters"
  cat >"$user.kubeconfig" <<YAML
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: $user}}]
clusters: [{name: test, cluster: {server: "https://$ip:6443", certificate-authority: $state/certs/apiserver.crt}}]
users: [{name: $user, user: {token: $token}}]
YAML
done >tokens.csv

# What the operator asks for and what others write is there before anything comes of it, and again
# with its answer.
cat >audit.yaml <<YAML
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [ResponseStarted]
rules:
- {level: None, resources: [{group: coordination.k8s.io}]}
- {level: Metadata, users: ["system:serviceaccount:kintsugi-system:kintsugi"]}
- {level: None, verbs: [get, list, watch]}
- {level: Metadata}
YAML

etcd=(--data-dir=etcd --log-level=warn --listen-peer-urls="http://$ip:0"
  --listen-client-urls="http://$ip:2379" --advertise-client-urls="http://$ip:2379")
[ "${FSYNC:-}" = 1 ] || etcd+=(--unsafe-no-fsync)
run etcd "${etcd[@]}"
# The key that it makes for TLS signs the ServiceAccount tokens, too.
run kube-apiserver --etcd-servers="http://$ip:2379" --bind-address="$ip" --secure-port=6443 \
  --cert-dir=certs --endpoint-reconciler-type=none --service-cluster-ip-range=10.96.0.0/16 \
  --token-auth-file=tokens.csv --authorization-mode=RBAC --allow-privileged \
  --service-account-issuer=https://kubernetes.default.svc \
  --service-account-signing-key-file=certs/apiserver.key \
  --service-account-key-file=certs/apiserver.key \
  --audit-policy-file=audit.yaml --audit-log-path=audit.log --audit-log-maxsize=1000
exec 8>&-

for ((deadline = SECONDS + 60; SECONDS < deadline; )); do
  check
  ready && break
  sleep 0.1
done
ready || { echo "not ready within a minute" >&2; exit 1; }

# apiserver.crt holds the server's certificate, then its CA's; --root-ca-file takes only the latter.
awk '/BEGIN/ {n++} n == 2' certs/apiserver.crt >ca.crt
# With its own limit of 20 requests a second it would take 5 s to start.
run kube-controller-manager --kube-api-qps=1000 --kube-api-burst=2000 --kubeconfig=controller-manager.kubeconfig \
  --leader-elect=false --secure-port=0 --use-service-account-credentials \
  --root-ca-file=ca.crt --service-account-private-key-file=certs/apiserver.key

if [ "${CORE:-}" != 1 ]; then
  run kube-scheduler --kubeconfig=scheduler.kubeconfig --leader-elect=false --secure-port=0
  # What every container has logged, in the form that container runtimes keep it in, and what one
  # that is called `crashing` has.
  cat >logs.yaml <<YAML
apiVersion: kwok.x-k8s.io/v1alpha1
kind: ClusterLogs
metadata: {name: all}
spec:
  logs:
  - {logsFile: $state/pod.log}
  - {containers: [crashing], logsFile: $state/crash.log}
YAML
  for line in "asked for a new export" "password=canary-of-the-log" "mended 12 documents"; do
    echo "2026-01-01T00:00:00.000000000Z stdout F $line"
  done >pod.log
  for line in "starting with password=canary-of-the-log" \
    "panic: runtime error: canary-of-the-log" "goroutine 1 [running]:"; do
    echo "2026-01-01T00:00:00.000000000Z stderr F $line"
  done >crash.log
  # Without a Lease that is renewed the node, and every pod on it, is NotReady after 50 s.
  run kwok --kubeconfig=kwok.kubeconfig --manage-all-nodes --node-lease-duration-seconds=40 \
    --node-ip="$ip" --node-port=10250 --server-address="$ip:10250" \
    --tls-cert-file=certs/apiserver.crt --tls-private-key-file=certs/apiserver.key \
    --config="$bin/kwok-stages.yaml" --config="$here/faults.yaml" --config=logs.yaml
  "$bin/kubectl" apply -f - >/dev/null <<YAML
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
  # From here on pods are admitted and run.
  "$bin/kubectl" wait --for=create --timeout=60s serviceaccount/default >/dev/null
  "$bin/kubectl" wait --for=condition=Ready --timeout=60s node/node-0 >/dev/null
fi
check
echo "running on $ip: $KUBECONFIG" >&2
