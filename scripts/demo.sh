#!/usr/bin/env bash
# Trains a small looped hybrid on Shakespeare, samples before and after, measures decoding against context for the looped full-attention
# model and the hybrid of the same shape in turns, and writes runs/demo/report.html. Usage: scripts/demo.sh path/to/lt2 [OUTPUT_DIR]
set -euo pipefail
cd "$(dirname "$0")/.."
lt2=${1:?usage: scripts/demo.sh path/to/lt2 [OUTPUT_DIR]}
out=${2:-runs/demo}
contexts=1k,2k,4k,8k,16k,32k

# Only what an earlier demo wrote is replaced; a training run of the user's stays.
if [[ -e $out && ! -e $out/commands.txt ]]; then
  echo "error: $out exists and is no earlier demo (it has no commands.txt); remove it or name another folder: scripts/demo.sh $lt2 OUTPUT_DIR" >&2
  exit 1
fi
rm -rf "$out"
mkdir -p "$out"
: > "$out/commands.txt"

# Runs a command after noting it for the report.
step() {
  echo "\$ $*" | sed "s|$lt2|lt2|" | tee -a "$out/commands.txt"
  "$@"
  echo
}

step "$lt2" inspect machine output="$out/machine.json"
step "$lt2" train config=configs/tiny/hybrid.yaml dump_dir="$out"
step "$lt2" generate ckpt="$out" prompt="ROMEO:" max_gen_len=200 temperature=0.8 top_k=40 seed=7
step "$lt2" bench config=configs/tiny/full.yaml,configs/tiny/hybrid.yaml label=full,hybrid mode=decode contexts=$contexts dtype=fp32 output="$out/bench.jsonl"
step "$lt2" report "$out"
echo "Open $out/report.html in a browser."
