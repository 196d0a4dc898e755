#!/usr/bin/env bash
# build.sh: builds alertmanager, once, from the version in this folder's go.mod into a cache outside the
# checkout, and prints its path.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")"
cache=${KINTSUGI_CACHE:-$HOME/.cache/kintsugi}
program=$cache/alertmanager-$(cat go.mod go.sum build.sh | sha256sum | cut -c1-16)
mkdir -p "$cache"
exec 9>"$program.lock"
flock 9
if [ ! -x "$program" ]; then
  echo "building Alertmanager: about a minute the first time" >&2
  work=$(mktemp -d "$program.new.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  export CGO_ENABLED=0 GOFLAGS="-mod=readonly -trimpath -buildvcs=false"
  module=github.com/prometheus/alertmanager
  go mod download $module
  # It embeds its web pages, which the module comes without: a copy of the module has one of ours.
  cp -r "$(go list -m -f '{{.Dir}}' $module)" "$work/module"
  cp go.mod go.sum "$work"
  chmod -R u+w "$work"
  mkdir -p "$work/module/ui/app/dist"
  echo "no web pages in this build" >"$work/module/ui/app/dist/index.html"
  go mod edit -replace "$module=$work/module" "$work/go.mod"
  go build -modfile="$work/go.mod" -ldflags="-s -w" -o "$work/alertmanager" $module/cmd/alertmanager
  mv "$work/alertmanager" "$program"
fi
echo "$program"
