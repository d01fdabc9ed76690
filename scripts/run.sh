#!/usr/bin/env bash
# Installs what is missing, builds, and runs an agent with the built-in model.
#   scripts/run.sh             a task that needs several tool calls
#   scripts/run.sh "TASK" ...  your own task; further options go to `longhaul run`
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/scripts/setup.sh"
"$root/scripts/build.sh" longhaul
if [ $# -eq 0 ]; then
  set -- "Store 4821 under kodu, then get the value of kodu, multiply by 3, save it as total and write it to notes/total.txt."
fi
exec "$root/build/longhaul" run "$@"
