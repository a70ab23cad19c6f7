"""A tokenizer as others publish it, from its file to a run and out again: documents end with a token of another name, the
file holds what was left by its last use, and one document is too much for its pattern."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

MIDFILL = os.environ["MIDFILL_BINARY"]
SOURCE = pathlib.Path(__file__).resolve().parents[2]


def midfill(*arguments, ok=True):
    done = subprocess.run([MIDFILL, *map(str, arguments)], capture_output=True, text=True, errors="replace", timeout=600)
    if ok and done.returncode != 0:
        raise AssertionError(f"midfill {' '.join(map(str, arguments))} failed:\n{done.stderr}")
    return done


class ForeignTokenizer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="midfill-foreign-"))
        trained = cls.dir / "trained.json"
        midfill("tokenizer", "train", "--input", SOURCE / "src" / "io", "--vocab-size", 500, "--out", trained)
        file = json.loads(trained.read_text().replace("<|endoftext|>", "</s>"))
        # GPT-4's pattern, and a way to go over a text again and again.
        pattern = r"(?:a+)+b|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Removed", "invert": True}
        file |= {"truncation": {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0},
                 "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]}}
        cls.tokenizer = cls.dir / "tokenizer.json"
        cls.tokenizer.write_text(json.dumps(file))
        cls.build = ["data", "build", "--tokenizer", cls.tokenizer, "--input", SOURCE / "src" / "io"]
        midfill(*cls.build, "--eod", "</s>", "--out", cls.dir / "code")
        cls.config = cls.dir / "config.json"
        cls.config.write_text(json.dumps({
            "model": {"n_layers": 1, "d_model": 32, "n_heads": 2, "d_ff": 64, "n_ctx": 64},
            "data": {"tokenizer": str(cls.tokenizer), "eod": "</s>", "train": str(cls.dir / "code_train")},
            "train": {"steps": 3, "batch_tokens": 128, "micro_batch": 2}, "log": {"peak_tflops": 0.1}}))
        cls.run_dir = cls.dir / "run"
        midfill("train", cls.config, "--run", cls.run_dir)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    def refused(self, *arguments):
        done = midfill(*arguments, ok=False)
        self.assertNotEqual(done.returncode, 0)
        lines = [line for line in done.stderr.splitlines() if "passed over" not in line]
        self.assertEqual(len(lines), 1, done.stderr)
        return lines[0]

    def test_the_error_names_file_and_remedy(self):
        for command in ([*self.build, "--out", self.dir / "none"],
                        ["train", self.config, "--run", self.dir / "none", "--set", "data.eod=<|endoftext|>"]):
            message = self.refused(*command)
            for part in (str(self.tokenizer), '"<|endoftext|>"', "--eod", "data.eod", '"</s>"'):
                self.assertIn(part, message)
            self.assertFalse((self.dir / "none").exists())
        self.assertIn('no token "<eos>"', self.refused("tokenizer", "info", "--tokenizer", self.tokenizer, "--eod", "<eos>"))

    def test_what_the_file_holds_from_its_last_use_is_passed_over(self):
        info = midfill("tokenizer", "info", "--tokenizer", self.tokenizer, "--eod", "</s>")
        self.assertIn(f'{self.tokenizer}: "truncation" is passed over', info.stderr)
        self.assertIn("EOD 0,", info.stdout)
        self.assertIsNone(json.loads((self.run_dir / "tokenizer.json").read_text())["truncation"])
        self.assertNotIn("passed over", midfill("eval", "--run", self.run_dir, "--data", self.dir / "code_train").stderr)

    def test_documents_end_with_the_token_that_was_named(self):
        check = ["data", "check", self.dir / "code_train", "--tokenizer", self.tokenizer]
        midfill(*check, "--eod", "</s>")
        self.assertIn("documents that do not end in <|padding|>", midfill(*check, "--eod", "<|padding|>", ok=False).stdout)

    def test_the_run_keeps_it_and_hands_it_on(self):
        self.assertEqual(json.loads((self.run_dir / "config.json").read_text())["data"]["eod"], "</s>")
        hole = self.dir / "hole.cpp"
        hole.write_text("int <FILL>;\n")
        midfill("infill", "--model", self.run_dir, "--file", hole, "--max-new-tokens", 4)
        midfill("train", self.config, "--run", self.run_dir, "--resume", "--set", "train.steps=4")
        self.assertIn("data.eod", self.refused("train", self.config, "--run", self.run_dir, "--resume", "--set", "train.steps=5", "--set", "data.eod=x"))
        exported = self.dir / "hf"
        midfill("export", "--run", self.run_dir, "--out", exported)
        self.assertEqual(json.loads((exported / "tokenizer_config.json").read_text())["eos_token"], "</s>")
        midfill("infill", "--model", exported, "--file", hole, "--max-new-tokens", 4)
        imported = self.dir / "imported"
        midfill("import", "--from", exported, "--out", imported)
        self.assertEqual(json.loads((imported / "config.json").read_text())["data"]["eod"], "</s>")
        midfill("import", "--from", exported, "--out", self.dir / "padded", "--eod", "<|padding|>")
        self.assertEqual(json.loads((self.dir / "padded" / "config.json").read_text())["data"]["eod"], "<|padding|>")
        self.assertIn("name it with --eod", self.refused("import", "--from", exported, "--out", self.dir / "no", "--set", "data.eod=x"))

    def test_a_document_that_the_pattern_fails_on_is_a_bad_line(self):
        lines = self.dir / "lines.jsonl"
        lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("one", "a" * 40, "three")))
        text = self.dir / "whole.txt"
        text.write_text("a" * 50)
        out = self.dir / "lines"
        build = [*self.build[:4], "--eod", "</s>", "--input", lines, "--input", text, "--valid-fraction", 0, "--out", out]
        message = f"{lines}: line 2: cannot be tokenised: {self.tokenizer}: pre_tokenizer.pretokenizers[0].pattern.Regex: the pattern fails"
        self.assertIn(message, self.refused(*build, "--strict"))
        shutil.rmtree(f"{out}.building", ignore_errors=True)
        done = midfill(*build, "--json")
        self.assertEqual((json.loads(done.stdout)["documents"], json.loads(done.stdout)["skipped"]["bad_lines"]), (2, 2))
        bad = [json.loads(line) for line in pathlib.Path(f"{out}_bad_lines.jsonl").read_text().splitlines()]
        self.assertEqual([(line["file"], line.get("line")) for line in bad], [(str(lines), 2), (str(text), None)])
        self.assertIn("match limit exceeded", bad[1]["error"])


unittest.main()
