#!/usr/bin/env bash
# The backward model, P(context given response), from the shards of the forward one. Resumes where it was stopped.
#
#   recipes/reverse.sh SHARDS [WORK [MODEL]]
#
# SHARDS  a folder that `tokenize` wrote. Turns that carry no loss are not learned backwards either, and a session's
#         last turn is context here: import without --speaker and --window
# WORK    folder for the run (default runs/reverse)
# MODEL   start from this model instead of from scratch, as the authors did from GPT-2's weights; its vocabulary must be
#         that of the shards. The authors' own backward model is small_reverse.pkl, which in spite of its name is a 345M
#
# SIZE     options of `train` for the shape, from scratch only (6 layers x 256: 6.9 M parameters)
# STEPS    updates (2000, from a model 500)        BATCH    tokens of an update (8192)
# LR       peak learning rate (2e-3, from a model 3e-4; 1e-5 to 5e-5 for 117M and larger)
#
# Cost: as for the forward model. From scratch 8,192 tokens x 2,000 steps = 16 M tokens, 1.2 hours at 3,300 target
# tokens/s (two AVX-512 cores); from a model of that shape, which already knows the words, a quarter of that.
set -euo pipefail
if [ $# -lt 1 ]; then
    echo "usage: recipes/reverse.sh SHARDS [WORK [MODEL]]" >&2
    exit 2
fi
shards=$1 work=${2:-runs/reverse} model=${3:-}
dialogpt=${DIALOGPT:-dialogpt}
if [ -n "$model" ]; then
    start=(--init "$model") steps=${STEPS:-500} lr=${LR:-3e-4}
else
    read -ra start <<<"${SIZE:---n-layer 6 --n-head 4 --n-embd 256 --n-ctx 256 --dropout 0}"
    steps=${STEPS:-2000} lr=${LR:-2e-3}
fi
$dialogpt train "$shards" --reverse "${start[@]}" --out "$work/run" --steps "$steps" --batch-tokens "${BATCH:-8192}" \
    --lr "$lr" --warmup $((steps / 13)) --weight-decay 0.05
$dialogpt info "$work/run"
