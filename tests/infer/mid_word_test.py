"""A model trained on cuts between any two characters completes words from their middle; trained on cuts between lines, it does not."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

MIDFILL = os.environ["MIDFILL_BINARY"]
NAMES = ["compute_total", "serialize", "calculate", "transform", "normalize", "monitor", "validate", "perspective"]


def midfill(*arguments):
    done = subprocess.run([MIDFILL, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


class MidWord(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="midfill-mid-word-"))
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        # A small vocabulary of functions, over and over.
        documents = [f"def {name}(x):\n    pass\n" for name in NAMES] * 40
        (cls.dir / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
        midfill("tokenizer", "train", "--input", cls.dir / "text.jsonl", "--vocab-size", 340, "--out", cls.dir / "tokenizer.json")
        midfill("data", "build", "--tokenizer", cls.dir / "tokenizer.json", "--input", cls.dir / "text.jsonl", "--valid-fraction", 0,
                "--out", cls.dir / "set")
        # Every cursor inside a name, and what is missing there.
        cls.tasks = [(f"def {name[:at]}", "(x):\n    pass\n", name[at:]) for name in NAMES for at in range(3, len(name))]
        (cls.dir / "tasks.jsonl").write_text("".join(
            json.dumps({"task_id": str(i), "prompt": prefix, "suffix": suffix}) + "\n"
            for i, (prefix, suffix, _) in enumerate(cls.tasks)))

    def share_completed(self, unit):
        """Share of the cursors at which a model trained on cuts of this unit writes what is missing, and ends there."""
        config = {
            "seed": 11,
            "model": {"n_layers": 2, "d_model": 64, "n_heads": 4, "d_ff": 128, "n_ctx": 24},
            "data": {"tokenizer": str(self.dir / "tokenizer.json"), "train": str(self.dir / "set_train")},
            "fim": {"rate": 0.9, "unit": unit, "psm": 1, "spm1": 0, "spm2": 0},
            "optim": {"lr": 6e-3, "warmup": 0.05},
            "train": {"steps": 800, "batch_tokens": 768, "micro_batch": 32, "threads": 1},
            "log": {"peak_tflops": 0.1, "tensorboard": False},
        }
        (self.dir / f"{unit}.json").write_text(json.dumps(config))
        midfill("train", self.dir / f"{unit}.json", "--run", self.dir / unit)
        out = midfill("infill", "--model", self.dir / unit, "--jsonl", self.dir / "tasks.jsonl", "--json", "--max-new-tokens", 12)
        filled = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([f["task_id"] for f in filled], [str(i) for i in range(len(self.tasks))])
        right = sum(f["completion"] == middle and f["ended"] for f, (_, _, middle) in zip(filled, self.tasks))
        return right / len(self.tasks)

    def test_training_on_such_cuts_is_what_completes_words(self):
        character, line = self.share_completed("char"), self.share_completed("line")
        print(f"completed: {character:.3f} with cuts between characters, {line:.3f} with cuts between lines")
        self.assertGreater(character, 0.6)
        self.assertLess(line, 0.2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
