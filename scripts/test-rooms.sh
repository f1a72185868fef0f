#!/usr/bin/env bash
# Rooms use only what docs/architecture.md says: the table's "may use", USES in CMakeLists.txt, the includes in src/ and
# the drawing docs/images/house.svg agree. Usage: scripts/test-rooms.sh
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
complain() { echo "$*" >&2; failed=1; }

table() { sed -nE 's/^\| `([a-z]+)\/` \|.*\| ([^|]+) \| (yes|no) \|$/\1: \2/p' docs/architecture.md; }
build() { sed -nE 's/^lt2_room\(([a-z]+) +(PLAIN +)?(USES ([a-z ]+))?( LINKS.*)?\)?$/\1: \4/p' CMakeLists.txt | sed 's/ LINKS.*//'; }
sorted() { tr ', ' '\n\n' <<<"$1" | grep -E '^[a-z]+$' | sort -u | tr '\n' ' ' || true; }

all=" $(cd src && printf '%s ' */ | tr -d /)"
declare -A allowed
while IFS=: read -r room uses; do
  [[ $uses == *all* ]] && uses=${all/ $room / }
  [[ $room == base ]] || uses+=" base"
  allowed[$room]=$(sorted "$uses")
done < <(table)
for room in $all; do [[ -v allowed[$room] ]] || complain "docs/architecture.md: the table has no room $room"; done
while IFS=: read -r room uses; do
  [[ $(sorted "$uses") == "${allowed[$room]:-}" ]] ||
    complain "CMakeLists.txt: $room uses $(sorted "$uses"), docs/architecture.md says ${allowed[$room]:-}"
done < <(build)
for room in $all; do
  for used in $(grep -rhoE '^ *# *include "[a-z_]+/' "src/$room" | sed -E 's/.*"(.*)\//\1/' | sort -u); do
    [[ $used == "$room" || " ${allowed[$room]:-} " == *" $used "* ]] ||
      complain "$(grep -rnE "^ *# *include \"$used/" "src/$room" | head -1): docs/architecture.md does not let $room use $used"
  done
done
scripts/draw-house.sh | cmp -s - docs/images/house.svg || complain "docs/images/house.svg is not what the table says: scripts/draw-house.sh > docs/images/house.svg"
exit $failed
