#!/usr/bin/env bash
# build.sh: prints the folder that holds the control plane's programs and kwok's stages, which are
# built once.
. "$(dirname "$(realpath "$0")")/../build-frame.sh"

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

build() {
  local version program started=$SECONDS
  mkdir "$made"
  version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
  for program in "${!packages[@]}"; do
    say "building $program"
    go build -ldflags="-s -w -X=k8s.io/component-base/version.gitVersion=$version" \
      -o "$made/$program" "${packages[$program]}"
  done
  write_stages
  say "built in $((SECONDS - started)) s"
}

# kwok has no stages built in; its module brings these as files.
write_stages() {
  local folder stage
  go mod download sigs.k8s.io/kwok
  folder=$(go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
  for stage in node/fast/node-initialize node/heartbeat-with-lease/node-heartbeat-with-lease \
    pod/fast/pod-ready pod/fast/pod-complete pod/fast/pod-delete; do
    cat "$folder/$stage.yaml"
    echo ---
  done >"$made/kwok-stages.yaml"
}

once controlplane "control plane: building 7 programs, about 12 minutes the first time" go.mod go.sum
