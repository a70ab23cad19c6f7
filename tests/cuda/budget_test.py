"""Compares what each kernel takes on each architecture with kernels/budget.json: registers and shared memory at most
as recorded, no spills, nothing unrecorded, nothing recorded that is gone.

    budget_test.py --build build/cuda [--configure] [--update]

Reads what cmake/record_ptxas.sh kept beside the object files, for every .cu file in BUILD/compile_commands.json.
--configure makes and builds the preset `cuda` first, and exits 77 where there is no nvcc; --update writes the file anew
from what was measured, for a change to be seen and reviewed in the diff. The amounts belong to one release of nvcc;
under another, more is only reported.
"""
import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

SOURCE_DIR = pathlib.Path(__file__).resolve().parents[2]
BUDGET = SOURCE_DIR / "kernels/budget.json"


def nvcc_release(nvcc):
    """(13, 0)"""
    text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.search(r"release (\d+)\.(\d+)", text).groups()))


def configure_and_build(build):
    nvcc = os.environ.get("CUDACXX") or shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if not nvcc:
        print("skipped: no nvcc (PATH, CUDACXX, /usr/local/cuda/bin)")
        sys.exit(77)
    if nvcc_release(nvcc) < (12, 0):
        print(f"skipped: {nvcc} is of release {nvcc_release(nvcc)}, expected 12.0 or later")
        sys.exit(77)
    if not (build / "build.ninja").exists():
        subprocess.run(["cmake", "--preset", "cuda", "-B", build], cwd=SOURCE_DIR, check=True)
    subprocess.run(["cmake", "--build", build, "--target", "midfill", "midfill_cuda_tests"], check=True)


def demangle(names):
    """Readable names without namespaces, return type and parameters: "load<4, true>"."""
    if not names:
        return {}
    out = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    readable = {}
    for mangled, name in zip(names, out.splitlines()):
        name = re.sub(r"\(anonymous namespace\)::|_GLOBAL__N__\w+::", "", name)
        name = re.sub(r"^void ", "", name)
        # The parameters are the last bracket that closes the name.
        if name.endswith(")"):
            depth = 0
            for i in range(len(name) - 1, -1, -1):
                depth += {")": 1, "(": -1}.get(name[i], 0)
                if depth == 0:
                    name = name[:i]
                    break
        readable[mangled] = re.sub(r"\b(?:midfill|test|detail)::", "", name)
    return readable


def parse(text):
    """[(mangled, arch, registers, shared bytes, spilled bytes)] of one ptxas report."""
    found = []
    kernel = arch = None
    spilled = {}
    function = None
    for line in text.splitlines():
        if m := re.search(r"Compiling entry function '(\S+)' for '(\w+)'", line):
            kernel, arch = m.groups()
            spilled = {}
        elif m := re.search(r"Function properties for (\S+)", line):
            function = m.group(1)
        elif m := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spilled[function] = int(m.group(1)) + int(m.group(2))
        elif m := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            found.append((kernel, arch, int(m.group(1)), int(shared.group(1)) if shared else 0,
                          sum(spilled.values())))
    return found


def measure(build):
    """{source: {kernel: {arch: {"registers": r, "shared_bytes": s}}}}, complaints about spills, release of nvcc."""
    measured, complaints, release = {}, [], None
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = pathlib.Path(entry["file"])
        words = shlex.split(entry["command"])
        # g++ compiles .cu files too, for the emulation, as -x c++.
        if source.suffix != ".cu" or words[words.index("-x") + 1] != "cu":
            continue
        release = release or nvcc_release(words[0])
        report = build / (words[words.index("-o") + 1] + ".ptxas")
        name = str(source.relative_to(SOURCE_DIR))
        if not report.exists():
            complaints.append(f"{name}: no report {report}: build the target midfill_cuda_tests")
            continue
        found = parse(report.read_text())
        names = demangle([f[0] for f in found])
        kernels = measured.setdefault(name, {})
        for mangled, arch, registers, shared, spilled in found:
            kernel = names[mangled]
            if arch in kernels.setdefault(kernel, {}):
                complaints.append(f"{name}: {kernel} occurs twice for {arch}")
            kernels[kernel][arch] = {"registers": registers, "shared_bytes": shared}
            if spilled:
                complaints.append(f"{name}: {kernel} for {arch} spills {spilled} bytes, expected 0")
    return measured, complaints, release


def flatten(budget):
    return {(source, kernel, arch): uses for source, kernels in budget.items()
            for kernel, archs in kernels.items() for arch, uses in archs.items()}


def compare(measured, budget, partial, same_release):
    """partial: architectures that were not built at all are passed over."""
    complaints = []
    found, allowed = flatten(measured), flatten(budget)
    if partial:
        built = {arch for _, _, arch in found}
        allowed = {key: uses for key, uses in allowed.items() if key[2] in built}
    for key in sorted(found.keys() | allowed.keys()):
        where = "{}: {} for {}".format(*key)
        if key not in allowed:
            complaints.append(f"{where} is not in {BUDGET.name} (budget_test.py --update)")
        elif key not in found:
            complaints.append(f"{where} is in {BUDGET.name}, but was not built")
        else:
            for use, amount in found[key].items():
                if not amount <= allowed[key][use]:
                    text = f"{where}: {amount} {use}, budget {allowed[key][use]}"
                    if same_release:
                        complaints.append(text)
                    else:
                        print("with another nvcc,", text)
    return complaints


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--configure", action="store_true")
    parser.add_argument("--update", action="store_true")
    args = parser.parse_args()
    build = args.build.resolve()
    if args.configure:
        configure_and_build(build)
    measured, complaints, release = measure(build)
    if args.update:
        text = json.dumps({"nvcc": release, "kernels": measured}, indent=1, sort_keys=True)
        # One line for each architecture of a kernel.
        text = re.sub(r"\{\s+(\"registers\": \d+),\s+(\"shared_bytes\": \d+)\s+\}", r"{\1, \2}", text)
        BUDGET.write_text(text + "\n")
    else:
        budget = json.loads(BUDGET.read_text())
        complaints += compare(measured, budget["kernels"], partial=not args.configure,
                              same_release=release == tuple(budget["nvcc"]))
    for complaint in complaints:
        print(complaint)
    kernels = flatten(measured)
    if not kernels:
        print("no kernels found")
    print(f"{len(kernels)} kernels and architectures, at most "
          f"{max((k['registers'] for k in kernels.values()), default=0)} registers, {len(complaints)} complaints")
    return 1 if complaints or not kernels else 0


if __name__ == "__main__":
    sys.exit(main())
