#!/usr/bin/env bash
# A script of a few hundred lines and a speaker in it -> a bot that answers as that speaker, in minutes on a CPU.
#
#   recipes/character_bot.sh SCRIPT.csv SPEAKER [WORK]
#
# SCRIPT   `name,line`, CSV or TSV, plain text in UTF-8; quotes as in CSV
# SPEAKER  a name in the script: whose lines are learned
# WORK     folder for sessions, shards and the run (default runs/SPEAKER); use another one for another script, speaker or cut
#
# MODEL    the model to start from (bundled); for a script that is not in English, a model of its language, or `new`: a
#          small one with a vocabulary of its own, which knows nothing but the script
# WINDOW   lines of context before each of the speaker's (5)
# CUT      lines per scene. A script without scenes is one conversation, of which nothing could be held out; 0 keeps the
#          scenes made by empty lines or a column `scene` (default: 0 if there are twenty or more empty lines, else 25,
#          or a quarter of a script of fewer than a hundred lines)
# EPOCHS   passes (5; new: 25)                     STEPS    updates instead of passes
# LR       peak learning rate (3e-4; new: 2e-3)    HELD_OUT share of scenes to validate on (0.1)
#
# Try it: recipes/character_bot.sh recipes/character/captain_marrow.csv "Captain Marrow"
#   714 lines of an old sea captain and four others in 70 scenes, written for this project (MIT). The perplexity of his
#   lines in seven held-out scenes falls from 66.5 to 29.0 in 55 updates, twenty seconds on two cores; that of the
#   bundled model's own held-out turns rises from 17.5 to 22.8: it has not forgotten small talk.
#
# Cost, for a script of 700 lines (10,000 words, a third of the lines the speaker's): 190 sessions of 90 tokens are
# 17,000 tokens: 9 updates of 2,048 tokens per pass, 45 in all.
# Tried on 700 lines of a role-playing show, by validation perplexity: 1e-4 is still falling after eight passes (74);
# 3e-4 is lowest after four to five (63), then rises; 1e-3 is lowest after three (64), and 109 after eight: it has
# learned the script by heart. With the settings here it reaches 64, at step 45 of 50, in 1.8 minutes on two AVX-512
# cores that others were also using.
# Tried on 700 made-up lines in Spanish: `new` took 41 seconds and kept words whole; the bundled model, whose vocabulary
# takes twice as many tokens for them, took 2 minutes, held-out lines were less likely to it, and it broke words.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: recipes/character_bot.sh SCRIPT.csv SPEAKER [WORK]" >&2
    exit 2
fi
script=$1 speaker=$2 work=${3:-runs/$2}
dialogpt=${DIALOGPT:-dialogpt}
model=${MODEL:-bundled}
mkdir -p "$work"

made() { [ -f "$1/manifest.json" ]; }
of="$(cksum <"$script") $speaker, CUT ${CUT:-}, WINDOW ${WINDOW:-5}"
if made "$work/sessions" && [ "$of" != "$(cat "$work/made_of" 2>/dev/null)" ]; then
    echo "$work holds the sessions of another script, SPEAKER, CUT or WINDOW: name another WORK, or delete it" >&2
    exit 1
fi
echo "$of" >"$work/made_of"
if ! made "$work/sessions"; then
    scenes=$(grep -csE '^[,;|[:space:]]*$' "$script" || true) lines=$(awk 'END { print NR }' "$script")
    cut=${CUT:-$((scenes >= 20 ? 0 : lines >= 100 ? 25 : lines / 4 + 1))}
    # An empty line ends a scene, unless it would stand inside a quoted field (an odd number of quotes so far).
    awk -v cut="$cut" '
        { print; quotes += gsub(/"/, "&"); lines++ }
        cut && lines >= cut && quotes % 2 == 0 { print ""; lines = 0 }' "$script" >"$work/script.csv"
    # The speaker's turns of over 60 words are not learned: the bundled model has never seen any that long.
    $dialogpt import "$work/script.csv" --from script --speaker "$speaker" --window "${WINDOW:-5}" --max-words 60 \
        --out "$work/sessions"
fi
tokenizer=$model settings=(--init "$model" --epochs "${EPOCHS:-5}" --lr "${LR:-3e-4}" --warmup 10)
if [ "$model" = new ]; then
    tokenizer=$work/tokenizer
    settings=(--n-layer 4 --n-embd 128 --epochs "${EPOCHS:-25}" --lr "${LR:-2e-3}" --warmup 20)
    made "$tokenizer" || $dialogpt tokenizer "$work/sessions" --vocab-size 4096 --out "$tokenizer"
fi
made "$work/shards" || $dialogpt tokenize "$work/sessions" --tokenizer "$tokenizer" --max-tokens 256 \
    --validation "${HELD_OUT:-0.1}" --out "$work/shards"
# The best checkpoint is kept: if its step is far before the last, the later passes only memorised the script.
$dialogpt train "$work/shards" "${settings[@]}" --out "$work/run" --steps "${STEPS:-0}" --batch-tokens 2048 \
    --validate-every 5 --save-every 50
$dialogpt info "$work/run"
echo "Chat with $speaker: $dialogpt chat $work/run"
