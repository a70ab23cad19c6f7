"""scripts/bench_torch.py against midfill bench: the same cases in the same format, and tables whose numbers are known."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

try:
    import torch  # noqa: F401
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

MIDFILL = os.environ["MIDFILL_BINARY"]
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "bench_torch.py"
KERNELS = ["kernels", "--threads", "1", "--repeat", "1",
           *(word for size in ("B=2", "T=16", "C=16", "NH=2", "R=4", "F=24", "V=30", "chunk=8", "n=64")
             for word in ("--shape", size))]
STEP = ["step", "--threads", "1", "--layers", "1", "--d-model", "16", "--heads", "2", "--d-ff", "32", "--vocab", "64", "--ctx", "8",
        "--batch", "2", "--steps", "2", "--warmup", "1"]
MACHINE = {"device": {"kind": "cpu", "name": "a CPU", "emulated": False}, "host": {"threads": 2}}


def run(*command, ok=True):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    assert not ok or done.returncode == 0, f"{command}: {done.stderr}"
    return done


def torch_bench(*arguments, ok=True):
    return run(sys.executable, SCRIPT, *arguments, ok=ok)


def kernels_report(program, ms):
    """A report with one op of each bound; `ms` of both."""
    results = [{"op": op, "variant": "", "dims": {"N": 1}, "shape": "N=1", "dtype": "f32", "bound": bound, "flop": 2e9,
                "bytes": 1e6, "ms": time} for op, bound, time in zip(("linear forward", "grad-norm"), ("compute", "memory"), ms)]
    extra = {"commit": "abc"} if program == "midfill" else {"version": "9.9", "used": "SDPA"}
    return {"bench": "kernels", "program": program, **extra, **MACHINE, "results": results}


class BenchTorch(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="midfill-bench-torch-"))
        self.addCleanup(shutil.rmtree, self.dir)

    def write(self, *reports):
        paths = []
        for report in reports:
            paths.append(self.dir / f"{len(list(self.dir.iterdir()))}.json")
            paths[-1].write_text(json.dumps(report))
        return paths

    def test_kernels_are_the_same_cases_in_the_same_format(self):
        ours, theirs = self.dir / "midfill.json", self.dir / "torch.json"
        run(MIDFILL, "bench", *KERNELS, "--json", ours)
        torch_bench(*KERNELS, "--json", theirs)
        ours, theirs = json.loads(ours.read_text()), json.loads(theirs.read_text())
        self.assertEqual((ours["bench"], ours["program"]), ("kernels", "midfill"))
        self.assertEqual((theirs["bench"], theirs["program"]), ("kernels", "torch"))
        same = ("op", "variant", "dims", "shape", "dtype", "bound", "flop", "bytes")
        self.assertEqual([[r[key] for key in same] for r in ours["results"]], [[r[key] for key in same] for r in theirs["results"]])
        for mine, other in zip(ours["results"], theirs["results"]):
            for key in ("ms", "ms_p20", "ms_p80", "runs", "gb_per_s"):
                self.assertGreater(mine[key], 0, (mine["op"], key))
                self.assertGreater(other[key], 0, (other["op"], key))
            self.assertEqual(mine["tflops"] is None, other["tflops"] is None)

    def test_a_step_is_the_same_step_in_the_same_format(self):
        ours, theirs = self.dir / "midfill.json", self.dir / "torch.json"
        run(MIDFILL, "bench", *STEP, "--json", ours)
        torch_bench("step", "--like", ours, "--json", theirs)
        table = torch_bench("--merge", ours, theirs).stdout
        ours, theirs = json.loads(ours.read_text()), json.loads(theirs.read_text())
        self.assertEqual(ours["parameters"], theirs["parameters"])
        self.assertEqual(ours["model"], theirs["model"])
        for report in (ours, theirs):
            for key in ("tokens_per_s", "ms_step", "ms_zero_grads", "ms_forward_backward", "ms_clip_adamw", "peak_rss_mib"):
                self.assertGreater(report[key], 0, key)
            # Random tokens and small weights: about even odds.
            self.assertAlmostEqual(report["loss_first"], 4.16, delta=0.6)
        self.assertIn("| tokens/s |", table)

    def test_alternate_prints_the_table_of_both(self):
        table = torch_bench("alternate", 2, "--midfill", MIDFILL, *KERNELS[:5], "gelu", "grad-norm", *KERNELS[5:]).stdout
        self.assertIn("2 report(s)", table)
        rows = [line for line in table.splitlines() if line.startswith("| ")]
        self.assertEqual([row.split(" | ")[0] for row in rows],
                         ["| op", "| gelu forward", "| gelu backward", "| gelu forward", "| gelu backward", "| grad-norm"])
        for row in rows[1:]:
            self.assertNotIn("–", row)

    def test_merge_takes_medians(self):
        paths = self.write(*(kernels_report("midfill", (ms, 1)) for ms in (2.0, 1.0, 30.0)),
                           *(kernels_report("torch", (ms, 0.5)) for ms in (5.0, 4.0, 4.0)))
        rows = torch_bench("--merge", *paths).stdout.splitlines()
        self.assertEqual(rows[-2], "| linear forward | N=1 | f32 | 2.00 | 4.00 | **2.00** | 1.00 TFLOP/s |")
        self.assertEqual(rows[-1], "| grad-norm | N=1 | f32 | 1.00 | 0.500 | **0.50** | 1.00 GB/s |")

    def test_merge_leaves_out_no_op_that_one_program_lacks(self):
        short = kernels_report("torch", (4.0, 4.0))
        short["results"].pop()
        rows = torch_bench("--merge", *self.write(kernels_report("midfill", (2.0, 1.0)), short)).stdout.splitlines()
        self.assertEqual(rows[-1], "| grad-norm | N=1 | f32 | 1.00 | – | – | 1.00 GB/s |")

    def test_what_cannot_be_compared_is_refused_in_one_line(self):
        ours, theirs = kernels_report("midfill", (1.0, 1.0)), kernels_report("torch", (1.0, 1.0))
        elsewhere = {**theirs, "host": {"threads": 3}}
        emulated = {**ours, "device": {**ours["device"], "emulated": True}}
        absent, text = self.dir / "absent", self.dir / "text"
        text.write_text("x")
        for paths, words in ((self.write(ours), "both programs"), (self.write(theirs), "both programs"),
                             (self.write(ours, elsewhere), "different machines"),
                             (self.write(emulated, {**theirs, "device": emulated["device"]}), "emulated"),
                             (self.write(ours, {**theirs, "bench": "step"}), "bench step among"),
                             ([absent], "No such file"), ([text], "expected a report"), (self.write([]), "expected a report"),
                             ([], "expected reports")):
            with self.subTest(words=words):
                done = torch_bench("--merge", *paths, ok=False)
                self.assertEqual(done.returncode, 1)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                self.assertIn(words, done.stderr)
        for arguments, words in ((["nope"], "expected kernels"), (["alternate", "x", "kernels"], "number of runs"),
                                 (["kernels", "nope"], "unknown op nope"), (["kernels", "--midfill", absent], "no midfill"),
                                 (["step", "--like", self.write(ours)[0]], "expected a report of midfill bench step")):
            with self.subTest(arguments=arguments):
                done = torch_bench(*arguments, ok=False)
                self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
                self.assertIn(words, done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
