#!/usr/bin/env bash
# The bundled model, from the corpora to the checkpoint that ships. Resumes where it was stopped.
#
#   recipes/bundled.sh [WORK]        WORK: folder for sessions, shards and the run (default runs/bundled)
#
# Data (licence-clean; the model card attributes them), by the knobs of `import`:
#   chat    self-dialogue + Topical-Chat     26,000 two-person chats, 4.5 M words
#   spoken  CABNC, the first 60 turns each   everyday speech; transcripts are fragmentary, so the share is kept small
#   small   Persuasion-for-Good + CaSiNo     the first 4 turns each: how strangers greet; read three times
# Model: 6 layers x 256, 8,192 tokens of vocabulary, n_ctx 256: 6.9 M parameters, 14 MB in bf16.
# Cost: 8,192 tokens a step x 2,000 steps = 16 M tokens, about 2.1 passes; 1.2 hours at 3,300 target tokens/s (two AVX-512 cores).
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-runs/bundled}
corpora=${DIALOGPT_SHARED:-../shared}/corpora
dialogpt=${DIALOGPT:-dialogpt}
mkdir -p "$work"

made() { [ -f "$1/manifest.json" ]; }
made "$work/chat" || $dialogpt import "$corpora"/{self_dialogue,topical_chat_vt}.jsonl.xz --max-words 60 --out "$work/chat"
made "$work/spoken" || $dialogpt import "$corpora/cabnc.jsonl.xz" --merge --max-words 60 --head 60 --out "$work/spoken"
made "$work/small" || $dialogpt import "$corpora"/{persuasion4good,casino}.jsonl.xz --merge --max-words 60 --head 4 --out "$work/small"

sessions=("$work/chat" "$work/spoken" "$work/small" "$work/small" "$work/small")
made "$work/tokenizer" || $dialogpt tokenizer "${sessions[@]}" --vocab-size 8192 --out "$work/tokenizer"
made "$work/shards" || $dialogpt tokenize "${sessions[@]}" --tokenizer "$work/tokenizer" \
    --max-tokens 256 --validation 0.01 --out "$work/shards"

$dialogpt train "$work/shards" --out "$work/run" \
    --n-layer 6 --n-head 4 --n-embd 256 --n-ctx 256 --dropout 0.0 \
    --steps "${STEPS:-2000}" --batch-tokens 8192 --lr 2e-3 --schedule linear --warmup 150 --weight-decay 0.05

# What ships: the best checkpoint in bf16, with its card. Copy it to src/dialogpt/bundled when it is clearly better.
$dialogpt export "$work/run" --dtype bf16 --card src/dialogpt/bundled/README.md --overwrite --out "$work/bundled"

# Its backward companion for MMI, the same turns last to first, begun from the forward model: it knows the words already.
# 600 steps, 4.9 M tokens, half an hour. Ships as src/dialogpt/bundled/backward.
$dialogpt train "$work/shards" --out "$work/backward-run" --reverse --init "$work/run" --dropout 0.0 \
    --steps "${BACKWARD_STEPS:-600}" --batch-tokens 8192 --lr 1e-3 --schedule linear --warmup 50 --weight-decay 0.05
$dialogpt export "$work/backward-run" --dtype bf16 --card src/dialogpt/bundled/backward/README.md --overwrite \
    --out "$work/bundled/backward"
