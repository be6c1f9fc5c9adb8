#!/usr/bin/env bash
# A ranker, which tells the better of two replies, from pairs of which people preferred one. Resumes where it was stopped.
#
#   recipes/ranker.sh PREFERENCES [WORK [MODEL]]
#
# PREFERENCES  a file or folder of pairs: what `dialogpt preferences` makes of Reddit dumps or of DPO's data, `dialogpt judge
#              report --preferences` of people's judgements, or JSONL, {"context": ["Hi!"], "better": "Hello!", "worse": "No."}
# WORK         folder for shards and the run (default runs/ranker)
# MODEL        start from this model, whose vocabulary it shares, or from another ranker (default: bundled)
#
# EPOCHS   passes over the pairs (1)               STEPS    updates, instead of passes
# BATCH    tokens of an update (8192)              HELD_OUT share of the conversations held out (0.05)
# LR       peak learning rate (3e-4; 1e-5 to 5e-5 for 117M and larger)
#
# Cost: each pair is two rows, its context with either reply. 20,000 pairs of 2 x 30 tokens are 1.2 M tokens, 150 updates:
# 1.8 minutes for the bundled model's 6.9 M parameters on two cores of an EPYC 9005 (Zen 5).
set -euo pipefail
if [ $# -lt 1 ]; then
    echo "usage: recipes/ranker.sh PREFERENCES [WORK [MODEL]]" >&2
    exit 2
fi
preferences=$1 work=${2:-runs/ranker} model=${3:-bundled}
dialogpt=${DIALOGPT:-dialogpt}
mkdir -p "$work"
[ -f "$work/shards/manifest.json" ] || $dialogpt tokenize "$preferences" --tokenizer "$model" --max-tokens 256 \
    --validation "${HELD_OUT:-0.05}" --out "$work/shards"
$dialogpt train "$work/shards" --init "$model" --out "$work/run" --epochs "${EPOCHS:-1}" --steps "${STEPS:-0}" \
    --batch-tokens "${BATCH:-8192}" --lr "${LR:-3e-4}" --warmup 20 --validate-every 50 --patience 4 --weight-decay 0.05
$dialogpt info "$work/run"
echo "Let it choose among replies: $dialogpt chat --ranker $work/run --show-hypotheses"
