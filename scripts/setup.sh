#!/usr/bin/env bash
# Installs the Debian 12 packages that are missing; does nothing (and needs no rights) when all are there.
#   scripts/setup.sh        what building and running needs
#   scripts/setup.sh --dev  what developers' checks need as well
set -euo pipefail

packages=(
  build-essential cmake ninja-build pkg-config ccache ca-certificates
  libboost1.81-dev liblua5.4-dev libsimdjson-dev libfmt-dev libspdlog-dev libcli11-dev libxxhash-dev libpcre2-dev
  libhwy-dev libseccomp-dev
  librocksdb-dev libsnappy-dev libgflags-dev liblz4-dev libzstd-dev libbz2-dev zlib1g-dev
  libgtest-dev libgmock-dev
)
if [ "${1:-}" = --dev ]; then
  packages+=(clang-14 clang-format-14 libclang-rt-14-dev libbenchmark-dev git)
fi

# One question for all: this runs before every start.
installed=" $(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null | sed -n 's/^installed //p' | tr '\n' ' ' || true)"
missing=()
for package in "${packages[@]}"; do
  [[ $installed == *" $package "* ]] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! grep -qs '^VERSION_ID="12"' /etc/os-release; then
  echo "setup: this is not Debian 12; the packages below may have other names: ${missing[*]}" >&2
fi
echo "setup: installing ${missing[*]}" >&2
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "setup: needs root or sudo to install: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -q && "${as_root[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "setup: apt-get failed" >&2
  exit 1
fi
