#!/usr/bin/env bash
# Builds Release into build/; the program is build/longhaul.
#   scripts/build.sh [TARGET ...]   default: longhaul; `all` builds the tests too
set -euo pipefail
cd "$(dirname "$0")/.."

jobs=$(nproc)
# A heavy file takes up to 1.5 GiB to compile: fewer jobs on a small machine.
memory_gib=$(awk '/MemTotal/ {print int($2 / 1048576)}' /proc/meminfo)
limit=$((memory_gib * 2 / 3)); [ "$limit" -lt 1 ] && limit=1
[ "$jobs" -gt "$limit" ] && jobs=$limit

log=build/configure.log
if [ ! -f build/build.ninja ]; then
  mkdir -p build
  echo "build: configuring" >&2
  cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=g++ \
        -DCMAKE_CXX_COMPILER_LAUNCHER=ccache >"$log" 2>&1 || { tail -n 30 "$log" >&2; exit 1; }
fi
targets=("$@"); [ ${#targets[@]} -eq 0 ] && targets=(longhaul)
if ninja -C build -n "${targets[@]}" | grep -q 'no work to do'; then exit 0; fi
if [ -t 2 ]; then
  ninja -C build -j "$jobs" "${targets[@]}" >&2
else
  ninja -C build -j "$jobs" "${targets[@]}" >build/build.log 2>&1 || { grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking)' build/build.log | tail -n 60 >&2; exit 1; }
fi
