#!/usr/bin/env bash
# demo.sh: the main job from nothing. Builds the operator, starts a control plane and runs
# deploy/demo.rs, which breaks four widget contracts and shows what becomes of them.
#
#   HOLD=1            keep it running afterwards, until Ctrl-C; prints the dashboard's address and a token
#   CLUSTER=current   use the cluster of KUBECONFIG instead of starting one
#   KINTSUGI_DEMO_OPERATOR   an operator that is built already, with the demo beside it in examples/;
#                     then nothing is built
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."

if [ -z "${KINTSUGI_DEMO_OPERATOR:-}" ]; then
  cargo build --bin kintsugi --example demo
  KINTSUGI_DEMO_OPERATOR=$PWD/target/debug/kintsugi
fi
bin=$(tests/controlplane/build.sh)
export KINTSUGI_DEMO_KUBECTL=$bin/kubectl KINTSUGI_DEMO_OPERATOR

if [ "${CLUSTER:-}" = current ]; then
  : "${KUBECONFIG:?CLUSTER=current needs KUBECONFIG}"
  "$bin/kubectl" apply --server-side -f crds >/dev/null
  export KINTSUGI_DEMO_OPERATOR_KUBECONFIG=$KUBECONFIG
  # The chart need not be installed there, so its namespace may not exist.
  export KINTSUGI_DEMO_LEASE_NAMESPACE=kintsugi-demo
else
  state=$PWD/.run/demo
  trap 'tests/controlplane/down.sh "$state"' EXIT
  # A demo that begins in an old cluster would show the old one's end.
  [ ! -d "$state" ] || { tests/controlplane/down.sh "$state"; rm -rf "$state"; }
  tests/controlplane/up.sh "$state"
  tests/controlplane/install.sh "$state"
  export KUBECONFIG=$state/admin.kubeconfig
  export KINTSUGI_DEMO_OPERATOR_KUBECONFIG=$state/operator.kubeconfig
  export KINTSUGI_DEMO_LEASE_NAMESPACE=kintsugi-system
fi
trap 'exit 130' INT TERM
"$(dirname "$KINTSUGI_DEMO_OPERATOR")/examples/demo"
