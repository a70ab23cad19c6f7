"""The program of the preset `cuda` on a machine that may have no driver: it starts, its device `cpu` works, and its device
`cuda` works or says in one line what is missing.

    program_test.py build/cuda/midfill
"""
import pathlib
import subprocess
import sys

program = pathlib.Path(sys.argv[1])
if not program.exists():
    print("skipped: not built")
    sys.exit(77)
BENCH = ["bench", "kernels", "gelu", "--repeat", "1", "--shape", "B=1", "--shape", "T=8", "--shape", "F=64", "--device"]


def run(*arguments):
    return subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)


for arguments in (["--version"], ["--help"], [*BENCH, "cpu"]):
    done = run(*arguments)
    assert done.returncode == 0 and done.stdout.strip() and not done.stderr, done
done = run(*BENCH, "cuda")
if done.returncode != 0:
    assert done.returncode == 1 and done.stderr.startswith("midfill: device cuda: no usable device: "), done
    assert done.stderr.count("\n") == 1 and not done.stdout, done
    print(done.stderr, end="")
