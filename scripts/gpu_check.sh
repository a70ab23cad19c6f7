#!/usr/bin/env bash
# Proves and measures midfill on a machine with a GPU, from the installed tree, with nothing to install there. Under nine
# minutes on an H100. Writes report.md and report.json, and the full output of every part, into a folder.
#
#   scripts/gpu_check.sh [--out DIR] [--seconds N] [--emulated] [PART...]
#
#   conformance   the primitives of kernels/common/ptx.h against their definitions
#   tests         every test of an op, of the model, of checkpoints and of decoding on the device cuda
#   sanitizer     compute-sanitizer over a selection of them: memcheck, racecheck, initcheck, synccheck
#   kernels       midfill bench kernels
#   torch         the same shapes in PyTorch, where python3 has it, and both in one table
#   step          midfill bench step of configs/fim-1.3b.json, and the same in PyTorch
#
# Without a PART: all, in this order. Exits with the number of parts that failed. A part that outlives its share of the
# seconds (500) is stopped and counts as failed. --emulated lets the parts run where `cuda` is the emulated device (preset
# simt), to try the script itself.
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
bin=$here/bin
all=(conformance tests sanitizer kernels torch step)

usage() { sed -n '2,/^set /p' "$0" | sed -n 's/^# \{0,1\}//p'; }
die() { echo "gpu_check.sh: $*" >&2; exit 2; }

out=gpu_check budget=500 emulated=
parts=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --out) [[ $# -ge 2 ]] || die "--out: expected a folder"; out=$2; shift ;;
    --seconds) [[ $# -ge 2 && $2 =~ ^[1-9][0-9]*$ ]] || die "--seconds: expected a whole number"; budget=$2; shift ;;
    --emulated) emulated=1 ;;
    --help | -h) usage; exit 0 ;;
    *) [[ " ${all[*]} " == *" $1 "* ]] || die "no part \"$1\", expected one of: ${all[*]}"; parts+=("$1") ;;
  esac
  shift
done
[[ ${#parts[@]} -gt 0 ]] || parts=("${all[@]}")
[[ -x $bin/midfill ]] || die "$bin/midfill is not there: run this from the tree that cmake --install makes"
mkdir -p "$out" || die "cannot make $out"
out=$(cd "$out" && pwd)

# cuBLAS of the toolkit, or the one that PyTorch brought.
if [[ -z $emulated ]]; then
  for library in /usr/local/cuda/lib64 $(python3 -c 'import nvidia, os
for root in nvidia.__path__:
  for name in sorted(os.listdir(root)): print(os.path.join(root, name, "lib"))' 2>/dev/null); do
    compgen -G "$library/libcublasLt.so*" >/dev/null && export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$library
  done
fi

query() { nvidia-smi --query-gpu="$1" --format=csv,noheader,nounits 2>/dev/null | head -1; }
if [[ -n $emulated ]]; then
  gpu="emulated GPU" driver=none clocks=none
else
  gpu=$(query name) && [[ -n $gpu ]] || die "nvidia-smi sees no GPU (--emulated tries the script without one)"
  driver=$(query driver_version)
  clocks="SM $(query clocks.max.sm) MHz, memory $(query clocks.max.mem) MHz, limit $(query power.limit) W"
fi
commit=$("$bin/midfill" --version 2>/dev/null | head -1)

# Longest share of the time, in seconds, of each part.
declare -A share=([conformance]=30 [tests]=120 [sanitizer]=120 [kernels]=60 [torch]=90 [step]=120)
total=0
for part in "${parts[@]}"; do total=$((total + share[$part])); done

export MIDFILL_TEST_DEVICE=cuda
device=(--device cuda)

run_conformance() { "$bin/test_conformance" --gtest_brief=1; }

run_tests() {
  local program status=0
  for program in "$bin"/test_kernels "$bin"/test_*_cuda; do
    [[ -x $program ]] || continue
    "$program" --gtest_brief=1 ${emulated:+--gtest_filter=Fill.*:Copy.*:Cast*:*Cuda*} || status=1
  done
  return $status
}

# The tools stop a kernel a hundredfold, so each op's smallest tests; racecheck knows shared memory alone.
run_sanitizer() {
  local tool status=0
  command -v compute-sanitizer >/dev/null || { echo "skipped: no compute-sanitizer on PATH"; return 77; }
  for tool in memcheck racecheck initcheck synccheck; do
    compute-sanitizer --tool "$tool" --error-exitcode 1 --kernel-name-exclude kernel_substring=cublas \
      "$bin/test_kernels" --gtest_brief=1 --gtest_filter='*Bf16*:Fill.*:Copy.*' >"$out/sanitizer_$tool.txt" 2>&1
    case $? in
      0) echo "$tool: no errors" ;;
      *) if grep -q 'Device not supported' "$out/sanitizer_$tool.txt"; then
           echo "skipped: compute-sanitizer does not support this device"; return 77
         fi
         echo "$tool: errors, see sanitizer_$tool.txt"; grep -m5 '=====' "$out/sanitizer_$tool.txt"; status=1 ;;
    esac
  done
  return $status
}

run_kernels() { "$bin/midfill" bench kernels "${device[@]}" --json "$out/kernels.json"; }

has_torch() {
  python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null ||
    { echo "skipped: python3 has no PyTorch that sees the GPU"; return 77; }
}

run_torch() {
  has_torch || return 77
  python3 "$here/scripts/bench_torch.py" kernels --device cuda --json "$out/torch_kernels.json" || return 1
  [[ -s $out/kernels.json ]] && python3 "$here/scripts/bench_torch.py" --merge "$out/kernels.json" "$out/torch_kernels.json"
}

run_step() {
  local config=$here/configs/fim-1.3b.json small=()
  [[ -n $emulated ]] && config=$here/configs/tiny.json small=(--heads 2 --ctx 32 --steps 1 --warmup 0)
  "$bin/midfill" bench step --config "$config" "${device[@]}" "${small[@]}" --json "$out/step.json" || return 1
  has_torch || return 0
  python3 "$here/scripts/bench_torch.py" step --config "$config" --device cuda --json "$out/torch_step.json" || return 1
  python3 "$here/scripts/bench_torch.py" --merge "$out/step.json" "$out/torch_step.json"
}

declare -A verdict seconds
failed=0
for part in "${parts[@]}"; do
  printf '\n== %s\n' "$part"
  begin=$SECONDS limit=$((share[$part] * budget / total))
  # Each in a process group of its own, so that a part ends whole at its limit.
  set -m
  (run_"$part") >"$out/$part.txt" 2>&1 </dev/null &
  job=$!
  (sleep "$limit" && kill -- -$job) >/dev/null 2>&1 </dev/null &
  watch=$!
  set +m
  wait $job
  status=$?
  kill -- -$watch 2>/dev/null
  wait $watch 2>/dev/null
  seconds[$part]=$((SECONDS - begin))
  case $status in
    0) verdict[$part]=passed ;;
    77) verdict[$part]=skipped ;;
    143) verdict[$part]="stopped after $limit s"; failed=$((failed + 1)) ;;
    *) verdict[$part]="failed ($status)"; failed=$((failed + 1)) ;;
  esac
  tail -40 "$out/$part.txt"
  printf -- '-- %s: %s, %s s\n' "$part" "${verdict[$part]}" "${seconds[$part]}"
done

{
  printf '# midfill on %s\n\n' "$gpu"
  printf '| | |\n|---|---|\n| midfill | %s |\n| GPU | %s |\n| driver | %s |\n| clocks | %s |\n| date | %s |\n\n' \
    "$commit" "$gpu" "$driver" "$clocks" "$(date -u +%FT%TZ)"
  [[ -n $emulated ]] && printf 'The device was emulated: nothing here ran on a GPU, and times mean nothing.\n\n'
  printf '| part | result | seconds |\n|---|---|---|\n'
  for part in "${parts[@]}"; do printf '| %s | %s | %s |\n' "$part" "${verdict[$part]}" "${seconds[$part]}"; done
  for part in "${parts[@]}"; do printf '\n## %s\n\n```\n%s\n```\n' "$part" "$(tail -120 "$out/$part.txt")"; done
} >"$out/report.md"

json() { local text=${1//\\/\\\\}; printf '"%s"' "${text//\"/\\\"}"; }
file() { if [[ -s $out/$1 ]]; then cat "$out/$1"; else printf null; fi; }
{
  printf '{"midfill": %s, "gpu": %s, "driver": %s, "clocks": %s, "emulated": %s,\n "parts": {' \
    "$(json "$commit")" "$(json "$gpu")" "$(json "$driver")" "$(json "$clocks")" "$([[ -n $emulated ]] && echo true || echo false)"
  comma=
  for part in "${parts[@]}"; do
    printf '%s\n  "%s": {"result": %s, "seconds": %s}' "$comma" "$part" "$(json "${verdict[$part]}")" "${seconds[$part]}"
    comma=,
  done
  printf '},\n "kernels": %s,\n "torch_kernels": %s,\n "step": %s,\n "torch_step": %s}\n' \
    "$(file kernels.json)" "$(file torch_kernels.json)" "$(file step.json)" "$(file torch_step.json)"
} >"$out/report.json"

printf '\n%s of %s parts failed; report in %s\n' "$failed" "${#parts[@]}" "$out"
exit $failed
