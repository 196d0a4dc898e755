#!/usr/bin/env bash
# build.sh: builds the control plane's programs from this folder's go.mod, once, into a cache
# outside the checkout, and prints the folder that holds them.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")"
programs="etcd kube-apiserver kube-controller-manager kube-scheduler kubectl kwok helm"
key=$(cat go.mod go.sum faults.yaml | sha256sum | cut -c1-16)
cache=${KINTSUGI_CACHE:-$HOME/.cache/kintsugi}
bin=$cache/controlplane-$key

complete() {
  for program in $programs; do [ -x "$bin/$program" ] || return 1; done
  [ -s "$bin/stages.yaml" ]
}

mkdir -p "$cache"
# Two builds at once would each take twice as long.
exec 9>"$bin.lock"
flock 9
if ! complete; then
  echo "building $programs: about 12 minutes the first time, then never again" >&2
  new=$(mktemp -d "$bin.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  export GOFLAGS="-mod=readonly -trimpath -buildvcs=false" CGO_ENABLED=0
  version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
  go build -ldflags="-s -w -X=k8s.io/component-base/version.gitVersion=$version" -o "$new/" tool
  mv "$new/server" "$new/etcd"
  # kwok brings no stages of its own: these are its module's, and then our faults.
  stages=$(go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
  for stage in node/fast/node-initialize node/heartbeat-with-lease/node-heartbeat-with-lease \
    pod/fast/pod-ready pod/fast/pod-complete pod/fast/pod-delete; do
    cat "$stages/$stage.yaml"
    echo "---"
  done | cat - faults.yaml >"$new/stages.yaml"
  rm -rf "$bin"
  mv "$new" "$bin"
  trap - EXIT
fi
echo "$bin"
