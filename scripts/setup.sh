#!/usr/bin/env bash
# Installs what building and testing need, from Debian packages. Idempotent; needs root or sudo only if something is missing.
set -euo pipefail

with_parquet=0
for option in "$@"; do
  case "$option" in
    --with-parquet) with_parquet=1 ;;
    *) echo "setup: unknown option $option; --with-parquet adds what lt2 data prepare needs for parquet files" >&2; exit 1 ;;
  esac
done

packages=(
  g++ cmake ninja-build make ccache pkg-config ca-certificates git
  libtorch-dev            # tensors, autograd, collectives
  libgloo-dev             # headers that the collectives of libtorch need
  libopenblas-openmp-dev  # torch's BLAS; the OpenMP build shares one thread pool with us
  libfmt-dev libyaml-cpp-dev nlohmann-json3-dev zlib1g-dev libzstd-dev
  libonig-dev libutf8proc-dev  # regular expressions (of tokenizer.json files, optim.decay_exempt), Unicode tables
  libhwy-dev              # portable SIMD with run-time dispatch
  libgtest-dev
  clang-format-14         # the format check
  clang-14 clang-tidy-14  # the checks of `make tidy`, and the precompiled header it reads
)

# Node reads parquet. Its own installation serves as well as Debian's.
if [ $with_parquet -eq 1 ] && ! { command -v node && command -v npm; } >/dev/null; then packages+=(nodejs npm); fi

installed() { dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

missing=()
for package in "${packages[@]}"; do
  installed "$package" || missing+=("$package")
done
parquet() {
  [ $with_parquet -eq 1 ] || return 0
  npm install --omit=dev --no-package-lock --no-audit --no-fund --silent --prefix "$(dirname "$0")/parquet"
  echo "setup: the parquet reader is installed in scripts/parquet"
}

if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: all ${#packages[@]} packages are installed"
  parquet
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
parquet
