# Sourced by scripts that start what they need and stop it whatever happens. They set `state` to
# the control plane's folder once there is one.
state=
job=

# Runs a command as a process group of its own, and ends what the command leaves of it. Waiting for
# it, the script answers to a signal at once.
step() {
  local status=0
  set -m
  "$@" </dev/null &
  job=$!
  set +m
  wait "$job" || status=$?
  kill -KILL -- "-$job" 2>/dev/null || true
  job=
  return $status
}

stop() {
  local status=$?
  trap '' INT TERM HUP
  if [ -n "$job" ]; then
    kill -TERM -- "-$job" 2>/dev/null || true
    wait "$job" || true
    kill -KILL -- "-$job" 2>/dev/null || true
  fi
  if [ -n "$state" ]; then
    # A test may have started one of its own in a folder below.
    for pids in "$state"/*/pids "$state/pids"; do
      tests/controlplane/down.sh "$(dirname "$pids")"
    done
    if [ $status = 0 ]; then
      rm -rf "$state"
    else
      echo "the logs of the control plane are in $state" >&2
    fi
  fi
  exit $status
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
