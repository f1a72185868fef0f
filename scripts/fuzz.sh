#!/usr/bin/env bash
# Builds the fuzz targets with clang's libFuzzer, ASan and UBSan and runs each for a while from its seeds.
#   scripts/fuzz.sh [SECONDS [TARGET...]]     default: 600 seconds, all targets
# Findings stay in build/fuzz/TARGET.findings/ and make the script fail.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-600}
shift || true
all=(jsonl safetensors torch_zip tiktoken tokenizer_json sentencepiece template)
targets=("${all[@]}")
[ $# -gt 0 ] && targets=("$@")

clang=${CLANG:-$(command -v clang++ || command -v clang++-14)} ||
  { echo "fuzz: needs clang++ with libFuzzer (Debian: clang libclang-rt-14-dev)" >&2; exit 1; }
torch=/usr/include/torch/csrc/api/include
base="src/base/files.cpp src/base/units.cpp"
text="$base $(ls src/base/regex/*.cpp) src/base/log.cpp src/base/progress.cpp src/base/utf8.cpp $(ls src/tokenizer/*.cpp | grep -v vectors.cpp)"

sources() {
  case "$1" in
    jsonl) echo "src/data/json_line.cpp src/base/utf8.cpp -lfmt" ;;
    # clang 14 cannot read torch 1.13's headers as C++20.
    safetensors) echo "-std=c++17 -isystem $torch src/checkpoint/safetensors.cpp $base -lfmt -ltorch -ltorch_cpu -lc10" ;;
    torch_zip) echo "src/checkpoint/pickle.cpp src/checkpoint/pickle_reader.cpp src/checkpoint/torch_zip.cpp $base -lfmt -lz" ;;
    tiktoken | tokenizer_json | sentencepiece) echo "$text -lfmt -lutf8proc -lonig" ;;
    template) echo "$(ls src/template/*.cpp | tr '\n' ' ') src/base/text.cpp -lfmt -lutf8proc" ;;
    *) echo "fuzz: unknown target $1; known: ${all[*]}" >&2; return 1 ;;
  esac
}

mkdir -p build/fuzz
failed=0
for target in "${targets[@]}"; do
  files=$(sources "$target")
  # shellcheck disable=SC2086
  "$clang" -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -I. -Isrc \
    "fuzz/${target}_fuzz.cpp" $files -o "build/fuzz/$target"
  mkdir -p "build/fuzz/$target.corpus" "build/fuzz/$target.findings"
  echo "fuzz: $target for $seconds s"
  if ! "build/fuzz/$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="build/fuzz/$target.findings/" "build/fuzz/$target.corpus" "fuzz/seeds/$target" 2> "build/fuzz/$target.log"; then
    echo "fuzz: $target: a finding, see build/fuzz/$target.log" >&2
    failed=1
  fi
  grep -E "stat::number_of_executed_units" "build/fuzz/$target.log" || true
done
exit $failed
