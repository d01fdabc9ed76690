#!/usr/bin/env bash
# Installs what is missing, builds, and runs an agent with the built-in model.
#   scripts/run.sh             a task that needs several tool calls
#   scripts/run.sh "TASK" ...  your own task; further options go to `longhaul run`
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/scripts/setup.sh"
"$root/scripts/build.sh" longhaul
if [ $# -eq 0 ]; then
  set -- "1) convert 26 miles to km
2) multiply by 3
3) store it under distance
4) write it to notes/distance.txt"
fi
exec "$root/build/longhaul" run "$@"
