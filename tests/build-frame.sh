# Sourced by the build.sh of a folder here, which says in a function `build` how what it is for is made:
# as a file or a folder, named by $made. It is made once, from the versions in that folder's go.mod, and
# kept outside the checkout.
#
#   KINTSUGI_CACHE  where it is kept; default ~/.cache/kintsugi
set -euo pipefail
cd "$(dirname "$(realpath "$0")")"

# once NAME SAYS FILE...: prints the path of what `build` makes; SAYS tells whoever has to wait for it.
# It is made anew when one of the files is another one.
once() {
  local name=$1 says=$2 cache=${KINTSUGI_CACHE:-$HOME/.cache/kintsugi} key kept
  shift 2
  key=$(sha256sum "$@" | sha256sum | cut -c1-16)
  kept=$cache/$name-$key
  if [ ! -e "$kept" ]; then
    mkdir -p "$cache"
    # One build at a time; whoever waited finds it done.
    exec 9>"$kept.lock"
    flock -n 9 || { echo "waiting for another build of $name" >&2; flock 9; }
  fi
  if [ ! -e "$kept" ]; then
    echo "$says" >&2
    work=$(mktemp -d "$kept.new.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    made=$work/made
    export CGO_ENABLED=0 GOFLAGS="-mod=readonly -trimpath -buildvcs=false"
    build
    # Complete or not there at all, whenever it is interrupted.
    mv -T "$made" "$kept"
  fi
  echo "$kept"
}
