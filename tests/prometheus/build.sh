#!/usr/bin/env bash
# build.sh: prints the folder that holds prometheus and promtool, which are built once.
. "$(dirname "$(realpath "$0")")/../build-frame.sh"

build() {
  mkdir "$made"
  # The tests name what is scraped: no clouds to discover it in.
  go build -ldflags="-s -w" -tags=remove_all_sd -o "$made/" tool
}

once prometheus "building Prometheus: about four minutes the first time" go.mod go.sum build.sh
