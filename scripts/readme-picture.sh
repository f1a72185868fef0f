#!/usr/bin/env bash
# Draws docs/images/decode.svg (and decode-narrow.svg for phones) from the first table of "Decoding against context" in
# docs/performance.md, with the charts of `lt2 report`. Usage: scripts/readme-picture.sh path/to/lt2 [OUTPUT_DIR]
set -euo pipefail
lt2=$(realpath "${1:?usage: scripts/readme-picture.sh path/to/lt2 [OUTPUT_DIR]}")
cd "$(dirname "$0")/.."
out=${2:-docs/images}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# | 1k | 105.6 | 231.6 | 1.00 | 30.0 MiB | 142.9 | 347.4 | 1.00 | 6.7 MiB |: context, then speed, floor, share and state of both.
awk -F '|' '
  /^## / { inside = $0 == "## Decoding against context" }
  function row(model, speed, state) {
    printf "{\"kind\": \"decode\", \"model\": \"%s\", \"context\": %d, \"batch\": 1, \"dtype\": \"fp32\", \"tokens_per_s\": %s, \"state_bytes\": %d}\n",
      model, $2 * 1024, speed, state * 1048576
  }
  inside && /^\| [0-9]+k / { row("full", $3, $6); row("hybrid", $7, $10) }
' docs/performance.md >"$work/bench.jsonl"
[ "$(wc -l <"$work/bench.jsonl")" -eq 12 ] || { echo "picture: expected 6 contexts in docs/performance.md, Decoding against context" >&2; exit 1; }
"$lt2" report "$work" >/dev/null

# The page draws each chart wide and narrow; two narrow ones make the picture. Data for its pointer is left out, and a
# colour is written where the page names one.
mapfile -t charts < <(grep -oP '<svg viewBox="0 0 360 290" role="img".*?</svg>' "$work/report.html" |
  sed -E 's/<svg viewBox="0 0 360 290"[^>]*>//; s/ data-(name|points)="[^"]*"//g; s|</svg>$||')
[ ${#charts[@]} -eq 2 ] || { echo "picture: lt2 report drew ${#charts[@]} charts instead of 2" >&2; exit 1; }

# $1, $2: width and height; the rest, the picture's inside.
picture() {
  local width=$1 height=$2
  shift 2
  cat <<SVG
<svg xmlns="http://www.w3.org/2000/svg" width="$width" height="$height" viewBox="0 0 $width $height" role="img">
<title>Decoding against context, full attention and hybrid: tokens per second and state in memory</title>
<style>
svg { --ground: #fff; --ink: #1b2027; --soft: #596270; --line: #dfe3e8; --one: #0a63b5; --two: #bd4a00; }
@media (prefers-color-scheme: dark) {
  svg { --ground: #14171c; --ink: #e7eaee; --soft: #a2abb8; --line: #333a44; --one: #69b1ff; --two: #ff9b52; }
}
.ground { fill: var(--ground); stroke: var(--line); }
text { font: 13px system-ui, sans-serif; fill: var(--soft); }
text.key { font-size: 14px; font-weight: 600; fill: var(--ink); }
.grid { stroke: var(--line); }
.axis { stroke: var(--soft); }
.line { fill: none; stroke-width: 2.4; stroke-linejoin: round; stroke-linecap: round; }
.s1 { fill: var(--one); } .s1 .line { stroke: var(--one); }
.s2 { fill: var(--two); } .s2 .line { stroke: var(--two); }
</style>
<rect class="ground" x=".5" y=".5" width="$((width - 1))" height="$((height - 1))" rx="8"/>
<g class="s1"><path class="line" d="M14 22H40"/><circle cx="27" cy="22" r="3.6"/></g><text class="key" x="47" y="27">full attention</text>
<g class="s2"><path class="line" d="M172 22H198"/><rect x="181.6" y="18.6" width="6.8" height="6.8"/></g><text class="key" x="205" y="27">hybrid (4:1)</text>
$*
</svg>
SVG
}
picture 760 336 "<g transform=\"translate(12 40)\">${charts[0]}</g>" "<g transform=\"translate(390 40)\">${charts[1]}</g>" >"$out/decode.svg"
picture 376 336 "<g transform=\"translate(8 40)\">${charts[0]}</g>" >"$out/decode-narrow.svg"
