#!/usr/bin/env bash
# build.sh: builds the collector from this folder, once, into a cache outside the checkout, and
# prints its path.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")"
key=$(cat go.mod go.sum main.go | sha256sum | cut -c1-16)
cache=${KINTSUGI_CACHE:-$HOME/.cache/kintsugi}
program=$cache/otelcol-$key
mkdir -p "$cache"
exec 9>"$program.lock"
flock 9
if [ ! -x "$program" ]; then
  echo "building the OpenTelemetry collector: about two minutes the first time" >&2
  CGO_ENABLED=0 GOFLAGS="-mod=readonly -trimpath -buildvcs=false" go build -ldflags="-s -w" -o "$program.new" .
  mv "$program.new" "$program"
fi
echo "$program"
