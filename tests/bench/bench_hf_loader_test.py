"""scripts/bench_hf_loader.py: both programs do the same work, what differs is an error, and the Python loader is one that works."""
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy
    import tokenizers  # noqa: F401
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

MIDFILL = os.environ["MIDFILL_BINARY"]
SOURCE = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = SOURCE / "scripts" / "bench_hf_loader.py"
N_CTX = 128

spec = importlib.util.spec_from_file_location("bench_hf_loader", SCRIPT)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


def run(*command, ok=True):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    assert not ok or done.returncode == 0, f"{command}: {done.stderr}"
    return done


class BenchHfLoader(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="midfill-bench-hf-"))
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.text = cls.dir / "text"
        shutil.copytree(SOURCE / "src" / "data", cls.text)
        (cls.text / "special.txt").write_text("a<|endoftext|>b <|PRE|>\u4e2d\u6587 e\u0301 \r\n      don't\n")
        (cls.text / "latin1.txt").write_bytes(b"caf\xe9\n")
        (cls.text / "binary").write_bytes(b"x\0y")
        (cls.text / "empty.txt").write_bytes(b"")
        (cls.text / "lines.jsonl").write_text('{"text": "one line"}\n{"text": "\\u00e9 two"}\n')
        cls.tokenizer = cls.dir / "tokenizer.json"
        run(MIDFILL, "tokenizer", "train", "--input", cls.text, "--vocab-size", 700, "--out", cls.tokenizer)
        run(MIDFILL, "data", "build", "--tokenizer", cls.tokenizer, "--input", cls.text, "--valid-fraction", 0, "--out", cls.dir / "set")
        cls.data = cls.dir / "set_train"

    def bench(self, *arguments, ok=True):
        return run(sys.executable, SCRIPT, "--midfill", MIDFILL, "--tokenizer", self.tokenizer, "--runs", 1, *arguments, ok=ok)

    def loader(self, rate, unit="char", spm_rate=0.5):
        return script.PythonFimLoader(str(self.data), str(self.tokenizer), N_CTX, rate, unit, spm_rate)

    def test_one_table_has_both_programs(self):
        out = self.dir / "report.json"
        done = self.bench("--input", self.text, "--data", self.data, "--threads", 2, "--ctx", N_CTX, "--seconds", 0.05, "--json", out)
        report = json.loads(out.read_text())
        self.assertEqual([row["work"] for row in report["results"]],
                         ["encode"] * 4 + [f"loader, {case}" for case in script.CASES])
        for row in report["results"]:
            self.assertGreater(row["midfill"]["median"], 0)
            self.assertGreater(row["other"]["median"], 0)
            self.assertAlmostEqual(row["ratio"], row["midfill"]["median"] / row["other"]["median"])
        rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
        self.assertEqual(len(rows), 1 + len(report["results"]))
        self.assertIn("the ids are the same in both programs", done.stdout)
        self.assertEqual(report["documents"], len(script.documents_of([str(self.text)], 0)))

    def test_the_first_megabytes_are_the_same_documents(self):
        big = self.dir / "big"
        big.mkdir()
        for i in range(6):
            (big / f"{i}.txt").write_text(f"line {i}\n" * 50000)
        report = json.loads(self.bench("--input", big, "--max-mb", 1, "--threads", 1, "--json", "-").stdout)
        self.assertEqual(report["documents"], 2)

    def test_what_differs_is_an_error(self):
        same = {"documents": 1, "bytes": 2, "tokens": 3, "ids_crc32": "4"}
        script.check_same(same, dict(same))
        for key in same:
            with self.assertRaisesRegex(script.Refusal, key):
                script.check_same(same, {**same, key: 9})

    def test_samples_of_the_python_loader_are_the_dataset(self):
        loader = self.loader(rate=0.0)
        whole = numpy.concatenate([loader.data.get(d) for d in loader.order])
        for k in range(len(loader.samples)):
            numpy.testing.assert_array_equal(loader.sample(k)[0], whole[k * N_CTX:k * N_CTX + N_CTX + 1])
        self.assertEqual(sorted(loader.samples), list(range((len(whole) - 1) // N_CTX)))

    def test_examples_of_the_python_loader_spell_their_text(self):
        for unit in ("char", "token"):
            loader = self.loader(rate=1.0, unit=unit)
            self.assertEqual(loader.check(20), 0)
            for spm_rate, marks in ((0.0, [loader.pre, loader.suf, loader.mid]), (1.0, [loader.pre, loader.suf, loader.mid])):
                loader.spm_rate = spm_rate
                tokens, weights = loader.sample(3)
                self.assertEqual((len(tokens), len(weights)), (N_CTX + 1, N_CTX + 1))
                self.assertEqual([t for t in tokens if t in marks][:3], marks)
        # Parts that do not spell the text are noticed.
        loader = self.loader(rate=1.0)
        split = loader.split
        loader.split = lambda segment: (split(segment)[0],) * 3
        self.assertGreater(loader.check(20), 0)

    def test_what_makes_no_sense_is_refused_in_one_line(self):
        for arguments, words in (([], "--input"), (["--input", self.dir / "missing"], "missing"), (["--data", self.dir / "missing"], "missing"),
                                 (["--input", self.text, "--runs", 0], "--runs")):
            with self.subTest(arguments=arguments):
                done = self.bench(*arguments, ok=False)
                self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
                self.assertIn(words, done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
