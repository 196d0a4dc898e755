#!/usr/bin/env bash
# build.sh: prints the folder that holds the control plane's programs and kwok's stages. What is
# not there yet is built first, from the versions in this folder's go.mod.
#
#   KINTSUGI_CACHE  where it is kept, outside the checkout; default ~/.cache/kintsugi
set -euo pipefail
cd "$(dirname "$(realpath "$0")")"
cache=${KINTSUGI_CACHE:-$HOME/.cache/kintsugi}
bin=$cache/controlplane-$(sha256sum go.mod go.sum | sha256sum | cut -c1-16)

declare -A packages=(
  [etcd]=go.etcd.io/etcd/server/v3
  [helm]=helm.sh/helm/v4/cmd/helm
  [kube-apiserver]=k8s.io/kubernetes/cmd/kube-apiserver
  [kube-controller-manager]=k8s.io/kubernetes/cmd/kube-controller-manager
  [kube-scheduler]=k8s.io/kubernetes/cmd/kube-scheduler
  [kubectl]=k8s.io/kubernetes/cmd/kubectl
  [kwok]=sigs.k8s.io/kwok/cmd/kwok
)

say() { echo "control plane: $*" >&2; }

built() {
  local program
  for program in "${!packages[@]}"; do [ -x "$bin/$program" ] || return 1; done
}

build() {
  local version program started=$SECONDS
  say "building 7 programs in $bin, about 12 minutes the first time"
  export CGO_ENABLED=0 GOFLAGS="-mod=readonly -trimpath -buildvcs=false"
  version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
  for program in "${!packages[@]}"; do
    say "building $program"
    go build -ldflags="-s -w -X=k8s.io/component-base/version.gitVersion=$version" \
      -o "$new/$program" "${packages[$program]}"
  done
  # Complete or not there at all, whenever it is interrupted.
  rm -rf "$bin"
  mv "$new" "$bin"
  say "built in $((SECONDS - started)) s"
}

# kwok has no stages built in; its module brings these as files.
write_stages() {
  local folder stage
  folder=$(go list -mod=readonly -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
  for stage in node/fast/node-initialize node/heartbeat-with-lease/node-heartbeat-with-lease \
    pod/fast/pod-ready pod/fast/pod-complete pod/fast/pod-delete; do
    cat "$folder/$stage.yaml"
    echo ---
  done >"$new.yaml"
  mv "$new.yaml" "$bin/kwok-stages.yaml"
}

complete() { built && [ -s "$bin/kwok-stages.yaml" ]; }

if ! complete; then
  mkdir -p "$cache"
  # One build at a time; whoever waited finds it done.
  exec 9>"$bin.lock"
  flock -n 9 || { say "waiting for another build"; flock 9; }
  new=$(mktemp -d "$bin.new.XXXXXX")
  trap 'rm -rf "$new" "$new.yaml"' EXIT
  built || build
  complete || { go mod download sigs.k8s.io/kwok; write_stages; }
fi
echo "$bin"
