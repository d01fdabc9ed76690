#!/usr/bin/env bash
# Installs what is missing, builds, and runs an agent with the built-in model.
#   scripts/run.sh             a task that needs several tool calls
#   scripts/run.sh "TASK" ...  your own task; further options go to `longhaul run`
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/scripts/setup.sh"
"$root/scripts/build.sh" longhaul
if [ $# -eq 0 ]; then
  set -- "Calculate 4821 * 3, then store it under total, then write it to notes/total.txt."
fi
exec "$root/build/longhaul" run "$@"
