#!/usr/bin/env bash
# Installs the build into a scratch folder and builds and runs examples/ against it. Usage: scripts/test-install.sh BUILD_DIR
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(realpath "${1:?usage: scripts/test-install.sh BUILD_DIR}")
prefix=$build/installed
rm -rf "$prefix" "$build/examples"
cmake --install "$build" --prefix "$prefix" >/dev/null
cmake -S examples -B "$build/examples" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$prefix" -Wno-dev >/dev/null
cmake --build "$build/examples"
"$build/examples/generate_text"
"$prefix/bin/lt2" --version
