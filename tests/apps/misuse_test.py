"""What a user gets wrong on the command line, and standard streams that are not what they should be: one line, a status, nothing left."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

MIDFILL = os.environ["MIDFILL_BINARY"]
SOURCE = pathlib.Path(__file__).resolve().parents[2]
BENCH = ["bench", "step", "--layers", "1", "--d-model", "16", "--d-ff", "32", "--vocab", "64", "--ctx", "8", "--steps", "1", "--warmup", "0"]


def midfill(*arguments, **options):
    return subprocess.run([MIDFILL, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          **options)


def shell(command):
    return subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "M": MIDFILL})


class Misuse(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="midfill-misuse-"))
        self.addCleanup(shutil.rmtree, self.dir)

    def check_refused(self, done, *words):
        self.assertGreater(done.returncode, 0, "not refused, or killed by a signal")
        self.assertLess(done.returncode, 128, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("midfill: "), done.stderr)
        self.assertLess(len(done.stderr), 400, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual(list(self.dir.iterdir()), [])

    def test_command_lines_that_make_no_sense(self):
        for arguments in ([], ["nope"], ["bench"], ["tokenizer", "train"], ["data", "build", "--out", "x"], ["train", "--nope"]):
            with self.subTest(arguments=arguments):
                self.check_refused(midfill(*arguments), "--help")

    def test_numbers_that_make_no_sense(self):
        for value in ("-1", "", "x", "1e3", "1000000", "2147483648", "18446744073709551616"):
            with self.subTest(value=value):
                self.check_refused(midfill(*BENCH, "--heads", 2, "--threads", value), "--threads", "whole number")
        for value in ("-1", "18446744073709551616"):
            self.check_refused(midfill(*BENCH, "--heads", 2, "--seed", value), "--seed")
            self.check_refused(midfill("generate", "--model", "x", "--prompt", "x", "--seed", value), "--seed")
        self.check_refused(midfill("tokenizer", "train", "--input", SOURCE, "--out", self.dir / "t", "--vocab-size", ""), "--vocab-size")

    def test_numbers_that_no_double_holds(self):
        for value in ("1e-400", "1e-310", "1e999", "nan", "inf", "", "1,5", "0x1p3", "1 "):
            for arguments in (["data", "build", "--tokenizer", "x", "--input", "x", "--out", self.dir / "x", "--valid-fraction"],
                              ["data", "build", "--tokenizer", "x", "--input", "x", "--out", self.dir / "x", "--save-every"],
                              ["generate", "--model", "x", "--prompt", "x", "--temperature"],
                              ["infill", "--model", "x", "--file", "x", "--top-p"], [*BENCH, "--lr"], [*BENCH, "--clip"],
                              [*BENCH, "--rotary-pct"]):
                with self.subTest(value=value, option=arguments[-1]):
                    self.check_refused(midfill(*arguments, value), arguments[-1], "expected a number")
        for value in ("0", "0.0", "0e-999", "1e-300"):
            done = midfill("generate", "--model", self.dir / "missing", "--prompt", "x", "--temperature", value)
            self.check_refused(done, "missing")

    def test_bench_refuses_what_a_run_refuses(self):
        self.assertEqual(midfill(*BENCH, "--heads", 2).returncode, 0)
        for arguments, word in ((["--heads", 3], "n_heads"), (["--heads", 2, "--lr", "1e39"], "optim.lr"),
                                (["--heads", 2, "--clip", "-1"], "optim.clip"), (["--heads", 2, "--rotary-pct", 0], "rotary_pct"),
                                (["--heads", 2, "--batch", 2**31 - 1], "micro_batch"),
                                (["--heads", 2, "--head-chunk", 2**31 - 1], "head_chunk")):
            with self.subTest(arguments=arguments):
                self.check_refused(midfill(*BENCH, *arguments), word)

    def test_bench_kernels_refuses_what_makes_no_sense(self):
        for arguments, word in ((["nope"], "unknown op nope"), (["--shape", "C"], "KEY=SIZE"), (["--shape", "C=0"], "whole number"),
                                (["--shape", "NH=7"], "divisor"), (["--dtype", "bf16"], "f32"), (["--dtype", "x"], "f32 or bf16"),
                                (["--device", "tpu"], "cpu or cuda"), (["--repeat", 0], "--repeat"), (["--threads", 4097], "--threads"),
                                (["gelu", "--shape", "B=1000000", "--shape", "F=1000000"], "out of memory"),
                                (["gelu", "--shape", "B=4", "--shape", "T=8", "--repeat", 1, "--json", "/dev/null/x"],
                                 "no directory")):
            with self.subTest(arguments=arguments):
                self.check_refused(midfill("bench", "kernels", *arguments), word)

    def test_bench_tokenizer_refuses_what_makes_no_sense(self):
        for arguments, word in ((["--input", SOURCE / "src" / "io"], "--tokenizer"),
                                (["--tokenizer", self.dir / "missing", "--input", SOURCE / "src" / "io"], "missing"),
                                (["--tokenizer", SOURCE / "README.md", "--input", SOURCE / "src" / "io"], "README.md"),
                                (["--tokenizer", "x", "--input", SOURCE, "--threads", -1], "--threads"),
                                (["--tokenizer", "x", "--input", SOURCE, "--runs", 0], "--runs"),
                                (["--tokenizer", "x", "--input", SOURCE, "--max-mb", "nan"], "--max-mb")):
            with self.subTest(arguments=arguments):
                self.check_refused(midfill("bench", "tokenizer", *arguments), word)

    def test_bench_loader_refuses_what_makes_no_sense(self):
        config = SOURCE / "configs" / "tiny.json"
        for arguments, word in (([], "--config"), (["--config", self.dir / "missing"], "missing"), (["nope", "--config", config], "nope"),
                                (["--config", config, "--data", self.dir / "missing"], ""), (["--config", config, "--data", ""], "--data"),
                                (["--config", config, "--runs", 0], "--runs"), (["--config", config, "--set", "model.n_ctxt=3"], "n_ctx")):
            with self.subTest(arguments=arguments):
                self.check_refused(midfill("bench", "loader", *arguments), word)

    def test_a_model_larger_than_the_machine_is_refused_before_memory_runs_out(self):
        self.check_refused(midfill("bench", "step", "--layers", 1000, "--d-model", 65536, "--heads", 512, "--d-ff", 262144),
                           "out of memory")

    def test_an_empty_output_name_is_no_name(self):
        self.check_refused(midfill("tokenizer", "train", "--input", SOURCE, "--vocab-size", 300, "--out", ""), "--out")
        self.check_refused(midfill("data", "build", "--tokenizer", "x", "--input", SOURCE, "--out", ""), "--out")
        self.check_refused(midfill("train", "x", "--run", ""), "--run")

    def test_a_folder_that_cannot_be_made_is_noticed_before_the_text_is_read(self):
        # Nothing else is wrong but what comes after it: the text.
        self.check_refused(midfill("tokenizer", "train", "--input", self.dir / "missing", "--vocab-size", 300, "--out", "/dev/null/t"),
                           "/dev/null/t: cannot create: /dev/null is no directory")

    def test_control_characters_stay_in_the_line(self):
        self.check_refused(midfill("tokenizer", "info", "--tokenizer", "a\nb\x1b"), "a\\nb\\x1b")

    def test_output_that_cannot_be_written_is_an_error(self):
        for command in ('"$M" train --keys', '"$M" --help', '"$M" train --help', f'"$M" {" ".join(BENCH)} --heads 2'):
            with self.subTest(command=command):
                self.check_refused(shell(command + " >/dev/full"), "standard output")
                self.check_refused(shell(command + " >&-"), "standard output")
                # The reader has gone before anything is written.
                self.check_refused(shell(f"{{ sleep 0.2; {command}; }} | true; exit ${{PIPESTATUS[0]}}"), "standard output")

    def test_closed_streams_are_not_written_into_files(self):
        out = self.dir / "t.json"
        done = shell(f'"$M" tokenizer train --input "{SOURCE}/src/io" --vocab-size 300 --out "{out}" <&- >&- 2>&-')
        self.assertGreater(done.returncode, 0)  # the summary had nowhere to go
        self.assertEqual([path.name for path in self.dir.iterdir()], ["t.json"])
        json.loads(out.read_text())

    def test_input_that_cannot_be_read_is_an_error(self):
        out = pathlib.Path(tempfile.mkdtemp(prefix="midfill-misuse-tokenizer-"))
        self.addCleanup(shutil.rmtree, out)
        midfill("tokenizer", "train", "--input", SOURCE / "src" / "io", "--vocab-size", 300, "--out", out / "t.json", check=True)
        for command in ("encode", "encode --jsonl", "decode", "decode --jsonl"):
            with self.subTest(command=command):
                self.check_refused(shell(f'"$M" tokenizer {command} --tokenizer {out}/t.json < /'), "standard input")
                self.check_refused(shell(f'"$M" tokenizer {command} --tokenizer {out}/t.json <&-'), "standard input")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
