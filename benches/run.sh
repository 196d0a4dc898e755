#!/usr/bin/env bash
# run.sh [arguments of benches/main.rs]: the benchmark, on a control plane of its own that is stopped
# afterwards. FSYNC=1 makes etcd flush each write. The benchmark is told by environment:
#
#   KINTSUGI_BENCH_STATE     folder with admin.kubeconfig, operator.kubeconfig, audit.log
#   KINTSUGI_BENCH_OPERATOR  the binary, as it is shipped
#   KINTSUGI_BENCH_NODE      folder whose node_modules has ajv, ajv-formats and zod
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
. tests/steps.sh

# The packages of benches/package-lock.json, installed once, outside the checkout.
node_modules() {
  local folder new
  folder=${KINTSUGI_CACHE:-$HOME/.cache/kintsugi}/bench-$(sha256sum benches/package-lock.json | cut -c1-12)
  if [ ! -d "$folder" ]; then
    command -v npm >/dev/null || { apt-get update -qq && apt-get install -y -qq nodejs npm >/dev/null; }
    mkdir -p "$(dirname "$folder")"
    new=$(mktemp -d "$folder.new.XXXXXX")
    cp benches/package.json benches/package-lock.json "$new"
    (cd "$new" && npm ci --no-audit --no-fund --ignore-scripts >/dev/null)
    # Complete or not there at all; of two at once one wins.
    mv -T "$new" "$folder" 2>/dev/null || rm -rf "$new"
  fi
  export KINTSUGI_BENCH_NODE=$folder
}

step tests/controlplane/build.sh >/dev/null
node_modules
# Compiled first: the control plane does not stand and wait for the compiler.
step cargo build --release
mkdir -p target/bench
# Building the benchmark puts another binary in its place, with features for development.
cp target/release/kintsugi target/bench/kintsugi
step cargo bench --bench bench --no-run

mkdir -p .run
state=$(mktemp -d "$PWD/.run/bench.XXXXXX")
CORE=1 step tests/controlplane/up.sh "$state"
step tests/controlplane/install.sh "$state"
export KINTSUGI_BENCH_STATE=$state KINTSUGI_BENCH_OPERATOR=$PWD/target/bench/kintsugi
step cargo bench --quiet --bench bench -- "$@"
