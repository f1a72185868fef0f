#!/usr/bin/env bash
# The same model as an eager PyTorch program, in turns, three rounds: training, prefill, decode. The peer is a Python script with
# the arguments below that prints a JSON line with tokens_per_s. Usage: scripts/compare-with-peer.sh BUILD_DIR PEER.py [fp32|bf16]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: scripts/compare-with-peer.sh BUILD_DIR PEER.py [fp32|bf16]}
peer=${2:?usage: scripts/compare-with-peer.sh BUILD_DIR PEER.py [fp32|bf16]}
dtype=${3:-fp32}
python=${PYTHON:-/usr/bin/python3}
shape="model.dim=512 model.n_layers=5 model.n_heads=8 model.loop_count=4 model.multiple_of=256 model.vocab_size=8192 data.seq_len=1024"

rounds=3
value() { sed -n 's/.*"tokens_per_s": \{0,1\}\([0-9.]*\).*/\1/p'; }
# The middle one of the numbers on standard input, one a line.
median() { sort -g | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

# Both take turns: a ratio is the median of the rounds' own.
printf '%-8s %12s %12s %8s %17s\n' "$dtype" "ours tok/s" "peer tok/s" ratio "least to most"
for mode in train prefill decode; do
  batch=2
  contexts=""
  [ $mode = decode ] && contexts="contexts=1024"
  pairs=""
  for _ in $(seq $rounds); do
    rm -f "$build/peer.jsonl"
    "$build/lt2" bench config=configs/tiny/hybrid.yaml $shape mode=$mode batch=$batch dtype=$dtype $contexts output="$build/peer.jsonl" >/dev/null
    ours=$(head -n 1 "$build/peer.jsonl" | value)
    theirs=$("$python" "$peer" bench --dim 512 --layers 5 --loops 4 --pattern interleaved:4:1:gdn:full --seq 1024 --batch $batch --mode $mode --dtype "$dtype" | tail -n 1 | value)
    pairs+="$ours $theirs"$'\n'
  done
  ratios=$(printf '%s' "$pairs" | awk '{ print $1 / $2 }' | sort -g)
  printf '%-8s %12s %12s %8.2f %17s\n' $mode "$(printf '%s' "$pairs" | cut -d' ' -f1 | median)" "$(printf '%s' "$pairs" | cut -d' ' -f2 | median)" \
    "$(echo "$ratios" | median)" "$(printf '%.2f to %.2f' "$(echo "$ratios" | head -n 1)" "$(echo "$ratios" | tail -n 1)")"
done
