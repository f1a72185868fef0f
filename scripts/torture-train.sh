#!/usr/bin/env bash
# Kills a training run with SIGKILL at random moments, saving included, resumes it each time, and compares the weights
# and moments at the end with those of a run that was left alone: they must be equal byte for byte.
#   scripts/torture-train.sh [LT2 [KILLS [RANKS [SEED]]]]     default: build/release/lt2 50 1 1
# Every step is followed by a checkpoint, so that many kills land in the middle of one. The short form (5 kills) is a test.
set -euo pipefail
lt2=$(realpath "${1:-build/release/lt2}")
kills=${2:-50} ranks=${3:-1} seed=${4:-1}
RANDOM=$seed
work=$(mktemp -d)
export TMPDIR=$work  # a killed launch leaves the folder where its ranks met
trap 'kill -9 "${pid:-0}" 2>/dev/null || true; rm -rf "$work"' EXIT

for i in $(seq 400); do echo "line $i: the quick brown fox jumps over the lazy dog, again and again"; done > "$work/text.txt"
cat > "$work/run.yaml" << YAML
name: torture
steps: $((12 * kills > 60 ? 12 * kills : 60))
data: {root_dir: $work, sources: {text.txt: 1.0}, batch_size: 2, seq_len: 32, prefetch_size: 4}
optim: {lr: 3e-3, warmup: 5}
model: {dim: 64, n_layers: 2, n_heads: 2, multiple_of: 32, loop_count: 2, layer_pattern: "interleaved:1:1:gdn:full", attention_pattern: "1:1"}
distributed: {model_dtype: fp32, fsdp_type: $([ "$ranks" -gt 1 ] && echo zero2 || echo no_shard), timeout_s: 60}
checkpoint: {dump: {every: 1, keep: 3}, eval: {every: 1000000}}
YAML

train() {
  if [ "$ranks" -gt 1 ]; then
    exec "$lt2" launch --nproc "$ranks" -- train config="$work/run.yaml" dump_dir="$work/$1"
  else
    exec "$lt2" train config="$work/run.yaml" dump_dir="$work/$1"
  fi
}
newest() { find "$work/$1/checkpoints" -mindepth 1 -maxdepth 1 2>/dev/null | grep -E '/[0-9]{10}$' | sort | tail -1 || true; }

(train alone) > "$work/alone.log" 2>&1 || { cat "$work/alone.log" >&2; exit 1; }

steps=$(awk '/^steps:/ {print $2}' "$work/run.yaml")
done_kills=0 saving=0
while [ $done_kills -lt "$kills" ]; do
  before=$(newest killed)
  (train killed) > "$work/killed.log" 2>&1 &
  pid=$!
  # Wait for a new checkpoint, so that every life makes progress; then strike within the next few steps.
  while kill -0 $pid 2>/dev/null && [ "$(newest killed)" = "$before" ]; do sleep 0.02; done
  sleep "0.$(printf %03d $((RANDOM % 250)))"
  # Not only the launcher: the ranks too.
  # shellcheck disable=SC2046
  kill -9 $(cat "/proc/$pid/task/$pid/children" 2>/dev/null) $pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
  done_kills=$((done_kills + 1))
  if find "$work/killed/checkpoints" -mindepth 1 -maxdepth 1 -name '.*.tmp-*' | grep -q .; then saving=$((saving + 1)); fi
  [ "$(basename "$(newest killed)")" = "$(printf %010d "$steps")" ] && break
done
(train killed) > "$work/killed.log" 2>&1 || { cat "$work/killed.log" >&2; exit 1; }

if find "$work/killed" -name '.*.tmp-*' | grep .; then echo "torture: a killed writer's files are still there" >&2; exit 1; fi
for file in model.safetensors optimizer.safetensors; do
  cmp "$(newest alone)/$file" "$(newest killed)/$file" || { echo "torture: $file differs after $done_kills kills" >&2; exit 1; }
done
left=$(find "$work/killed/checkpoints" -mindepth 1 -maxdepth 1 -type d | grep -vE '/[0-9]{10}$' || true)
for folder in $(find "$work/killed/checkpoints" -mindepth 1 -maxdepth 1 -type d | grep -E '/[0-9]{10}$'); do
  [ "$(find "$folder" -type f | wc -l)" = 5 ] || left="$left $folder"
done
[ -z "$left" ] || { echo "torture: left half written or half removed: $left" >&2; exit 1; }
echo "torture: $done_kills kills ($saving while a checkpoint was being written), $ranks rank(s): weights and moments are bit-identical after $steps steps"
