#!/usr/bin/env bash
# The bundled model and its backward companion, from the corpora to checkpoints. Resumes where it was stopped.
#
#   recipes/bundled.sh [WORK]        WORK: folder for sessions, shards and the runs (default runs/bundled)
#
# First   the language: recipes/bundled/corpora.toml, six openly licensed corpora from the folder corpora/ in DIALOGPT_SHARED,
#         cleaned and weighted; 4.7 M words, 6.8 M tokens per pass; the learning rate rises and falls twice
# Then    the talk: recipes/bundled/talk.toml, dialogues written for this project, and a little of the corpora; finally
#         recipes/bundled/plain.toml, with three of them joined into one, since people change the subject
# Model   6 layers x 256, 8,192 tokens of vocabulary, n_ctx 256: 6.9 M parameters, 14 MB in bf16
# Cost    8,192 tokens per step; 2,500 steps and 2,400 (6 passes), then 2,300 (3 passes) and 360, and 600 for the backward
#         model: 39, 39, 35, 6 and 9 minutes on two cores of an EPYC 9005 (Zen 5), with a process for each core:
#         OMP_NUM_THREADS=1 TRAIN="torchrun --nproc-per-node 2 -m dialogpt train" recipes/bundled.sh
#
# TRAIN   the command that trains (default: dialogpt train, one process, a fifth slower)
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-runs/bundled}
corpora=${DIALOGPT_SHARED:-../shared}/corpora
dialogpt=${DIALOGPT:-dialogpt}
mkdir -p "$work"

made() { [ -f "$1/manifest.json" ]; }
sessions() { made "$work/$1" || $dialogpt mix "recipes/bundled/$1.toml" --root "$corpora" --out "$work/$1"; }
shards() {
    made "$work/$1-shards" || $dialogpt tokenize "$work/$1" --tokenizer "$work/tokenizer" \
        --max-tokens 256 --validation 0.01 --out "$work/$1-shards"
}
train() {
    local out=$work/$1
    shift
    ${TRAIN:-$dialogpt train} "$@" --out "$out" --batch-tokens 8192 --schedule linear --weight-decay 0.05
}

sessions corpora
sessions talk
sessions plain
made "$work/tokenizer" || $dialogpt tokenizer "$work/corpora" "$work/talk" --vocab-size 8192 --out "$work/tokenizer"
shards corpora
shards talk
shards plain

train corpora-run "$work/corpora-shards" --n-layer 6 --n-head 4 --n-embd 256 --n-ctx 256 --dropout 0 \
    --steps "${STEPS:-2500}" --lr 2e-3 --warmup 150
train corpora-again "$work/corpora-shards" --init "$work/corpora-run" --dropout 0 --seed 2 \
    --steps "${AGAIN_STEPS:-2400}" --lr 1.5e-3 --warmup 50
train talk-run "$work/talk-shards" --init "$work/corpora-again" --dropout 0.15 \
    --steps "${TALK_STEPS:-2300}" --lr 1e-3 --warmup 50
train run "$work/plain-shards" --init "$work/talk-run" --chain 3 --steps "${CHAIN_STEPS:-360}" --lr 8e-4 --warmup 20

# What ships: the best checkpoint in bf16, with its card. Copy it to src/dialogpt/bundled if it is clearly better. (The present
# one is the mean of two such runs; the card says which.)
$dialogpt export "$work/run" --dtype bf16 --card src/dialogpt/bundled/README.md --overwrite --out "$work/bundled"

# Its backward companion for MMI, on the same turns last to first, started from the forward model, which already knows the words.
train backward-run "$work/talk-shards" --reverse --init "$work/talk-run" \
    --steps "${BACKWARD_STEPS:-600}" --lr 1e-3 --warmup 50
$dialogpt export "$work/backward-run" --dtype bf16 --card src/dialogpt/bundled/backward/README.md --overwrite \
    --out "$work/bundled/backward"

# Samples to look at, and the n-gram models that it has to beat.
DIALOGPT=$dialogpt SESSIONS=$work/talk recipes/quality.sh "$work/bundled" "$work/quality"
${PYTHON:-python3} bench/baselines.py "$work/talk-shards"
