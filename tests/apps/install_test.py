"""The installed tree runs from anywhere, with the libraries it brings, and where it has the tests of the device cuda,
scripts/gpu_check.sh runs them and writes its reports.

    install_test.py BUILD
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

build = pathlib.Path(sys.argv[1])
# What the tree takes from the machine: the C and C++ runtimes, the driver, cuBLAS.
FROM_THE_MACHINE = re.compile(r"(linux-vdso|/ld-linux|lib(c|m|dl|rt|pthread|gcc_s|stdc\+\+)\.so|lib(cuda|cublas|nv))")


def run(*command, expect=0, **kwargs):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, stdin=subprocess.DEVNULL, **kwargs)
    assert done.returncode == expect, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


with tempfile.TemporaryDirectory() as root:
    tree = pathlib.Path(root) / "somewhere else"
    run("cmake", "--install", build, "--prefix", tree)

    # An empty environment: nothing but the tree itself says where its libraries are.
    assert "train" in run(tree / "bin/midfill", "--help", env={}, cwd="/")
    assert run(tree / "bin/midfill", "--version", env={}, cwd="/").startswith("midfill ")
    for program in sorted((tree / "bin").iterdir()):
        for line in run("ldd", program, env={"PATH": os.environ["PATH"]}).splitlines():
            assert str(tree) in line or FROM_THE_MACHINE.search(line), f"{program.name}: {line.strip()}"
    for config in sorted((build / "../../configs").resolve().rglob("*.json")):
        assert (tree / "configs" / config.relative_to((build / "../../configs").resolve())).is_file(), config

    check = tree / "scripts/gpu_check.sh"
    assert "no part" in subprocess.run([check, "nonsense"], capture_output=True, text=True).stderr
    if (tree / "bin/test_conformance").exists():
        out = pathlib.Path(root) / "report"
        run(check, "--emulated", "--out", out, "conformance", "tests", "kernels", cwd=root)
        report = json.loads((out / "report.json").read_text())
        assert report["emulated"] and list(report["parts"]) == ["conformance", "tests", "kernels"], report
        assert all(part["result"] == "passed" for part in report["parts"].values()), report
        assert report["kernels"], report
        text = (out / "report.md").read_text()
        assert "nothing here ran on a GPU" in text and "[  PASSED  ]" in text, text

        # A part that fails is named, and the others still run.
        (tree / "bin/test_conformance").write_text("#!/bin/sh\necho broken; exit 3\n")
        run(check, "--emulated", "--out", out, "conformance", "tests", cwd=root, expect=1)
        report = json.loads((out / "report.json").read_text())
        assert report["parts"]["conformance"]["result"] == "failed (3)", report
        assert report["parts"]["tests"]["result"] == "passed", report

        # One that hangs is stopped.
        (tree / "bin/test_conformance").write_text("#!/bin/sh\nsleep 1000\n")
        run(check, "--emulated", "--out", out, "--seconds", 2, "conformance", cwd=root, expect=1)
        report = json.loads((out / "report.json").read_text())
        assert report["parts"]["conformance"]["result"].startswith("stopped after"), report
