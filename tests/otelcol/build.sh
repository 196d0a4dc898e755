#!/usr/bin/env bash
# build.sh: prints the path of the OpenTelemetry collector of this folder, which is built once.
. "$(dirname "$(realpath "$0")")/../build-frame.sh"

build() {
  go build -ldflags="-s -w" -o "$made" .
}

once otelcol "building the OpenTelemetry collector: about two minutes the first time" \
  go.mod go.sum main.go
