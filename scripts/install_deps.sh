#!/usr/bin/env bash
# Installs what midfill needs to build, from the distribution (Debian 12, Ubuntu 24.04). Does nothing where all is there.
#   scripts/install_deps.sh            build and run
#   scripts/install_deps.sh --test     also what the tests compare with: PyTorch, Hugging Face; and clang, for the fuzzers
set -euo pipefail

build=(g++ cmake ninja-build ccache git pkg-config ca-certificates
       nlohmann-json3-dev libcli11-dev libfmt-dev libsimdjson-dev libzstd-dev zlib1g-dev liblzma-dev libbz2-dev
       libutf8proc-dev libpcre2-dev libxxhash-dev libopenblas-serial-dev protobuf-compiler libprotobuf-dev)
test=(libgtest-dev libgmock-dev python3 python3-venv python3-torch python3-numpy libopenblas0-openmp
      clang libclang-rt-dev)

wanted=("${build[@]}")
[[ ${1-} == --test ]] && wanted+=("${test[@]}")

missing=()
for package in "${wanted[@]}"; do
  [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
    missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

as_root=()
if [[ $EUID -ne 0 ]]; then
  command -v sudo >/dev/null || { echo "install_deps.sh: not root and no sudo; install: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "Installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq </dev/null
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
