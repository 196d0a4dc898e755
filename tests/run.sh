#!/usr/bin/env bash
# run.sh [cargo test arguments]: the whole suite. Starts all that it needs, runs it, and stops all
# that it started, whatever happens.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
mkdir -p .run
state=$(mktemp -d "$PWD/.run/test.XXXXXX")
bin=$(tests/controlplane/build.sh)
otelcol=$(tests/otelcol/build.sh)

stop() {
  status=$?
  trap - EXIT
  # Operators whose test was killed: they carry this run's folder in their environment.
  for environ in /proc/[0-9]*/environ; do
    pid=${environ#/proc/}
    pid=${pid%/environ}
    if [ "$(basename "$(readlink "/proc/$pid/exe" 2>/dev/null)" 2>/dev/null)" = kintsugi ] &&
      tr '\0' '\n' <"$environ" 2>/dev/null | grep -qx "KINTSUGI_TEST_STATE=$state"; then
      kill -KILL "$pid" 2>/dev/null || true
    fi
  done
  tests/controlplane/down.sh "$state"
  if [ $status = 0 ]; then rm -rf "$state"; else echo "the logs are in $state" >&2; fi
  exit $status
}
trap stop EXIT
trap 'exit 130' INT TERM

# zod, which one test compares us with, runs on Node.js.
command -v npm >/dev/null || { apt-get update -qq && apt-get install -y -qq nodejs npm >/dev/null; }
# Compiled before the control plane starts, so that it does not wait for the compiler.
cargo test --no-run
tests/controlplane/up.sh "$state"
tests/controlplane/install.sh "$state"
export KUBECONFIG=$state/admin.kubeconfig
export KINTSUGI_TEST_STATE=$state KINTSUGI_TEST_BIN=$bin KINTSUGI_TEST_OTELCOL=$otelcol
cargo test "$@"
