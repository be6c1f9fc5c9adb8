#!/usr/bin/env bash
# From a Reddit dump to a reply in under three minutes on two cores: every stage once, at toy size.
#
#   recipes/smoke.sh [WORK]          WORK: an empty or new folder (default: a temporary one)
#
# Uses the dump of January 2006 in ../shared if it is there, else a small one written for the tests. The reply shows
# that every stage works; 300 steps on a few hundred short sessions teach a model no more than that.
set -euo pipefail
cd "$(dirname "$0")/.."
dialogpt=${DIALOGPT:-dialogpt}
shared=${DIALOGPT_SHARED:-../shared}
if [ $# -gt 0 ]; then
    work=$1
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
mkdir -p "$work"

comments=$shared/reddit/RC_2006-01.bz2 submissions=$shared/reddit/RS_2006-01.zst
if [ ! -f "$comments" ]; then
    python3 tests/data/mini_dump.py "$work/dump"
    comments=$work/dump/RC_2015-01.bz2 submissions=$work/dump/RS_2015-01.gz
fi

$dialogpt extract "$comments" "$submissions" --out "$work/sessions"
$dialogpt tokenizer "$work/sessions" --vocab-size 2048 --out "$work/tokenizer"
$dialogpt tokenize "$work/sessions" --tokenizer "$work/tokenizer" --max-tokens 128 --validation 0.1 --out "$work/shards"
# 300 steps x 2,048 tokens = 0.6 M tokens through 1.3 M parameters.
$dialogpt train "$work/shards" --out "$work/run" --n-layer 4 --n-embd 128 --n-head 4 --n-ctx 128 --dropout 0 \
    --steps "${STEPS:-300}" --batch-tokens 2048 --lr 2e-3 --warmup 30 --validate-every 100 --save-every 100
$dialogpt info "$work/run"
echo "What do you think of that?" | $dialogpt chat "$work/run" --seed 1
