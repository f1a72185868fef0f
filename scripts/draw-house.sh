#!/usr/bin/env bash
# Draws docs/images/house.svg from the table of rooms in docs/architecture.md: an arrow for each room that another may
# use, but those that follow from other arrows. scripts/test-rooms.sh fails if the drawing is not the table's. Prints it.
# Usage: scripts/draw-house.sh > docs/images/house.svg
set -euo pipefail
cd "$(dirname "$0")/.."
sed -nE 's/^\| `([a-z]+)\/` \|.*\| ([^|]+) \| (yes|no) \|$/\1 \2/p' docs/architecture.md | tr -d , | awk '
  # Where each room stands: column and row, from the top left.
  BEGIN {
    split("cli 2.6 0  report 0 1  check 1.1 1  measure 2.2 1  train 1.65 2  data 0 3  distributed 1.25 3  infer 2.7 3  " \
          "folders 2.7 4  template 3.7 4  model 2.7 5  checkpoint 2.15 6  mixers 3.25 6  tokenizer 0 7  config 1.25 7  ops 3.25 7", words, " +")
    for (i = 1; i in words; i += 3) { column[words[i]] = words[i + 1]; row[words[i]] = words[i + 2] }
  }
  {
    rooms[++count] = $1
    for (i = 2; i <= NF; ++i) if ($i != "-") use[$1, $i] = 1
    if ($2 == "all") for (i = 1; i < count; ++i) use[$1, rooms[i]] = 1
  }
  function across(room) { return 62 + 106 * column[room] }
  function down(room) { return 12 + 60 * row[room] }
  # Whether `from` reaches `to` by way of another room that it uses.
  function follows(from, to, i) {
    for (i = 1; i <= count; ++i) if (use[from, rooms[i]] && rooms[i] != to && reaches(rooms[i], to)) return 1
    return 0
  }
  function reaches(from, to, i) {
    if (use[from, to]) return 1
    for (i = 1; i <= count; ++i) if (use[from, rooms[i]] && reaches(rooms[i], to)) return 1
    return 0
  }
  function box(room, x, y, width) {
    printf "<rect class=\"room\" x=\"%g\" y=\"%g\" width=\"%g\" height=\"30\" rx=\"6\"/><text x=\"%g\" y=\"%g\">%s</text>\n",
      x - width / 2, y, width, x, y + 20, room
  }
  END {
    print "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"520\" height=\"534\" viewBox=\"0 0 520 534\" role=\"img\">"
    print "<title>The rooms of src/ and which rooms each may use</title>"
    print "<style>"
    print "svg { --ground: #fff; --room: #f0f3f7; --ink: #1b2027; --arrow: #596270; --line: #dfe3e8; }"
    print "@media (prefers-color-scheme: dark) {"
    print "  svg { --ground: #14171c; --room: #242a33; --ink: #e7eaee; --arrow: #a2abb8; --line: #333a44; }"
    print "}"
    print ".ground { fill: var(--ground); stroke: var(--line); }"
    print ".room { fill: var(--room); stroke: var(--arrow); }"
    print ".arrow { stroke: var(--arrow); stroke-width: 1.3; marker-end: url(#head); }"
    print "#head path { fill: var(--arrow); }"
    print "text { font: 600 14px system-ui, sans-serif; fill: var(--ink); text-anchor: middle; }"
    print "</style>"
    print "<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0.8L8 4L0 7.2z\"/></marker></defs>"
    print "<rect class=\"ground\" x=\".5\" y=\".5\" width=\"519\" height=\"533\" rx=\"8\"/>"
    for (i = 1; i <= count; ++i) {
      from = rooms[i]
      if (from == "base") continue  # all others stand on it
      if (!(from in row)) { print "draw-house: " from " has no place in the drawing: give it one above" > "/dev/stderr"; exit 1 }
      for (j = 1; j <= count; ++j) {
        to = rooms[j]
        if (use[from, to] && to != "base" && !follows(from, to)) {
          printf "<line class=\"arrow\" x1=\"%g\" y1=\"%g\" x2=\"%g\" y2=\"%g\"/>\n", across(from), down(from) + 30, across(to), down(to) - 1
        }
      }
    }
    for (i = 1; i <= count; ++i) if (rooms[i] != "base") box(rooms[i], across(rooms[i]), down(rooms[i]), 100)
    box("base", 260, 490, 496)
    print "</svg>"
  }'
