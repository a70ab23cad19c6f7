"""What commands write: folders above it are made, and are gone again where nothing comes of it; where a file may not grow (`ulimit -f`)
one line says so, the exit status is 1 and nothing is half-written."""
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest

MIDFILL = os.environ["MIDFILL_BINARY"]
SOURCE = pathlib.Path(__file__).resolve().parents[2]


def midfill(*arguments, limit=None, **options):
    """`limit`: bytes that a file may have."""
    forbid = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit else None
    options = {"stdout": subprocess.PIPE, **options}
    return subprocess.run([MIDFILL, *map(str, arguments)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=300,
                          preexec_fn=forbid, **options)


def files_in(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


class Outputs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.given = pathlib.Path(tempfile.mkdtemp(prefix="midfill-outputs-given-"))
        cls.tokenizer, cls.text = cls.given / "tokenizer.json", SOURCE / "src" / "io"
        cls.config, cls.run_dir = cls.given / "c.json", cls.given / "run"
        cls.config.write_text(json.dumps({
            "model": {"n_layers": 1, "d_model": 32, "n_heads": 2, "d_ff": 64, "n_ctx": 32},
            "data": {"tokenizer": str(cls.tokenizer), "train": str(cls.given / "data_train")},
            "train": {"steps": 3, "batch_tokens": 128, "micro_batch": 4, "threads": 1},
            "log": {"peak_tflops": 1},
        }))
        for command in (["tokenizer", "train", "--input", cls.text, "--vocab-size", 400, "--out", cls.tokenizer],
                        ["data", "build", "--tokenizer", cls.tokenizer, "--input", cls.text, "--out", cls.given / "data"],
                        ["train", cls.config, "--run", cls.run_dir], ["export", "--run", cls.run_dir, "--out", cls.given / "hf"]):
            done = midfill(*command)
            assert done.returncode == 0, done.stderr
        (cls.given / "tasks.jsonl").write_text(
            "".join(json.dumps({"task_id": str(i), "prompt": "int x;\n", "suffix": "y"}) + "\n" for i in range(20)))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.given)

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="midfill-outputs-"))
        self.addCleanup(shutil.rmtree, self.dir)
        self.out = self.dir / "new" / "out"

    def check_refused(self, done):
        self.assertEqual(done.returncode, 1, done.stderr)
        errors = [line for line in done.stderr.splitlines() if line.startswith("midfill: ")]
        self.assertEqual(len(errors), 1, done.stderr)
        self.assertEqual(done.stderr.splitlines()[-1], errors[0])
        self.assertIn("File too large", errors[0])

    def writers(self, out):
        """Every command that writes, and where."""
        bench = ["bench", "step", "--layers", 1, "--d-model", 16, "--heads", 2, "--d-ff", 32, "--vocab", 64, "--ctx", 8, "--steps", 1,
                 "--warmup", 0]
        return [["tokenizer", "train", "--input", self.text, "--vocab-size", 400, "--out", out],
                ["data", "build", "--tokenizer", self.tokenizer, "--input", self.text, "--out", out],
                ["data", "merge", "--input", self.given / "data_train", "--out", out],
                ["train", self.config, "--run", out],
                ["export", "--run", self.run_dir, "--out", out],
                ["export", "--format", "gguf", "--run", self.run_dir, "--out", out],
                ["import", "--from", self.given / "hf", "--out", out],
                ["infill", "--model", self.run_dir, "--jsonl", self.given / "tasks.jsonl", "--max-new-tokens", 2, "--out", out],
                [*bench, "--json", out],
                ["bench", "kernels", "gelu", "--shape", "B=1", "--shape", "T=8", "--repeat", 1, "--json", out],
                ["bench", "loader", "plain", "--config", self.config, "--runs", 1, "--run-ms", 1, "--threads", 1, "--json", out],
                ["bench", "tokenizer", "--tokenizer", self.tokenizer, "--input", self.text, "--runs", 1, "--threads", 1, "--json", out]]

    def test_folders_above_an_output_are_made(self):
        for command in self.writers(pathlib.Path("a") / "b" / "out"):
            for end in ("", "/"):
                if end and (command[0] not in ("train", "export", "import") or "gguf" in command):
                    continue  # a file, or a prefix: only directories may end in a slash
                with self.subTest(command=command[:2], end=end):
                    done = midfill(*command[:-1], str(command[-1]) + end, cwd=self.dir)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    made = [path.name for path in (self.dir / "a" / "b").iterdir()]
                    self.assertTrue(made and all(name.startswith("out") for name in made), made)
                    shutil.rmtree(self.dir / "a")

    def test_a_file_in_the_way_of_a_folder_is_an_error(self):
        (self.dir / "f").write_text("")
        for command in self.writers(self.dir / "f" / "b" / "out"):
            with self.subTest(command=command[:2]):
                done = midfill(*command)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn(f"{self.dir}/f is no directory\n", done.stderr)
                self.assertEqual([line.startswith("midfill: ") for line in done.stderr.splitlines()].count(True), 1, done.stderr)
                self.assertEqual(files_in(self.dir), {"f": b""})

    def test_a_command_that_comes_to_nothing_leaves_no_folder(self):
        out, absent, empty = self.dir / "a" / "b" / "out", self.given / "absent", self.given / "empty.txt"
        empty.write_text("")
        broken, torn = self.given / "broken", self.given / "torn"
        for copy, of in ((broken, self.given / "hf"), (torn, self.run_dir)):
            if not copy.exists():
                shutil.copytree(of, copy)
        weights = (broken / "model.safetensors").read_bytes()
        (broken / "model.safetensors").write_bytes(weights[:-4])
        for checkpoint in torn.glob("step_*"):
            shutil.rmtree(checkpoint)
        for command in (["tokenizer", "train", "--input", absent, "--vocab-size", 400, "--out", out],
                        ["tokenizer", "train", "--input", self.text, "--vocab-size", 3, "--out", out],
                        ["data", "build", "--tokenizer", absent, "--input", self.text, "--out", out],
                        ["data", "build", "--tokenizer", self.tokenizer, "--input", absent, "--out", out],
                        ["data", "build", "--tokenizer", self.tokenizer, "--input", empty, "--out", out],
                        ["data", "merge", "--input", absent, "--out", out],
                        ["train", self.config, "--run", out, "--set", f"data.train={absent}"],
                        ["train", absent, "--run", out],
                        ["export", "--run", torn, "--out", out],
                        ["import", "--from", broken, "--out", out],
                        ["infill", "--model", absent, "--jsonl", self.given / "tasks.jsonl", "--out", out],
                        ["infill", "--model", self.run_dir, "--jsonl", absent, "--out", out],
                        ["bench", "step", "--layers", 1, "--d-model", 17, "--json", out],
                        ["bench", "kernels", "nope", "--json", out],
                        ["bench", "loader", "--config", absent, "--json", out],
                        ["bench", "tokenizer", "--tokenizer", absent, "--input", self.text, "--json", out]):
            with self.subTest(command=command):
                done = midfill(*command)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertEqual(list(self.dir.iterdir()), [])

    def test_nothing_is_left_at_a_limit(self):
        limits = {"tokenizer train": 4096, "data merge": 4096, "export --run": 20000, "export --format": 20000, "import --from": 20000, "infill --model": 100}
        for command in self.writers(self.out):
            limit = limits.get(f"{command[0]} {command[1]}", 100)
            if command[0] == "train" or command[1] == "build":
                continue  # below
            with self.subTest(command=command[:2]):
                self.check_refused(midfill(*command, limit=limit))
                self.assertEqual(list(self.dir.iterdir()), [])
                done = midfill(*command)  # it was the limit
                self.assertEqual(done.returncode, 0, done.stderr)
                shutil.rmtree(self.dir / "new")

    def test_a_build_goes_on_where_the_limit_stopped_it(self):
        command = ["data", "build", "--tokenizer", self.tokenizer, "--input", self.text, "--save-every", 0, "--out"]
        for limit in (1000, 10000):
            with self.subTest(limit=limit):
                out = self.dir / f"out{limit}"
                self.check_refused(midfill(*command, out, limit=limit))
                self.assertEqual([path.name for path in self.dir.glob(f"{out.name}_*")], [])
                self.assertEqual(midfill(*command, out).returncode, 0)
                for end in ("train.bin", "train.idx", "valid.bin", "valid.idx"):
                    self.assertEqual(pathlib.Path(f"{out}_{end}").read_bytes(), (self.given / f"data_{end}").read_bytes(), end)
                self.assertFalse(pathlib.Path(f"{out}.building").exists())

    def test_a_run_keeps_what_was_whole(self):
        # In the tokenizer, the first lines of the log, a later line, and the checkpoint.
        for limit in (500, 6000, 40000):
            with self.subTest(limit=limit):
                run = self.dir / str(limit)
                self.check_refused(midfill("train", self.config, "--run", run, "--set", "train.steps=30", limit=limit))
                self.assertEqual(list(run.glob("step_*")), [])
                self.assertEqual([name for name in files_in(run) if "tmp" in name], [])
                for name in ("config.json", "tokenizer.json"):
                    if (run / name).exists():
                        json.loads((run / name).read_text())
                if (run / "metrics.jsonl").exists():
                    for line in (run / "metrics.jsonl").read_text().splitlines(keepends=True):
                        json.loads(line)
                        self.assertTrue(line.endswith("\n"), line)
                resume = ["--resume"] if (run / "config.json").exists() else []
                done = midfill("train", self.config, "--run", run, "--set", "train.steps=30", *resume)
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_checkpoint_stays_where_the_next_one_is_too_large(self):
        shutil.copytree(self.run_dir, self.out)
        before = files_in(self.out)
        largest = max(len(content) for name, content in before.items() if name.startswith("step_"))
        self.check_refused(midfill("train", "--run", self.out, "--resume", "--set", "train.steps=4", limit=largest - 1))
        after = files_in(self.out)
        self.assertEqual([name for name in after if "step_" in name], [name for name in before if "step_" in name])
        for name in before:
            if name.startswith("step_"):
                self.assertEqual(after[name], before[name], name)

    def test_standard_output_that_is_a_file(self):
        with open(self.dir / "out", "w") as file:
            done = midfill("train", "--keys", limit=100, stdout=file)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn("standard output: cannot write", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
