#!/usr/bin/env bash
# Runs every command of README.md and docs/*.md as it is written, scaled down. Usage: scripts/test-docs.sh path/to/lt2
# Before that: README.md links to every page under docs/, every link leads to a file, the picture is the table's.
#
# Commands stand in blocks marked ```sh. They run in a folder of their own, page after page, with a program lt2 that
# makes each smaller: `scale_down` below lists all changes. `feed` makes the files that they need and a checkout does
# not have. `stand_in` names the commands that are not run, with the reason. Stops at the first command that fails.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
real=$(realpath "${1:?usage: scripts/test-docs.sh path/to/lt2}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The program under the name that the pages use.
program() {
  cat > "$1" <<SCRIPT
#!/usr/bin/env bash
real=$real
scratch=$work/scratch
SCRIPT
  cat >> "$1" <<'SCRIPT'
words=("${@//\/scratch\//$scratch/}")
has() { local word; for word in "${words[@]}"; do [[ $word == $1 ]] && return; done; return 1; }
# Replaces the command's value of each key=value's key.
put() {
  local new word kept
  for new; do
    kept=()
    for word in "${words[@]}"; do [[ $word == "${new%%=*}="* ]] || kept+=("$word"); done
    words=("${kept[@]}" "$new")
  done
}
scale_down() {
  case ${words[0]} in
    train | launch)
      if has --slurm; then return; fi
      if has --dry-run; then put model.vocab_size=-1 && return; fi  # the fed vocabulary is another one
      put steps=2 grad_acc_steps=1 data.batch_size=1 data.seq_len=64 data.prefetch_size=2 optim.warmup=1 val.steps=1 \
        val.sample_len=8 model.dim=64 model.n_layers=5 model.n_heads=4 model.multiple_of=16 model.vocab_size=-1 ;;
    generate) put max_gen_len=8 ;;
    bench)
      # Without a model: the shapes of 0.6B and 1.3B, ten minutes. No row fits into none, and the page says so.
      if has 'ckpt=*' || has 'config=*'; then put seconds=0.02 contexts=64,128; else put minutes=0.001; fi ;;
    check) words=("${words[@]//tests\/data\/vectors/tests/data/vectors/linear/gdn}") ;;
  esac
}
scale_down
# A page that follows a run does so until it is stopped.
if has --live; then
  "$real" "${words[@]}" > live.log 2>&1 &
  for _ in $(seq 300); do grep -q 127.0.0.1 live.log && break; sleep 0.1; done
  kill -TERM $!
  cat live.log
  wait $!
  exit
fi
exec "$real" "${words[@]}"
SCRIPT
  chmod +x "$1"
}

feed() {
  ln -s "$source"/{configs,tests,scripts} .
  mkdir -p data corpus bin build/release tokenizers/llama3 scratch
  ln -s "$source/data/tinyshakespeare.txt" data/
  head -c 20000 data/tinyshakespeare.txt > corpus/play.txt
  for i in $(seq 300); do echo "{\"text\": \"document $i about foxes and dogs\"}"; done > corpus/lines.jsonl
  head -c 3000 data/tinyshakespeare.txt | tee long.txt > some.txt
  ln -s "$source/tests/data/tokenizer/cl100k_base/cl100k_base.tiktoken" tokenizers/llama3/tokenizer.model
  program bin/lt2
  ln -s ../../bin/lt2 build/release/lt2
  # The SLURM of a machine without one: takes what the shell takes.
  printf '#!/bin/sh\nfor file; do :; done\nbash -n "$file" && echo "Submitted batch job 1"\n' > bin/sbatch
  chmod +x bin/sbatch
  export PATH="$work/bin:$PATH" OMP_NUM_THREADS=1  # with so little work threads would only wait for each other
  # A published model is not here: a small one of the same kind, in the same form.
  lt2 train config=configs/tiny/full.yaml dump_dir=fed model.model_type=ouro model.use_attn_gate=false model.use_residual=false \
    model.use_block_residual=false data.tokenizer.name=hf data.add_bos=false data.add_eos=false data.tokenizer.path=tests/data/tokenizer/smollm2_style/tokenizer.json
  lt2 convert in=fed out=Ouro-1.4B to=hf
}

# The command that stands for one of the pages, and "" for one that does not run.
stand_in() {
  case $1 in
    "make demo"*) echo "scripts/demo.sh bin/lt2" ;;  # what it does once the program is built
    "make test"*) ;;                                 # this runs in it
    *) echo "$1" ;;
  esac
}

# FILE:LINE<tab>COMMAND of every command, lines that end in \ joined. A command outside such a block is an error.
commands() {
  awk '
    FNR == 1 { inside = 0 }
    /^```/ { inside = !inside; shell = $0 == "```sh"; next }
    inside && !shell && /^(\$?lt2|make) / { print FILENAME ":" FNR ": a command in a block that is not marked sh" > "/dev/stderr"; exit 1 }
    inside && shell {
      if (line == "") at = FILENAME ":" FNR
      line = line $0
      if (sub(/\\$/, "", line)) next
      if (line !~ /^ *(#.*)?$/) print at "\t" line
      line = ""
    }' "$@"
}

# FILE:LINE<tab>TARGET of every link to a file, in Markdown and in HTML, of the pages given.
links() {
  grep -noP '(?<=\]\()(?!https?:|#)[^)#]+|(?<=(src|ref)=")(?!https?:|#)[^"#]+|(?<=srcset=")[^" ]+' "$@" /dev/null | sed -E 's/^([^:]*:[^:]*):/\1\t/'
}

check_links() {
  local failed=0 page place target
  for page in $(find docs -name '*.md' | sort); do
    links README.md | cut -f 2 | grep -qxF "$page" || { echo "docs: README.md has no link to $page" >&2; failed=1; }
  done
  while IFS=$'\t' read -r place target; do
    [ -e "$(dirname "${place%%:*}")/$target" ] || { echo "docs: $place: there is no $target" >&2; failed=1; }
  done < <(links *.md $(find docs -name '*.md'))
  return $failed
}

(cd "$source" && check_links)
mkdir "$work/images"
"$source/scripts/readme-picture.sh" "$real" "$work/images"
for picture in "$work"/images/*; do
  cmp "$picture" "$source/docs/images/$(basename "$picture")" ||
    { echo "docs: docs/performance.md has other figures than its picture: scripts/readme-picture.sh $real" >&2; exit 1; }
done

cd "$work"
feed > fed.log 2>&1 || { cat fed.log; echo "docs: the small model in place of Ouro-1.4B cannot be made" >&2; exit 1; }
(cd "$source" && commands README.md docs/*.md) > list
count=0
while IFS=$'\t' read -r place command <&3; do
  command=$(stand_in "$command")
  [ -n "$command" ] || continue
  # One shell for all: later commands use what earlier ones have set. Chat and prompts read a line.
  begin=$SECONDS
  if ! eval "$command" > log 2>&1 <<< "The king"; then
    tail -n 20 log >&2
    echo "docs: $place: fails: $command" >&2
    exit 1
  fi
  echo "docs: $place: $((SECONDS - begin)) s"
  count=$((count + 1))
done 3< list
[ "$count" -ge 25 ] || { echo "docs: only $count commands were found" >&2; exit 1; }
echo "docs: $count commands run"
