#!/usr/bin/env bash
# A model from scratch, from Reddit dumps to sample replies. Resumes where it was stopped; use another WORK for other data.
#
#   recipes/scratch.sh WORK DUMP...     WORK: folder for sessions, shards and the run; DUMP: RC_* and RS_* files
#
# PRESET   open, released or paper (open)          WORKERS  processes for extraction (2)
# VOCAB    tokens of the vocabulary (8192)         TOKENS   longest session, and n_ctx of the small shape (256)
# SIZE     options of `train` for the shape (6 layers x 256: 6.9 M parameters)
# STEPS    updates (2000)                          BATCH    tokens of an update (8192)
# LR       peak learning rate (2e-3)               HELD_OUT share of threads to validate on (0.01)
#
# Cost of the small shape: 8,192 tokens x 2,000 steps = 16 M tokens, 1.2 hours at 3,300 target tokens/s (two AVX-512
# cores). Twenty tokens per parameter would be 140 M: use that many if the dumps hold them, STEPS=17000.
# The paper's smallest shape, for a GPU: SIZE="--size 117M" VOCAB=50257 TOKENS=1024 BATCH=65536 LR=3e-4 STEPS=36000 is
# 2.4 G tokens, one pass over the paper's 1.8 G words at 1.3 tokens per word: 61 hours at the 10,847 tokens/s that the
# paper reports for a V100. Not tried here; if memory allows, add --micro-batch-tokens 32768 to SIZE.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: recipes/scratch.sh WORK DUMP..." >&2
    exit 2
fi
work=$1
shift
dialogpt=${DIALOGPT:-dialogpt}
tokens=${TOKENS:-256}
size=${SIZE:---n-layer 6 --n-head 4 --n-embd 256 --n-ctx $tokens --dropout 0}
steps=${STEPS:-2000}
mkdir -p "$work"

made() { [ -f "$1/manifest.json" ]; }
# An extraction that was killed resumes.
made "$work/sessions" || $dialogpt extract "$@" --preset "${PRESET:-open}" --workers "${WORKERS:-2}" \
    --out "$work/sessions"
made "$work/tokenizer" || $dialogpt tokenizer "$work/sessions" --vocab-size "${VOCAB:-8192}" --out "$work/tokenizer"
made "$work/shards" || $dialogpt tokenize "$work/sessions" --tokenizer "$work/tokenizer" --max-tokens "$tokens" \
    --validation "${HELD_OUT:-0.01}" --out "$work/shards"
# Warm-up is a thirteenth of the steps. $size is several options.
# shellcheck disable=SC2086
$dialogpt train "$work/shards" --out "$work/run" $size --steps "$steps" --batch-tokens "${BATCH:-8192}" \
    --lr "${LR:-2e-3}" --warmup $((steps / 13)) --weight-decay 0.05
$dialogpt info "$work/run"
printf '%s\n' "Hello, how are you?" "What do you do at the weekend?" | $dialogpt chat "$work/run" --seed 1
