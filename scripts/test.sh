#!/usr/bin/env bash
# Installs what is missing, builds, runs every test. Ends with ctest's summary.
# MIDFILL_TEST_DATA names a folder with 20B_tokenizer.json and HumanEval-*Infilling.jsonl.gz; tests that need them are
# skipped without it.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install_deps.sh --test

# What the parity tests compare with: the transformers of the distribution's PyTorch, and today's, which read configurations
# and tokenizers without it. The rest comes from PyPI.
environment() {  # name, what it must import
  local venv=build/$1
  [[ -x $venv/bin/python ]] && $venv/bin/python -c "import $2" 2>/dev/null && return
  rm -rf "$venv"
  /usr/bin/python3 -m venv --system-site-packages "$venv"
  $venv/bin/pip install --quiet --disable-pip-version-check --requirement "tests/requirements_$1.txt" </dev/null
}
environment venv 'torch, transformers, tokenizers, safetensors, tensorboard'
environment venv_current 'transformers, tokenizers, safetensors, gguf, xllamacpp'

# The program that the quick start builds, and then everything, with the device `cuda` on the emulation; the tests
# build the CUDA side too, where there is an nvcc.
cmake --preset cpu -DBUILD_TESTING=OFF
cmake --build --preset cpu --target midfill
cmake --preset simt -DBUILD_TESTING=ON -DMIDFILL_PYTHON="$PWD/build/venv/bin/python" \
  -DMIDFILL_PYTHON_CURRENT="$PWD/build/venv_current/bin/python"
cmake --build --preset simt
ctest --preset simt
