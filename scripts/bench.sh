#!/usr/bin/env bash
# Every benchmark of the project, one table after the other. Usage: scripts/bench.sh BUILD_DIR [GRID_FOLDER]
# With GRID_FOLDER also the grid (10 minutes) and the frontiers, as bench.jsonl and bench.html there.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: scripts/bench.sh BUILD_DIR}
shape="model.dim=512 model.n_layers=5 model.n_heads=8 model.loop_count=4 model.multiple_of=256 model.vocab_size=8192 data.seq_len=1024 data.batch_size=2"

for program in "$build"/bench/*_bench; do
  echo "== $(basename "$program")"
  "$program"
done
for dtype in fp32 bf16; do
  echo "== lt2 bench: dim 512, 5 layers, T = 4, full attention and Full+GDN 4:1 in turns, $dtype"
  "$build/lt2" bench config=configs/tiny/full.yaml,configs/tiny/hybrid.yaml label=full,hybrid $shape dtype=$dtype
done
if [ $# -ge 2 ]; then
  mkdir -p "$2"
  echo "== lt2 bench: the grid, and the largest contexts"
  "$build/lt2" bench output="$2/bench.jsonl"
  "$build/lt2" bench frontier=24G,80G output="$2/bench.jsonl"
  "$build/lt2" report "$2" output="$2/bench.html"
fi
