#!/usr/bin/env bash
# The bundled model and its backward companion, from the corpora to the checkpoints that ship. Resumes where it was stopped.
#
#   recipes/bundled.sh [WORK]        WORK: folder for sessions, shards and the runs (default runs/bundled)
#
# Data    recipes/bundled/mixture.toml: small talk written for this project, and six licence-clean corpora of the folder
#         corpora/ in DIALOGPT_SHARED, cleaned and weighted; 4.1 M words, 6.0 M tokens a pass
# Model   6 layers x 256, 8,192 tokens of vocabulary, n_ctx 256: 6.9 M parameters, 14 MB in bf16
# Cost    8,192 tokens a step: 3,500 steps are 29 M tokens, 4.7 passes; 1 h 10 min at 7,000 target tokens/s, which two cores of
#         an EPYC 9005 (Zen 5) make alone; then 700 steps of the backward model, a quarter of an hour
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-runs/bundled}
corpora=${DIALOGPT_SHARED:-../shared}/corpora
dialogpt=${DIALOGPT:-dialogpt}
mkdir -p "$work"

made() { [ -f "$1/manifest.json" ]; }
made "$work/sessions" || $dialogpt mix recipes/bundled/mixture.toml --root "$corpora" --out "$work/sessions"
made "$work/tokenizer" || $dialogpt tokenizer "$work/sessions" --vocab-size 8192 --out "$work/tokenizer"
made "$work/shards" || $dialogpt tokenize "$work/sessions" --tokenizer "$work/tokenizer" \
    --max-tokens 256 --validation 0.01 --out "$work/shards"

$dialogpt train "$work/shards" --out "$work/run" \
    --n-layer 6 --n-head 4 --n-embd 256 --n-ctx 256 --dropout 0.1 \
    --steps "${STEPS:-3500}" --batch-tokens 8192 --lr 2e-3 --schedule linear --warmup 150 --weight-decay 0.05

# What ships: the best checkpoint in bf16, with its card. Copy it to src/dialogpt/bundled when it is clearly better.
$dialogpt export "$work/run" --dtype bf16 --card src/dialogpt/bundled/README.md --overwrite --out "$work/bundled"

# Its backward companion for MMI, the same turns last to first, begun from the forward model: it knows the words already.
$dialogpt train "$work/shards" --out "$work/backward-run" --reverse --init "$work/run" --dropout 0.1 \
    --steps "${BACKWARD_STEPS:-700}" --batch-tokens 8192 --lr 1e-3 --schedule linear --warmup 50 --weight-decay 0.05
$dialogpt export "$work/backward-run" --dtype bf16 --card src/dialogpt/bundled/backward/README.md --overwrite \
    --out "$work/bundled/backward"

# What it says, to look at, and what it has to beat.
DIALOGPT=$dialogpt SESSIONS=$work/sessions recipes/quality.sh "$work/bundled" "$work/quality"
${PYTHON:-python3} bench/baselines.py "$work/shards"
