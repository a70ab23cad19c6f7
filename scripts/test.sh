#!/usr/bin/env bash
# Installs what is missing, builds, runs every test. Ends with ctest's summary.
# MIDFILL_TEST_DATA names a folder with 20B_tokenizer.json and HumanEval-*Infilling.jsonl.gz; tests that need them are
# skipped without it.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install_deps.sh --test

# What the parity tests compare with. PyTorch comes from the distribution, the rest from PyPI.
venv=build/venv
if [[ ! -x $venv/bin/python ]] || ! $venv/bin/python -c 'import torch, transformers, tokenizers, safetensors, tensorboard' 2>/dev/null; then
  rm -rf "$venv"
  /usr/bin/python3 -m venv --system-site-packages "$venv"
  $venv/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt </dev/null
fi

# The program that the quick start builds, and then everything, with the device `cuda` on the emulation; the tests
# build the CUDA side too, where there is an nvcc.
cmake --preset cpu -DBUILD_TESTING=OFF
cmake --build --preset cpu --target midfill
cmake --preset simt -DBUILD_TESTING=ON -DMIDFILL_PYTHON="$PWD/$venv/bin/python"
cmake --build --preset simt
ctest --preset simt
