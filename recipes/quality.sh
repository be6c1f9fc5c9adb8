#!/usr/bin/env bash
# What a model says, to look at: 50 fixed prompts at three settings, ten conversations with itself, and how much of it
# repeats itself, copies the prompt, or is the same for several prompts.
#
#   recipes/quality.sh [MODEL] [WORK]
#
# MODEL     what `chat` opens (default: bundled); MMI uses its backward companion
# WORK      folder; WORK/samples.md is the page (default runs/quality)
#
# PROMPTS   a context per line, tabs between its turns (default: recipes/bundled/prompts.txt)
# SESSIONS  the sessions it was trained on, to measure how much of its replies is copied from them
# SEED      of all draws (1)
#
# Cost: a minute or two for the bundled model on two cores, most of it to start up.
set -euo pipefail
here=$(dirname "$0")
model=${1:-bundled} work=${2:-runs/quality}
prompts=${PROMPTS:-$here/bundled/prompts.txt} seed=${SEED:-1}
dialogpt=${DIALOGPT:-dialogpt}
tab=$'\t' # a Mac's sed takes \t for a t
mkdir -p "$work"

# replies NAME OPTIONS...: a reply to each prompt, and a report on them
replies() {
    local name=$1
    shift
    $dialogpt generate "$prompts" --model "$model" --seed "$seed" --format jsonl --out "$work/$name.jsonl" --report --overwrite "$@" \
        2>"$work/$name.log" >/dev/null || { code=$? && cat "$work/$name.log" >&2 && exit "$code"; }
    sed -n '/^hypotheses  /,$p' "$work/$name.log" >"$work/$name.report"
    python3 -c 'import json, sys
for line in sys.stdin: print(" ".join(json.loads(line)["hypothesis"].split()))' <"$work/$name.jsonl" >"$work/$name.txt"
}
replies chat --mmi --forward-weight 20 --num-hypotheses 64
replies drawn
replies greedy --temperature 0

openings=("Hello!" "Hi, how are you?" "Good morning!" "What did you do today?" "I love music." "Have you seen any good movies?"
    "I am so tired." "Do you like football?" "Tell me about yourself." "It is a beautiful day.")

{
    echo "# Samples"
    echo
    echo "As they came out of \`recipes/quality.sh\` (seed $seed), nothing left out or changed."
    echo
    echo "## Fifty prompts"
    echo
    echo "| prompt | \`chat\`: the best of 64 by both models | \`--no-mmi\`: one draw | \`--temperature 0\` |"
    echo "|---|---|---|---|"
    paste <(sed "s/$tab/ \/ /g" "$prompts") "$work"/{chat,drawn,greedy}.txt | sed "s/|/\\\\|/g; s/$tab/ | /g; s/^/| /; s/\$/ |/"
    for name in chat drawn greedy; do
        printf '\n`%s`:\n\n```\n' "$name"
        cat "$work/$name.report"
        echo '```'
    done
    if [ -n "${SESSIONS:-}" ]; then
        printf '\nAgainst the sessions it was trained on (`evaluate --training`; copy-4: 4-grams of the replies that occur there; copy-reply:\nwhole replies of four words or more that occur there as a turn):\n\n```\n'
        $dialogpt evaluate "$work"/{chat,drawn,greedy}.jsonl --training "$SESSIONS" --samples 0 --trials 0 2>/dev/null | sed -n '/^ .*drawn/p; /^copy-[4r].*[%:]/p'
        echo '```'
    fi
    printf '\n## Ten conversations with itself\n'
    for number in "${!openings[@]}"; do
        printf '\n```\n'
        $dialogpt chat "$model" --self-play same --turns 8 --opening "${openings[$number]}" --seed $((seed + number)) --no-log 2>/dev/null
        echo '```'
    done
} >"$work/samples.md"
echo "$work/samples.md"
