#!/usr/bin/env bash
# build.sh: prints the folder that holds prometheus and promtool. What is not there yet is built first,
# from the versions in this folder's go.mod, into a cache outside the checkout.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")"
cache=${KINTSUGI_CACHE:-$HOME/.cache/kintsugi}
bin=$cache/prometheus-$(cat go.mod go.sum build.sh | sha256sum | cut -c1-16)
mkdir -p "$cache"
exec 9>"$bin.lock"
flock 9
if [ ! -d "$bin" ]; then
  echo "building Prometheus: about four minutes the first time" >&2
  new=$(mktemp -d "$bin.new.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  # The tests name what is scraped: no clouds to discover it in.
  CGO_ENABLED=0 GOFLAGS="-mod=readonly -trimpath -buildvcs=false" go build -ldflags="-s -w" \
    -tags=remove_all_sd -o "$new/" tool
  # Complete or not there at all, whenever it is interrupted.
  mv "$new" "$bin"
fi
echo "$bin"
