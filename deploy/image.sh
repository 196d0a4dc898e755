#!/usr/bin/env bash
# image.sh: builds the static binary, the image from it, and runs it once to see that it works
# with nothing around it. Needs buildah and root; installs buildah from Debian's packages.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
target=x86_64-unknown-linux-gnu
# With --target the flag does not reach build scripts and macros, which cannot be static.
RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --target $target
context=target/image
rm -rf $context
mkdir -p $context
cp Dockerfile target/$target/release/kintsugi /etc/ssl/certs/ca-certificates.crt $context/
command -v buildah >/dev/null || { apt-get update -qq && apt-get install -y -qq buildah >/dev/null; }
store=$PWD/target/image-store
b() { buildah --storage-driver vfs --root "$store/root" --runroot "$store/run" "$@"; }
b bud --isolation chroot -t local/kintsugi:dev $context
container=$(b from local/kintsugi:dev)
trap 'b rm "$container" >/dev/null; rm -rf "$store"' EXIT
b run --isolation chroot "$container" -- /kintsugi --version
rm -f target/kintsugi.oci.tar
b push local/kintsugi:dev oci-archive:target/kintsugi.oci.tar:kintsugi:dev
ls -l target/$target/release/kintsugi target/kintsugi.oci.tar
