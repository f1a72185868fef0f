#!/usr/bin/env bash
# Installs what building and testing need, from Debian packages. Idempotent; needs root or sudo only if something is missing.
set -euo pipefail

packages=(
  g++ cmake ninja-build make ccache pkg-config ca-certificates git
  libtorch-dev            # tensors, autograd, collectives
  libopenblas-openmp-dev  # torch's BLAS; the OpenMP build shares one thread pool with us
  libfmt-dev libyaml-cpp-dev nlohmann-json3-dev zlib1g-dev
  libhwy-dev              # portable SIMD with run-time dispatch
  libgtest-dev
  clang-format-14         # the format check
)

installed() { dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

missing=()
for package in "${packages[@]}"; do
  installed "$package" || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: all ${#packages[@]} packages are installed"
  exit 0
fi

run=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "setup: missing packages: ${missing[*]}. Install them as root, or install sudo." >&2; exit 1; }
  run=(sudo)
fi
command -v apt-get >/dev/null || { echo "setup: this script knows Debian's apt-get only. Install the equivalents of: ${missing[*]}" >&2; exit 1; }
echo "setup: installing ${missing[*]}"
"${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
echo "setup: installed ${#missing[@]} packages"
