#!/usr/bin/env bash
# build.sh: prints the path of alertmanager, which is built once.
. "$(dirname "$(realpath "$0")")/../build-frame.sh"

build() {
  local module=github.com/prometheus/alertmanager
  go mod download $module
  # It embeds its web pages, which the module comes without: a copy of the module has one of ours.
  cp -r "$(go list -m -f '{{.Dir}}' $module)" "$work/module"
  cp go.mod go.sum "$work"
  chmod -R u+w "$work"
  mkdir -p "$work/module/ui/app/dist"
  echo "no web pages in this build" >"$work/module/ui/app/dist/index.html"
  go mod edit -replace "$module=$work/module" "$work/go.mod"
  go build -modfile="$work/go.mod" -ldflags="-s -w" -o "$made" $module/cmd/alertmanager
}

once alertmanager "building Alertmanager: about a minute the first time" go.mod go.sum build.sh
