#!/usr/bin/env bash
# Remakes the demo pair from texts and voices on a machine with a GPU (about 25 minutes on one H200 with 16 cores).
#   demo/training/make_pair.sh PLAN.jsonl KIT PROCESSOR WORK [BASE_MINUTES] [TUNE_MINUTES]
# PLAN from `python -m demo.speech.plan`, KIT from demo/speech/fetch_voices.sh, PROCESSOR from
# `python -m demo.training.tokenizer`. WORK receives speech, checkpoints, logs and, at the end, WER of the test sets.
set -euo pipefail
cd "$(dirname "$0")/../.."
plan=$1 kit=$2 processor=$3 work=$4 base_minutes=${5:-14} tune_minutes=${6:-4}
python=${PYTHON:-python3}
mkdir -p "$work"

"$python" -m demo.speech.render --kit "$kit" --out "$work/sets" > "$work/render.log" 2>&1
"$python" -m demo.speech.synthesise "$plan" --kit "$kit" --out "$work/speech" > "$work/synthesise.log" 2>&1 &

train() { # train STAGE MINUTES [more arguments]
  "$python" -m demo.training.train "$1" --minutes "$2" --plan "$plan" --speech "$work/speech" --processor "$processor" \
    --out "$work/$1.pt" --compile "${@:3}" > "$work/$1.log" 2>&1
}
train base "$base_minutes"
# Both fine-tunes share the device: their start-up and the drawing of batches overlap.
train a "$tune_minutes" --start "$work/base.pt" --seed 1 &
a=$!
train b "$tune_minutes" --start "$work/base.pt" --seed 2
wait "$a"
cd "$work"
PYTHONPATH="$OLDPWD" "$python" -m demo.training.validate base.pt a.pt b.pt --mix a.pt b.pt --processor "$processor" --sets sets --show 8 \
  > validate.log 2>&1
echo finished > finished
