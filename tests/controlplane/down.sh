#!/usr/bin/env bash
# down.sh STATE: stops the control plane whose state is in the folder STATE. The logs stay.
set -euo pipefail
cd -P "${1:?usage: down.sh STATE}" 2>/dev/null || exit 0
[ -f pids ] || exit 0

# A number may belong to another process by now: ours has its program and works in this folder.
alive() {
  [ "$(readlink "/proc/$1/cwd")" = "$PWD" ] || return 1
  case $(readlink "/proc/$1/exe") in
    */"$2" | */"$2 (deleted)") ;;
    */bash | */setsid) ;; # About to become it.
    *) return 1 ;;
  esac
} 2>/dev/null

# The last started goes first. Says whether any was there.
signal_all() {
  local pid program any=1
  while read -r pid program; do
    if alive "$pid" "$program"; then
      any=0
      kill "-$1" "$pid" 2>/dev/null || true
    fi
  done < <(tac pids)
  return $any
}

signal_all TERM || true
for _ in {1..20}; do
  signal_all 0 || break
  sleep 0.1
done
while signal_all KILL; do sleep 0.1; done
rm -f pids
