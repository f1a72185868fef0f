#!/bin/sh
# Prints the table of docs/recipes.md: every recipe with its layers and parameters, as `lt2 train --dry-run` counts them.
#   scripts/recipe-table.sh [path of lt2]
set -eu
cd "$(dirname "$0")/.."
lt2=${1:-build/release/lt2}
for folder in 600M 1B tiny; do
  printf '\n### configs/%s\n\n' "$folder"
  printf '| recipe | layers | layout | parameters | without vocabulary | training FLOPs per token |\n|---|---|---|---|---|---|\n'
  for file in configs/"$folder"/*.yaml; do
    [ "$(basename "$file")" = eval.yaml ] && continue
    field() { sed -n "s/^  $1: \([^#]*[^# ]\).*/\1/p" "$file" | tr -d '"'; }
    "$lt2" train config="$file" --dry-run 2>/dev/null | awk -v file="$file" -v mixers="$(field layer_pattern)" -v windows="$(field attention_pattern)" '
      function thin(n,  out) {
        while (length(n) > 3) { out = "," substr(n, length(n) - 2) out; n = substr(n, 1, length(n) - 3) }
        return n out
      }
      /^parameters/ { total = $2 }
      /^  embedding|^  output/ { vocabulary += $2 }
      /^depth/ { layers = $5 }
      /^FLOPs per token/ { flops = $6 }
      END {
        name = file; sub(".*/", "", name); sub(".yaml", "", name)
        printf "| [%s](../%s) | %d | `%s`%s | %s | %s | %s |\n", name, file, layers, mixers,
               windows == "" ? "" : ", `" windows "`", thin(total), thin(total - vocabulary), flops
      }'
  done
done
