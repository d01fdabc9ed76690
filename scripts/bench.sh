#!/usr/bin/env bash
# Benchmarks, each figure beside its physical bound measured in the same run.
#   scripts/bench.sh sessions [--quick]   commits, writers, forks, export, recovery, opening, resume, parking (--quick: without
#                                         the really run and the longest contexts, and fewer sessions). Room on the disk:
#                                         20 GiB, in LONGHAUL_BENCH_FOLDER or /tmp. Some 20 minutes on a quiet machine
# Prints one table; the lines it is made of, as JSON, stand in build/bench-sessions.jsonl.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -ge 1 ] || usage
kind=$1; shift
quick=0
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) quick=1; shift ;;
    *) usage ;;
  esac
done
[ "$kind" = sessions ] || usage

scripts/setup.sh
scripts/build.sh commit_bench portable_bench resume_bench store_bench parking_bench
lines=build/bench-sessions.jsonl
: >"$lines"
folder=$(mktemp -d "${LONGHAUL_BENCH_FOLDER:-${TMPDIR:-/tmp}}/longhaul-bench-XXXXXX")
trap 'rm -rf "$folder"' EXIT
export LONGHAUL_BENCH_FOLDER=$folder
resume="--contexts 1024,8192,65536 --generated 262144,1048576 --nano 262144 --quality"
commit=--real portable="" parked=10000
if [ $quick -eq 1 ]; then
  resume="--contexts 1024 --generated 262144" commit="" portable=--quick parked=1000
fi
for bench in "sessions/store_bench" "sessions/commit_bench $commit" "sessions/portable_bench $portable" \
  "sessions/resume_bench --json --folder $folder $resume" "runtime/parking_bench --json $folder/parking $parked"; do
  echo "bench: $bench ($(uptime | sed 's/.*load/load/'))" >&2
  # shellcheck disable=SC2086
  build/$bench | tee -a "$lines" >/dev/null
done
echo "$(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(uptime | sed 's/.*load/load/')"
python3 - "$lines" <<'PY'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
number = lambda x: f"{x:,.0f}" if x >= 100 else f"{x:.2f}"
print("| what | median | quartiles | raw bound | note |\n|---|---:|---:|---:|---|")
for r in rows:
    bound = number(r["bound"]) if r["bound"] else ""
    print(f'| {r["what"]} | {number(r["median"])} {r["unit"]} | {number(r["low"])} to {number(r["high"])} | {bound} | {r["note"]} |')
PY
