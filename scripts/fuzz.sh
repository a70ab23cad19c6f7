#!/usr/bin/env bash
# Fuzzes everything that reads files: builds the preset `fuzz` and runs each fuzzer for some time.
#   scripts/fuzz.sh [--seconds N] [--jobs J] [--no-build] [--build-only] [NAME...]
#     --seconds N    of each fuzzer; MIDFILL_FUZZ_SECONDS where that is set, else 60
#     --jobs J       fuzzers at a time; 1
#     --no-build     run what is built; NAME... all of tests/fuzz
# Inputs of interest are kept in build/fuzz/corpus/NAME, finds in build/fuzz/findings/NAME, logs beside them. Exits with 1
# where something was found, with 77 where there is no clang with libFuzzer.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${MIDFILL_FUZZ_SECONDS:-60} jobs=1 build=1 run=1 names=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --seconds) seconds=$2; shift ;;
    --jobs) jobs=$2; shift ;;
    --no-build) build= ;;
    --build-only) run= ;;
    -h | --help) sed -n '2,8s/^# \?//p' "$0"; exit ;;
    -*) echo "fuzz.sh: unknown option $1 (--help lists them)" >&2; exit 2 ;;
    *) names+=("$1") ;;
  esac
  shift
done
if [[ ${#names[@]} -eq 0 ]]; then
  for file in tests/fuzz/*_fuzzer.cpp; do
    names+=("$(basename "$file" _fuzzer.cpp)")
  done
fi

if ! echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' |
  clang++ -x c++ -fsanitize=fuzzer,address - -o /dev/null 2>/dev/null; then
  echo "skipped: no clang++ with libFuzzer (clang, libclang-rt-dev)"
  exit 77
fi

if [[ -n $build ]]; then
  cmake --preset fuzz >/dev/null
  cmake --build --preset fuzz
fi
[[ -n $run ]] || exit 0

# The files of a run are in memory where there is such a directory.
scratch=$(mktemp -d "$([[ -w /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")/midfill-fuzz-XXXXXX")
trap 'rm -rf "$scratch"' EXIT

fuzz() {
  local name=$1 corpus=build/fuzz/corpus/$1 findings=build/fuzz/findings/$1
  local seeds=tests/fuzz/seeds/$1 dictionary=tests/fuzz/$1.dict
  mkdir -p "$corpus" "$findings" build/fuzz/logs
  local arguments=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1
                   -artifact_prefix="$findings/")
  [[ ! -f $dictionary ]] || arguments+=(-dict="$dictionary")
  TMPDIR=$scratch "build/fuzz/fuzz_$name" "${arguments[@]}" "$corpus" "$seeds" &>"build/fuzz/logs/$name.txt"
}

# One line of the table from a log; the log of a find in whole.
report() {
  local name=$1 status=$2 log=build/fuzz/logs/$1.txt result=none
  if [[ $status -ne 0 ]]; then
    tail -60 "$log" >&2
    result=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)
    result=${result:-status $status}
  fi
  awk -v name="$name" -v result="$result" '
    / cov: / { for (i = 1; i < NF; ++i) { if ($i == "cov:") cov = $(i + 1); if ($i == "corp:") corpus = $(i + 1) } }
    /^stat::number_of_executed_units/ { runs = $2 }
    /^stat::average_exec_per_sec/ { rate = $2 }
    END { sub("/.*", "", corpus); printf "%-18s %12d %8d %8d %8d  %s\n", name, runs, rate, cov, corpus, result }' "$log"
}

printf '%-18s %12s %8s %8s %8s  %s\n' fuzzer executions exec/s edges corpus finds
declare -A running=()
found=0
finish_one() {
  local pid status=0
  wait -n -p pid "${!running[@]}" || status=$?
  report "${running[$pid]}" "$status"
  [[ $status -eq 0 ]] || found=1
  unset "running[$pid]"
}
for name in "${names[@]}"; do
  [[ ${#running[@]} -lt $jobs ]] || finish_one
  fuzz "$name" &
  running[$!]=$name
done
while [[ ${#running[@]} -gt 0 ]]; do
  finish_one
done
exit $found
