"""`midfill data build` with real processes: killed at any moment, interrupted, twice at once, from standard input.

MIDFILL_KILLS (default 15) bounds the kills of each of the three builds that are killed until they are done.
"""

import bz2
import gzip
import json
import lzma
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BINARY = os.environ["MIDFILL_BINARY"]
KILLS = int(os.environ.get("MIDFILL_KILLS", "15"))
BAD_LINES = 16 + 15 + 16 + 7 + 8  # of a, b, d, e, f
NAMES = ("train.bin", "train.idx", "valid.bin", "valid.idx", "bad_lines.jsonl")


def command(tokenizer, inputs, out, *more):
    return [BINARY, "data", "build", "--tokenizer", tokenizer, "--input", *inputs, "--out", out, "--valid-fraction",
            "0.2", *more]


def run(arguments, **options):
    return subprocess.run(arguments, capture_output=True, text=True, **options)


def outputs(out):
    return {name: Path(f"{out}_{name}").read_bytes() for name in NAMES if Path(f"{out}_{name}").exists()}


def words(rng, count):
    return " ".join(rng.choice(["def", "return", "self.x", "=", "the", "é", "中文", "\n   ", "0x1F", "<|endoftext|>"])
                    for _ in range(count))


def make_inputs(directory):
    """About 11 MB: lines in every form, with bad ones and a line of 2 MB; text files."""
    rng = random.Random(1)
    inputs = Path(directory, "in")
    inputs.mkdir()
    forms = {"gz": lambda data: gzip.compress(data, 1), "xz": lambda data: lzma.compress(data, preset=0), "bz2": bz2.compress}
    for name in ("a.jsonl", "b.json.gz", "d.jsonl", "e.xz", "f.NDJSON.bz2"):
        lines = []
        for number in range(800):
            lines.append(json.dumps({"text": words(rng, rng.randrange(1000))}, ensure_ascii=number % 2 == 0))
            if number % 50 == 0:
                lines.append("bad" if number or not name[0] in "be" else "")
        if name == "d.jsonl":
            lines[400] = json.dumps({"text": words(rng, 400_000)})
        if name[0] in "ef":
            del lines[400:]
        data = ("\ufeff" + "\n".join(lines)).encode()
        (inputs / name).write_bytes(forms.get(name.rsplit(".")[-1], bytes)(data))
    for number in range(40):
        (inputs / f"c{number}.txt").write_text(words(rng, 2000))
    return inputs


def train_tokenizer(inputs, directory):
    path = Path(directory, "tokenizer.json")
    done = run([BINARY, "tokenizer", "train", "--input", *sorted(inputs.glob("c1*.txt")), "--vocab-size", "300",
                "--out", path])
    assert done.returncode == 0, done.stderr
    return path


def killed_until_done(tokenizer, inputs, directory, expected, seconds):
    """SIGKILL after a random time, again and again; the state is saved after every block."""
    rng = random.Random(seconds)
    out = Path(directory, "killed")
    killed = resumed = 0
    while True:
        process = subprocess.Popen(command(tokenizer, [inputs], out, "--threads", str(rng.randrange(1, 4)),
                                           "--save-every", "0"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   text=True)
        try:
            errors = process.communicate(timeout=None if killed >= KILLS else rng.random() * seconds)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            errors = process.communicate()[1]
            killed += 1
        resumed += "goes on where" in errors or "get their names" in errors
        if process.returncode == 0:
            break
        if "already exists" in errors:  # the last kill came after the end
            break
        assert process.returncode == -signal.SIGKILL, errors
        # Never one split's index without its data.
        for split in ("train", "valid"):
            assert not Path(f"{out}_{split}.idx").exists() or Path(f"{out}_{split}.bin").exists()
    assert outputs(out) == expected, f"other bytes after {killed} kills"
    left = sorted(p.name for p in Path(directory).iterdir() if p.name.startswith("killed"))
    assert left == sorted(f"killed_{name}" for name in NAMES), left
    assert killed > 0
    print(f"killed {killed} times, went on {resumed} times")
    for name in NAMES:
        Path(f"{out}_{name}").unlink()


def interrupted(tokenizer, inputs, directory, expected):
    for number in (signal.SIGINT, signal.SIGTERM):
        out = Path(directory, f"interrupted{number}")
        arguments = command(tokenizer, [inputs], out, "--threads", "1")
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        staged = Path(f"{out}.building", "train.bin")
        wait_for(lambda: staged.exists() and staged.stat().st_size > 0 or process.poll() is not None)
        second = run(arguments)
        process.send_signal(number)
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 128 + number, (process.returncode, errors)
        assert errors.count("interrupted; what is done is kept in") == 1, errors
        assert second.returncode == 1 and "another build works on this output now" in second.stderr, second.stderr
        done = run(arguments)
        assert done.returncode == 0 and "goes on where an earlier run ended" in done.stderr, done.stderr
        assert outputs(out) == expected
        again = run(arguments)
        assert again.returncode == 1 and "already exists" in again.stderr, again.stderr
        assert not Path(f"{out}.building").exists()


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)


def standard_input(tokenizer, inputs, directory):
    data = (inputs / "a.jsonl").read_bytes()
    whole = Path(directory, "file")
    assert run(command(tokenizer, [inputs / "a.jsonl"], whole)).returncode == 0
    for name, form in (("plain", data), ("gzip", gzip.compress(data)), ("xz", lzma.compress(data, preset=0)), ("bzip2", bz2.compress(data))):
        out = Path(directory, name)
        arguments = command(tokenizer, ["-"], out, "--save-every", "0")
        # Ended while it waits for more: nothing is left, as nothing can be gone on with.
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(form[:1_500_000])
        process.stdin.flush()
        wait_for(lambda: Path(f"{out}.building").exists())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130 and b"interrupted" in errors and b"kept" not in errors, errors
        assert not Path(f"{out}.building").exists()
        # Killed: what is left is replaced by the next.
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(form[:1000])
        process.stdin.flush()
        wait_for(lambda: Path(f"{out}.building", "command.json").exists())
        process.kill()
        process.communicate()
        done = subprocess.run(arguments, input=form, capture_output=True)
        assert done.returncode == 0 and b"begins anew" in done.stderr, done.stderr
        for file in NAMES[:4]:
            assert Path(f"{out}_{file}").read_bytes() == Path(f"{whole}_{file}").read_bytes(), file
        report = [json.loads(line) for line in Path(f"{out}_bad_lines.jsonl").read_text().splitlines()]
        assert len(report) == 16 and report[0]["file"] == "standard input" and report[0]["line"] == 2
    refused = run(command(tokenizer, ["-", inputs], Path(directory, "both")), stdin=subprocess.DEVNULL)
    assert refused.returncode == 1 and "must be the only input" in refused.stderr, refused.stderr
    empty = run(command(tokenizer, ["-"], Path(directory, "empty")), stdin=subprocess.DEVNULL)
    assert empty.returncode == 1 and "no document" in empty.stderr, empty.stderr
    closed = subprocess.run(["bash", "-c", '"$@" <&-', "bash", *map(str, command(tokenizer, ["-"], Path(directory, "closed")))],
                            capture_output=True, text=True)
    assert closed.returncode == 1 and closed.stderr.count("\n") == 1, closed.stderr


with tempfile.TemporaryDirectory() as directory:
    inputs = make_inputs(directory)
    tokenizer = train_tokenizer(inputs, directory)
    whole = Path(directory, "whole")
    start = time.monotonic()
    done = run(command(tokenizer, [inputs], whole, "--save-every", "0"))
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("midfill: skipped: ") == 10 and f"{BAD_LINES} bad lines" in done.stdout, (done.stderr, done.stdout)
    expected = outputs(whole)
    assert set(expected) == set(NAMES)
    for share in (0.2, 0.5, 0.9):
        killed_until_done(tokenizer, inputs, directory, expected, seconds * share)
    interrupted(tokenizer, inputs, directory, expected)
    standard_input(tokenizer, inputs, directory)
print("passed")
