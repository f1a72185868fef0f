#!/usr/bin/env bash
# The same model as an eager PyTorch program, one after the other in one run: training, prefill, decode. The peer is a Python script with
# the arguments below that prints a JSON line with tokens_per_s. Usage: scripts/compare-with-peer.sh BUILD_DIR PEER.py [fp32|bf16]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: scripts/compare-with-peer.sh BUILD_DIR PEER.py [fp32|bf16]}
peer=${2:?usage: scripts/compare-with-peer.sh BUILD_DIR PEER.py [fp32|bf16]}
dtype=${3:-fp32}
python=${PYTHON:-/usr/bin/python3}
shape="model.dim=512 model.n_layers=5 model.n_heads=8 model.loop_count=4 model.multiple_of=256 model.vocab_size=8192 data.seq_len=1024"

value() { sed -n 's/.*"tokens_per_s": \{0,1\}\([0-9.]*\).*/\1/p'; }
printf '%-8s %12s %12s %8s\n' "$dtype" "ours tok/s" "peer tok/s" ratio
for mode in train prefill decode; do
  batch=2
  contexts=""
  [ $mode = decode ] && contexts="contexts=1024"
  rm -f "$build/peer.jsonl"
  "$build/lt2" bench config=configs/tiny/hybrid.yaml $shape mode=$mode batch=$batch dtype=$dtype $contexts output="$build/peer.jsonl" >/dev/null
  ours=$(value <"$build/peer.jsonl")
  theirs=$("$python" "$peer" bench --dim 512 --layers 5 --loops 4 --pattern interleaved:4:1:gdn:full --seq 1024 --batch $batch --mode $mode --dtype "$dtype" | tail -n 1 | value)
  printf '%-8s %12s %12s %8.2f\n' $mode "$ours" "$theirs" "$(echo "$ours $theirs" | awk '{print $1 / $2}')"
done
