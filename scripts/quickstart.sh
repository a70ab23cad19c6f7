#!/usr/bin/env bash
# From clone to infilling on a machine without a GPU, in less than ten minutes on two cores: installs what is missing,
# builds, takes the source code that this machine itself holds as the corpus, trains a tokenizer and a small FIM model,
# evaluates it and lets it fill three spans of files it has never seen.
#
# What it makes lies under data/quickstart and runs/quickstart; run again, it goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."

data=data/quickstart
run=runs/quickstart
midfill=build/cpu/midfill
step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

step "Installing what is missing, building"
scripts/install_deps.sh
cmake --preset cpu -DBUILD_TESTING=OFF >/dev/null
cmake --build --preset cpu --target midfill

# C and C++ headers and Python's library: a few ten thousand files that any development machine has.
corpus=(--input /usr/include)
for python in /usr/lib/python3.*; do
  [[ -d $python ]] && corpus+=(--input "$python")
done
corpus+=(--include '*.h' --include '*.hpp' --include '*.py')

if [[ ! -e $data/tokenizer.json ]]; then
  step "Training a byte-level BPE tokenizer"
  $midfill tokenizer train "${corpus[@]}" --vocab-size 2048 --out "$data/tokenizer.json"
fi
if [[ ! -e $data/code_train.idx ]]; then
  step "Building the dataset"
  $midfill data build --tokenizer "$data/tokenizer.json" "${corpus[@]}" --valid-fraction 0.02 --out "$data/code"
fi

step "Training with 90 % of the contexts turned into infilling examples (about five minutes)"
resume=()
[[ -e $run/config.json ]] && resume=(--resume)
$midfill train configs/quickstart.json --run "$run" "${resume[@]}"

step "Evaluating on the frozen streams"
$midfill eval --run "$run" --modes spm2

step "Filling three spans of held-out files"
$midfill infill --model "$run" --examples 3

printf '\nThe run is in %s. Next:\n' "$run"
printf "  printf 'int main(int argc, <FILL>) {\\\\n  return 0;\\\\n}\\\\n' > try.c && %s infill --model %s --file try.c\n" "$midfill" "$run"
printf '  %s export --run %s --out exported      # a directory that Hugging Face transformers loads\n' "$midfill" "$run"
