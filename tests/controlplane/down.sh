#!/usr/bin/env bash
# down.sh STATE: stops the control plane whose state is in the folder STATE; only processes that
# up.sh started there and that still are what they were.
set -euo pipefail
cd "${1:?usage: down.sh STATE}"
[ -f pids ] || exit 0

ours() { [ "$(basename "$(readlink "/proc/$1/exe" 2>/dev/null)" " (deleted)")" = "$2" ]; }
signal() { tac pids | while read -r pid program; do if ours "$pid" "$program"; then kill "-$1" "$pid" || true; fi; done; }
any() { while read -r pid program; do ours "$pid" "$program" && return 0; done <pids; return 1; }

signal TERM
for _ in $(seq 50); do any || break; sleep 0.1; done
signal KILL
for _ in $(seq 50); do any || break; sleep 0.1; done
rm -f "${KINTSUGI_CACHE:-$HOME/.cache/kintsugi}/addresses/$(cat ip 2>/dev/null || echo none)" pids
