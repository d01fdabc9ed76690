#!/usr/bin/env bash
# The long counts: kill cycles, random histories, power loss, fuzzing; from a seed, to any length, resumable.
#   scripts/soak.sh kill    [--count N] [--seed S]   kills of the real program at random moments, N a case (default 2000)
#   scripts/soak.sh store   [--count N] [--seed S]   seeds of histories, crashes, power loss, damage (default 10000); each round of 50
#                                           also kills at every named step
#   scripts/soak.sh fuzz    [--count N] [--seed S]   mutations of each fuzz target's corpus (default 1000000)
#   scripts/soak.sh grammar [--count N] [--seed S]   seeds of random schemas and messages (default 100)
#   scripts/soak.sh agents  [--count N] [--seed S]   runs of the built-in agent over random tasks, depths of speculation 0 to 6 and
#                                           temperatures to 1.5: no call is malformed, no depth changes a token (default 10000)
# Work is done in rounds, a seed each; what is done stands in build/soak.state, so a second call goes on after it.
# --fresh forgets the state. Ctrl-C ends after the current round's failure or at once; the state stays true.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -ge 1 ] || usage
kind=$1; shift
count="" seed=1 fresh=0
while [ $# -gt 0 ]; do
  case "$1" in
    --count) count=$2; shift 2 ;;
    --seed) seed=$2; shift 2 ;;
    --fresh) fresh=1; shift ;;
    *) usage ;;
  esac
done

scripts/setup.sh
scripts/build.sh all
state=build/soak.state
[ $fresh -eq 1 ] && rm -f "$state"
touch "$state"
done_before() { awk -v k="$kind" -v s="$seed" '$1 == k && $2 == s { n += $3 } END { print n + 0 }' "$state"; }

# One round: `n` units with seed `round_seed`.
round() { # n, round_seed
  case "$kind" in
    kill) LONGHAUL_KILLS=$1 LONGHAUL_SEED=$2 build/tests/test_runtime --gtest_brief=1 --gtest_filter='KillTest.*' ;;
    store) LONGHAUL_RUNS=$1 LONGHAUL_SEED=$2 build/tests/test_sessions --gtest_brief=1 ;;
    agents) LONGHAUL_RUNS=$1 LONGHAUL_SEED=$2 build/tests/test_runtime --gtest_brief=1 --gtest_filter='AgentRuns.*' ;;
    grammar) LONGHAUL_PROPERTY_SCALE=$1 LONGHAUL_PROPERTY_SEED=$2 build/tests/test_tools --gtest_brief=1 ;;
    fuzz)
      local target name room
      for target in build/tests/*_fuzz; do
        name=$(basename "$target" _fuzz)
        room=$(find tests/fuzz -name "${name}_fuzz.cc" -printf '%h\n' | head -n 1)
        "$target" --seed "$2" --runs "$1" "$room/corpus/$name" 2>&1 | tr '\r' '\n' | tail -n 1 | sed "s/^/$name: /"
        [ "${PIPESTATUS[0]}" -eq 0 ] || return 1
      done ;;
    *) usage ;;
  esac
}

case "$kind" in
  kill) step=100 total=${count:-2000} ;;
  store) step=50 total=${count:-10000} ;;
  agents) step=140 total=${count:-10000} ;;
  grammar) step=10 total=${count:-100} ;;
  fuzz) step=50000 total=${count:-1000000} ;;
  *) usage ;;
esac
start=$SECONDS
finished=$(done_before)
while [ "$finished" -lt "$total" ]; do
  n=$((total - finished)); [ "$n" -gt "$step" ] && n=$step
  round_seed=$((seed + finished))
  if ! round "$n" "$round_seed"; then
    echo "soak: $kind failed with LONGHAUL_SEED=$round_seed, $n units; everything before passed" >&2
    exit 1
  fi
  echo "$kind $seed $n" >>"$state"
  finished=$(done_before)
  echo "soak: $kind, seed $seed: $finished of $total, $((SECONDS - start)) s"
done
