#!/usr/bin/env bash
# build.sh: installs Schemathesis as requirements.txt pins it, once, into a cache outside the checkout,
# and prints the path of its program.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")"
key=$(sha256sum requirements.txt | cut -c1-16)
cache=${KINTSUGI_CACHE:-$HOME/.cache/kintsugi}
folder=$cache/schemathesis-$key
mkdir -p "$cache"
exec 9>"$folder.lock"
flock 9
if [ ! -e "$folder/done" ]; then
  echo "installing Schemathesis: about a minute the first time" >&2
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps -r requirements.txt >&2
  touch "$folder/done"
fi
echo "$folder/bin/schemathesis"
