#!/usr/bin/env bash
# run.sh [cargo test arguments]: the whole suite, or what the arguments select. The one place that
# starts what the tests need; whatever happens, nothing that it started is left running. The tests
# are told by environment:
#
#   KINTSUGI_TEST_STATE         folder with admin.kubeconfig, operator.kubeconfig, ca.crt, audit.log
#   KINTSUGI_TEST_BIN           folder with kubectl, helm and the control plane's programs
#   KINTSUGI_TEST_OTELCOL       path of an OpenTelemetry collector
#   KINTSUGI_TEST_PROMETHEUS    folder with prometheus and promtool
#   KINTSUGI_TEST_ALERTMANAGER  path of alertmanager
#   KINTSUGI_TEST_SCHEMATHESIS  path of schemathesis
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
. tests/steps.sh

step tests/controlplane/build.sh >/dev/null
step tests/otelcol/build.sh >/dev/null
step tests/prometheus/build.sh >/dev/null
step tests/alertmanager/build.sh >/dev/null
python3 -c 'import ensurepip' 2>/dev/null \
  || { apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; }
step tests/schemathesis/build.sh >/dev/null
# zod, which one test compares us with, runs on Node.js.
command -v npm >/dev/null || { apt-get update -qq && apt-get install -y -qq nodejs npm >/dev/null; }
# The pages are looked at in a browser.
command -v chromedriver >/dev/null || {
  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null
}
# Compiled first: the control plane does not stand and wait for the compiler.
step cargo test --no-run

# A thousand who follow what happens are as many open files, of the test and of the operator.
files=$(ulimit -S -n)
[ "$files" = unlimited ] || [ "$files" -ge 8192 ] || ulimit -S -n 8192

mkdir -p .run
state=$(mktemp -d "$PWD/.run/test.XXXXXX")
step tests/controlplane/up.sh "$state"
step tests/controlplane/install.sh "$state"

KINTSUGI_TEST_BIN=$(tests/controlplane/build.sh)
KINTSUGI_TEST_OTELCOL=$(tests/otelcol/build.sh)
KINTSUGI_TEST_PROMETHEUS=$(tests/prometheus/build.sh)
KINTSUGI_TEST_ALERTMANAGER=$(tests/alertmanager/build.sh)
KINTSUGI_TEST_SCHEMATHESIS=$(tests/schemathesis/build.sh)
export KINTSUGI_TEST_STATE=$state KINTSUGI_TEST_BIN KINTSUGI_TEST_OTELCOL
export KINTSUGI_TEST_PROMETHEUS KINTSUGI_TEST_ALERTMANAGER KINTSUGI_TEST_SCHEMATHESIS
export KUBECONFIG=$state/admin.kubeconfig
step cargo test "$@"
