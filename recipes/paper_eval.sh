#!/usr/bin/env bash
# A model and a multi-reference set -> the paper's table: greedy, beam, sampling and MMI, beside the published rows.
# Finished parts are kept in WORK: started again, it resumes.
#
#   recipes/paper_eval.sh REFERENCES [MODEL] [WORK]
#
# REFERENCES  JSONL with contexts and references, as `dialogpt references` writes; a line may hold one more human response,
#             which is then scored as a system (human.txt in the same folder)
# MODEL       what `chat` opens (default: bundled)
# WORK        folder for replies and the table (default runs/paper_eval)
#
# BACKWARD    backward model for MMI (default: MODEL's companion)
# PUBLISHED   which published rows to print below: reddit-6k (default) or dstc7
# TOKENS      longest reply (64)              SEED  of the draws (1)
#
# Cost: greedy and sampling make one reply per context, beam search 10 and MMI 16, which a second model reads: 28 replies per
# context in all. 6,000 contexts are 168,000 replies of some 12 tokens, 2 M tokens: about 10 minutes for the bundled
# model on two cores, and as much for a 345M on a GPU that makes 3,000 tokens/s.
set -euo pipefail
if [ $# -lt 1 ]; then
    echo "usage: recipes/paper_eval.sh REFERENCES [MODEL] [WORK]" >&2
    exit 2
fi
references=$1 model=${2:-bundled} work=${3:-runs/paper_eval}
dialogpt=${DIALOGPT:-dialogpt}
human=$(dirname "$references")/human.txt
mkdir -p "$work"

# replies NAME OPTIONS...: a reply to every context, by the model alone: no rule against repetition, no safety
replies() {
    local out=$work/$1.jsonl
    shift
    [ -f "$out" ] || $dialogpt generate "$references" --model "$model" --format jsonl --out "$out" --seed "${SEED:-1}" \
        --max-new-tokens "${TOKENS:-64}" --no-repeat-ngram 0 --no-safety "$@" >/dev/null
}
replies greedy --temperature 0
replies beam --num-beams 10
replies sampling --temperature 1 --top-k 10 --top-p 1
replies mmi --temperature 1 --top-k 10 --top-p 1 --mmi ${BACKWARD:+--backward "$BACKWARD"}

systems=("$work"/{greedy,beam,sampling,mmi}.jsonl)
if [ -f "$human" ]; then systems+=("$human"); fi
$dialogpt evaluate "${systems[@]}" --refs "$references" --published "${PUBLISHED:-reddit-6k}" | tee "$work/table.txt"
$dialogpt evaluate "${systems[@]}" --refs "$references" --format json >"$work/scores.json"
