#!/usr/bin/env bash
# Formats all C++ files in place (clang-format 14, .clang-format).
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files '*.cc' '*.h' '*.cu' '*.hpp' | xargs clang-format-14 -i
