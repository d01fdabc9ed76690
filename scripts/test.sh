#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests; ends with `N passed, N failed, N skipped`.
#   scripts/test.sh         g++ Release
#   scripts/test.sh --all   also: formatting, and the unit tests built by clang++ with -Werror and the address and
#                           undefined-behaviour sanitizers
set -uo pipefail
cd "$(dirname "$0")/.."
all=0
case "${1:-}" in
  "") ;;
  --all) all=1 ;;
  *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

failed_steps=()
step() { # title, command...
  local title=$1; shift
  local start=$SECONDS
  echo "== $title"
  if "$@"; then echo "   $title: $((SECONDS - start)) s"; else failed_steps+=("$title"); echo "   $title: FAILED after $((SECONDS - start)) s"; return 1; fi
}

# One ctest entry is one binary; the count comes from GoogleTest's own reports.
passed=0 failed=0 skipped=0
run_tests() { # build folder
  local folder=$1 status=0
  rm -rf "$folder/results"; mkdir -p "$folder/results"
  GTEST_OUTPUT="xml:$PWD/$folder/results/" ctest --test-dir "$folder" --output-on-failure --timeout 900 -j 2 >"$folder/ctest.log" 2>&1 || status=1
  if [ $status -ne 0 ]; then grep -vE '^ +Start |Passed +[0-9.]+ sec$' "$folder/ctest.log" | tail -n 150; fi
  local entries broken
  entries=$(grep -cE 'Test +#[0-9]+: ' "$folder/ctest.log"); broken=$(grep -E 'Test +#[0-9]+: ' "$folder/ctest.log" | grep -vcE ' Passed ')
  local t f s reports
  read -r t f s reports < <(cat "$folder"/results/*.xml 2>/dev/null | awk '
    /<testsuites / { n++; if (match($0, /tests="[0-9]+"/)) t += substr($0, RSTART + 7, RLENGTH - 8)
                     if (match($0, /failures="[0-9]+"/)) f += substr($0, RSTART + 10, RLENGTH - 11) }
    /result="skipped"/ { s++ }
    END { print t + 0, f + 0, s + 0, n + 0 }')
  # Entries without a GoogleTest report (fuzz replays, a binary that died) count as one test each.
  local plain=$((entries - reports)) plain_failed=$broken
  local gtest_broken
  gtest_broken=$(cat "$folder"/results/*.xml 2>/dev/null | awk '/<testsuites / && !/failures="0"/ { n++ } END { print n + 0 }')
  plain_failed=$((broken - gtest_broken)); [ $plain_failed -lt 0 ] && plain_failed=0
  passed=$((passed + t - f - s + plain - plain_failed)); failed=$((failed + f + plain_failed)); skipped=$((skipped + s))
  cat "$folder"/results/*.xml 2>/dev/null | sed -n 's/.*<skipped message="\([^"]*\)".*/   skipped: \1/p' | sed 's/&#x0A;/ /g; s/&quot;/"/g' | sort | uniq -c | sed 's/^ *[0-9]* //' | head -n 20
  return $status
}

check_format() {
  local files bad
  files=$(git ls-files '*.cc' '*.h' '*.cu' '*.hpp' 2>/dev/null || find runtime model sessions tools sandbox tests -name '*.cc' -o -name '*.h')
  bad=$(echo "$files" | xargs -r clang-format-14 --dry-run -Werror 2>&1 | grep -oE '^[^:]+:[0-9]+' | head -n 20)
  [ -z "$bad" ] || { echo "$bad"; echo "   run scripts/format.sh"; return 1; }
}

sanitized() {
  if [ ! -f build-asan/build.ninja ]; then
    mkdir -p build-asan
    cmake -S . -B build-asan -G Ninja -DCMAKE_BUILD_TYPE=Release \
          -DCMAKE_C_COMPILER=clang-14 -DCMAKE_CXX_COMPILER=clang++-14 -DLONGHAUL_SANITIZE=ON \
          -DCMAKE_CXX_COMPILER_LAUNCHER=ccache >build-asan/configure.log 2>&1 || { tail -n 30 build-asan/configure.log; return 1; }
  fi
  ninja -C build-asan -j "$(nproc)" >build-asan/build.log 2>&1 || { grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking)' build-asan/build.log | tail -n 60; return 1; }
}

if [ $all -eq 1 ]; then step "set-up" scripts/setup.sh --dev || exit 1; else step "set-up" scripts/setup.sh || exit 1; fi
[ $all -eq 1 ] && step "formatting" check_format
step "build (g++, Release, -Werror)" scripts/build.sh all && step "tests (g++, Release)" run_tests build
if [ $all -eq 1 ]; then
  step "build (clang++, address and undefined-behaviour sanitizers, -Werror)" sanitized &&
    step "tests (clang++, sanitizers)" run_tests build-asan
fi

[ ${#failed_steps[@]} -eq 0 ] || printf 'failed step: %s\n' "${failed_steps[@]}"
# A step that failed before it could count (a build, the formatting) is a failure too.
if [ ${#failed_steps[@]} -ne 0 ] && [ $failed -eq 0 ]; then failed=${#failed_steps[@]}; fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
