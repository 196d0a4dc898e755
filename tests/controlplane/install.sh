#!/usr/bin/env bash
# install.sh STATE: installs the chart into the control plane of STATE and writes
# STATE/operator.kubeconfig with the rights that the chart gives, and no others. The Deployment has
# no replicas: the operator runs as a process beside the control plane, which has no real nodes. It
# has every right that the chart can give, those of effects, diagnosis and the dashboard, too.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
state=$(realpath "${1:?usage: install.sh STATE}")
bin=$("$here/build.sh")
export KUBECONFIG=$state/admin.kubeconfig
cd "$here/../.."
"$bin/helm" upgrade --install kintsugi charts/kintsugi --namespace kintsugi-system \
  --create-namespace --set replicas=0 \
  --set effects.enabled=true,effects.deletePods=true,effects.jobs=true,effects.jobLogs=true \
  --set diagnosis.logs=true,dashboard.enabled=true >/dev/null
for crd in crds/*.yaml; do
  "$bin/kubectl" wait --for=condition=Established --timeout=30s -f "$crd" >/dev/null
done
token=$("$bin/kubectl" --namespace kintsugi-system create token kintsugi --duration=8h)
umask 077
sed "s/token: .*/token: $token}}]/" "$KUBECONFIG" >"$state/operator.kubeconfig"
