"""TensorBoard reads the event files of a run, also of one that was stopped, rolled back and resumed."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    print("skipped: tensorboard is not installed")
    sys.exit(77)

BINARY = os.environ["MIDFILL_BINARY"]


def midfill(*arguments):
    subprocess.run([BINARY, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL, timeout=300)


def series(run):
    accumulator = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


with tempfile.TemporaryDirectory() as directory:
    d = pathlib.Path(directory)
    (d / "text").mkdir()
    for i in range(40):
        (d / "text" / f"{i}.py").write_text("".join(f"def f{i}_{j}(x):\n    return x + {i * j}\n" for j in range(30)))
    midfill("tokenizer", "train", "--input", d / "text", "--vocab-size", 300, "--out", d / "tokenizer.json")
    midfill("data", "build", "--tokenizer", d / "tokenizer.json", "--input", d / "text", "--out", d / "data",
            "--valid-fraction", 0.2)
    built = sorted(p.name for p in d.glob("*.idx"))
    train = next(p[:-4] for p in built if "valid" not in p)
    valid = next(p[:-4] for p in built if "valid" in p)
    config = {
        "model": {"n_layers": 1, "d_model": 32, "n_heads": 2, "d_ff": 64, "n_ctx": 32},
        "data": {"tokenizer": str(d / "tokenizer.json"), "train": str(d / train), "valid": str(d / valid)},
        "train": {"steps": 10, "batch_tokens": 128, "micro_batch": 4, "threads": 1},
        "eval": {"every": 5, "samples": 2},
        "checkpoint": {"every": 1, "keep_last": 100},
        "log": {"peak_tflops": 1},
    }
    (d / "c.json").write_text(json.dumps(config))
    run = d / "run"
    midfill("train", d / "c.json", "--run", run)

    first = series(run)
    assert {"train/loss", "train/lr", "train/grad_norm", "runtime/tokens_per_s", "eval/ar/nats_per_token",
            "eval/middle_ar/bits_per_byte"} <= set(first), sorted(first)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [r["loss"] for r in records if "loss" in r]
    assert [s for s, _ in first["train/loss"]] == list(range(1, 11)), first["train/loss"]
    assert all(abs(a - b) < 1e-6 * b for (_, a), b in zip(first["train/loss"], losses))
    assert [s for s, _ in first["eval/ar/nats_per_token"]] == [5, 10]

    def again_from_step_6():
        """Back to step 6: what TensorBoard heard about later steps is forgotten."""
        for step in range(7, 11):
            shutil.rmtree(run / f"step_{step:08d}")
        midfill("train", "--run", run, "--resume")
        again = series(run)
        for tag in ("train/loss", "train/lr", "train/grad_norm", "eval/ar/nats_per_token", "eval/middle_ar/bits_per_byte"):
            assert again[tag] == first[tag], (tag, again[tag], first[tag])

    again_from_step_6()
    files = sorted((run / "tensorboard").iterdir())
    assert len(files) == 2

    # The clock ran a day ahead when the newest file was begun; then it was set right.
    files[1].rename(files[1].with_name(re.sub(r"\d{10}", lambda seconds: str(int(seconds[0]) + 86400), files[1].name)))
    assert series(run)["train/loss"] == first["train/loss"]
    again_from_step_6()

    # Another program has written here too, under a name that the clock never reaches.
    (run / "tensorboard" / "events.out.tfevents.9999999999.host.1.0").write_bytes(b"")
    again_from_step_6()
    assert len(list((run / "tensorboard").iterdir())) == 5
print("ok")
