#!/usr/bin/env bash
# Installs the build into a scratch folder and uses it as another project would: only public headers are there, each compiles
# alone, all of examples/ builds with find_package(lt2) and runs. Usage: scripts/test-install.sh BUILD_DIR
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(realpath "${1:?usage: scripts/test-install.sh BUILD_DIR}")
prefix=$build/installed
work=$build/install-test
rm -rf "$prefix" "$work"
mkdir -p "$work/headers"
fail() { echo "install: $*" >&2; exit 1; }

cmake --install "$build" --prefix "$prefix" >/dev/null
headers=$(cd "$prefix/include/lt2" && find . -name '*.h' | sed 's|^\./||' | sort)

# Kernels, what only the program needs, and headers of libraries that a user need not have stay private.
[ "$(ls "$prefix/include")" = lt2 ] || fail "more than lt2/ lies in include/: $(ls "$prefix/include")"
for header in $headers; do
  case $header in
    *-inl.h | *kernel*.h | ops/simd/* | cli/* | check/* | measure/* | report/* | template/*) fail "$header is private and was installed" ;;
  esac
done
cd "$prefix/include/lt2"
grep -rn '#include "' . && fail "a header includes by a name that others may have, too"
grep -rnE '#include <(nlohmann|yaml-cpp|hwy|onig|utf8proc|zlib|zstd)' . && fail "a header needs a library that find_package(lt2) does not find"

# Each header alone, and twice. Torch's headers take many times as long as ours, so they are precompiled for those that
# include them; a header that forgot to is compiled without.
needs_torch() {
  local todo=$1 done=" " header
  while [ -n "$todo" ]; do
    read -r header todo <<<"$todo"
    [ "$header" != base/torch.h ] || return 0
    [[ -n $header && $done != *" $header "* ]] || continue
    done+="$header "
    todo+=" $(sed -nE 's|^#include <lt2/(.*)>.*|\1|p' "$header" | tr '\n' ' ')"
  done
  return 1
}
for header in $headers; do
  kind=plain
  if needs_torch "$header"; then kind=torch; fi
  source=$work/headers/$kind-${header//\//-}.cpp
  printf '#include <lt2/%s>\n#include <lt2/%s>\n#if __has_include("base/error.h")\n#error "base/error.h is found without lt2/"\n#endif\n' \
    "$header" "$header" >"$source"
done
cd - >/dev/null
cat >"$work/headers/CMakeLists.txt" <<'E2'
cmake_minimum_required(VERSION 3.25)
project(headers LANGUAGES CXX)
find_package(lt2 REQUIRED)
foreach(kind plain torch)
  file(GLOB sources ${kind}-*.cpp)
  add_library(${kind}_headers OBJECT ${sources})
  target_link_libraries(${kind}_headers PRIVATE lt2::lt2)
  target_compile_options(${kind}_headers PRIVATE -O0 -Wall -Wextra -Werror)
endforeach()
target_precompile_headers(torch_headers PRIVATE <lt2/base/torch.h>)
E2
configure() { cmake -S "$1" -B "$2" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$prefix" -Wno-dev >/dev/null; }
configure "$work/headers" "$work/headers-build"
cmake --build "$work/headers-build" | tail -n 20
echo "install: $(wc -w <<<"$headers") public headers compile alone"

configure examples "$work/examples"
cmake --build "$work/examples"
for source in examples/*.cpp; do
  [ -x "$work/examples/$(basename "$source" .cpp)" ] || fail "$source is not built by examples/CMakeLists.txt"
done
"$prefix/bin/lt2" --version
# Ran once with fresh weights and, as all others, with those of a small run.
"$prefix/bin/lt2" train config=configs/tiny/hybrid.yaml dump_dir="$work/run" steps=2 grad_acc_steps=1 data.batch_size=1 data.seq_len=64 \
  data.prefetch_size=2 optim.warmup=1 val.steps=1 val.sample_len=8 model.dim=64 model.n_layers=5 model.n_heads=4 model.multiple_of=16 >"$work/train.log" 2>&1 ||
  { cat "$work/train.log" >&2; fail "the installed lt2 does not train"; }
run() { echo "install: $*"; "$work/examples/$@" | tee "$work/out"; }
run generate_text
run generate_text "$work/run"
run score_text "$work/run" <<<"ROMEO: What light"
grep -q '^18 tokens scored' "$work/out" || fail "score_text: expected 18 tokens scored"
run look_inside "$work/run" "ROMEO: What light"
[ "$(grep -cE '^ +[0-3] +[0-9]+\.[0-9]+ ' "$work/out")" -eq 4 ] || fail "look_inside: expected a line for each of 4 loops"
