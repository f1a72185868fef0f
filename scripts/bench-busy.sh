#!/usr/bin/env bash
# How speed falls on a busy machine: the tiny hybrid with its default threads and with one: alone, next to two other `lt2 bench`, and next to four
# busy loops. The two take turns; printed are medians, the median of the pairs' ratios, and the least and the most of them. Usage: scripts/bench-busy.sh LT2 [ROUNDS] [MODES]
set -euo pipefail
cd "$(dirname "$0")/.."
lt2=${1:?usage: scripts/bench-busy.sh path/to/lt2 [rounds] [decode,prefill,train]}
rounds=${2:-5}
modes=${3:-decode,prefill,train}
model=(config=configs/tiny/hybrid.yaml seconds=2)
scratch=$(mktemp -d)
beside=()
beside() { setsid bash -c "$1" & beside+=($!); }  # a process group of its own, so that all of it can be ended
stop_beside() {
  for group in "${beside[@]}"; do kill -KILL -- "-$group" 2>/dev/null || true; wait "$group" 2>/dev/null || true; done
  beside=()
}
trap 'stop_beside; rm -rf "$scratch"' EXIT

median() { sort -g | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
tokens_per_s() {  # MODE [ENVIRONMENT]
  rm -f "$scratch/row"
  local contexts=(contexts=1k)
  [ "$1" = train ] && contexts=()
  env "${@:2}" "$lt2" bench "${model[@]}" "${contexts[@]}" mode="$1" output="$scratch/row" >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; return 1; }
  sed -E 's/.*"tokens_per_s":([0-9.e+-]+).*/\1/' "$scratch/row"
}
quiet() { :; }
two_benches() {
  for _ in 1 2; do beside "while :; do '$lt2' bench config=configs/tiny/hybrid.yaml mode=decode contexts=1k seconds=30; done >/dev/null 2>&1"; done
}
four_loops() { for _ in 1 2 3 4; do beside 'while :; do :; done'; done; }

printf '%-12s %-8s %14s %14s %8s %14s\n' load mode 'all threads' 'one thread' ratio 'least-most'
for situation in quiet two_benches four_loops; do
  $situation
  for mode in ${modes//,/ }; do
    : >"$scratch/all"; : >"$scratch/one"; : >"$scratch/ratio"
    for ((round = 0; round < rounds; ++round)); do
      all=$(tokens_per_s "$mode"); one=$(tokens_per_s "$mode" OMP_NUM_THREADS=1)
      echo "$all" >>"$scratch/all"; echo "$one" >>"$scratch/one"
      awk -v a="$all" -v b="$one" 'BEGIN {print a / b}' >>"$scratch/ratio"
    done
    printf '%-12s %-8s %14.1f %14.1f %8.2f %14s\n' "${situation/_/ }" "$mode" "$(median <"$scratch/all")" "$(median <"$scratch/one")" "$(median <"$scratch/ratio")" \
      "$(sort -g "$scratch/ratio" | awk 'NR == 1 {least = $1} END {printf "%.2f-%.2f", least, $1}')"
  done
  stop_beside
done
