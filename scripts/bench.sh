#!/usr/bin/env bash
# Every benchmark of the project, one table after the other. Usage: scripts/bench.sh BUILD_DIR
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: scripts/bench.sh BUILD_DIR}
shape="model.dim=512 model.n_layers=5 model.n_heads=8 model.loop_count=4 model.multiple_of=256 model.vocab_size=8192 data.seq_len=1024 data.batch_size=2"

for program in "$build"/bench/*_bench; do
  echo "== $(basename "$program")"
  "$program"
done
for dtype in fp32 bf16; do
  echo "== lt2 bench: dim 512, 5 layers, T = 4, Full+GDN 4:1, $dtype"
  "$build/lt2" bench config=configs/tiny/hybrid.yaml $shape dtype=$dtype label=hybrid
  echo "== lt2 bench: the same shape, full attention, $dtype"
  "$build/lt2" bench config=configs/tiny/full.yaml $shape dtype=$dtype label=full mode=decode
done
