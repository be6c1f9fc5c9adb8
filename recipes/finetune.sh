#!/usr/bin/env bash
# A model and conversations -> a fine-tuned model. Resumes where it was stopped; use another WORK for other data.
#
#   recipes/finetune.sh MODEL FILE [WORK]
#
# MODEL  what `chat` opens: bundled (or ""), a folder, a run, a hub name, the authors' medium_ft.pkl
# FILE   what `import` reads (JSONL, script, WhatsApp, Telegram, ...), or a folder that `import` or `extract` wrote
# WORK   folder for sessions, shards and the run (default runs/finetune)
#
# IMPORT   more options of `import`, such as "--merge --max-words 60"
# TOKENS   longest session in tokens, at most the model's n_ctx (256, the bundled model's; 1024 for the authors')
# LR       peak learning rate (3e-4, for the bundled model; 1e-5 to 5e-5 for 117M and larger)
# EPOCHS   passes (3)                              STEPS    updates instead of passes
# BATCH    tokens of an update (4096)              HELD_OUT share of conversations to validate on (0.05)
#
# Cost: steps = tokens x EPOCHS / BATCH. 1,000 chats of 150 tokens are 150,000 tokens: 37 updates per pass, 110 in all,
# 0.45 M tokens, some 2.5 minutes for the bundled model at 3,300 target tokens/s (two AVX-512 cores). 345M has fifty
# times its parameters: work for a GPU. The run keeps the checkpoint with the best validation; if that is the last one,
# more passes may help.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: recipes/finetune.sh MODEL FILE [WORK]" >&2
    exit 2
fi
model=${1:-bundled} sessions=$2 work=${3:-runs/finetune}
dialogpt=${DIALOGPT:-dialogpt}
mkdir -p "$work"

made() { [ -f "$1/manifest.json" ]; }
if [ ! -d "$sessions" ]; then
    # IMPORT is several options.
    # shellcheck disable=SC2086
    made "$work/sessions" || $dialogpt import "$sessions" ${IMPORT:-} --out "$work/sessions"
    sessions=$work/sessions
fi
made "$work/shards" || $dialogpt tokenize "$sessions" --tokenizer "$model" --max-tokens "${TOKENS:-256}" \
    --validation "${HELD_OUT:-0.05}" --out "$work/shards"
$dialogpt train "$work/shards" --init "$model" --out "$work/run" --epochs "${EPOCHS:-3}" --steps "${STEPS:-0}" \
    --batch-tokens "${BATCH:-4096}" --lr "${LR:-3e-4}" --warmup 10 --validate-every 20 --save-every 100
$dialogpt info "$work/run"
echo "Chat with it: $dialogpt chat $work/run"
