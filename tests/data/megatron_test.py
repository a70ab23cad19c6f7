"""`midfill data build` against an independent reading of its files and against Hugging Face tokenizers.

The reader below is written from the format table of docs/data-format.md alone.
"""

import gzip
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

BINARY = os.environ["MIDFILL_BINARY"]
DATA = os.environ.get("MIDFILL_TEST_DATA")
if not DATA or not (Path(DATA) / "20B_tokenizer.json").exists():
    print("skipped: MIDFILL_TEST_DATA does not name a folder with 20B_tokenizer.json")
    sys.exit(77)

import numpy as np
from tokenizers import Tokenizer

TOKENIZER = Path(DATA) / "20B_tokenizer.json"
MEMORY_LIMIT_MIB = 100  # of a build, whatever the size of its input


def read_dataset(prefix):
    """The documents, as lists of ids."""
    index = Path(f"{prefix}.idx").read_bytes()
    magic, version, code, sequences, entries = struct.unpack_from("<9sQBQQ", index, 0)
    assert magic == b"MMIDIDX\0\0" and version == 1 and code == 8, (magic, version, code)
    at = 34
    sizes = np.frombuffer(index, "<i4", sequences, at)
    at += 4 * sequences
    pointers = np.frombuffer(index, "<i8", sequences, at)
    at += 8 * sequences
    documents = np.frombuffer(index, "<i8", entries, at)
    assert at + 8 * entries == len(index)
    assert documents.tolist() == list(range(sequences + 1))
    tokens = Path(f"{prefix}.bin").read_bytes()
    assert len(tokens) == 2 * int(sizes.sum())
    return [np.frombuffer(tokens, "<u2", size, pointer).tolist() for size, pointer in zip(sizes, pointers)]


def build(*arguments, **options):
    return subprocess.run([BINARY, "data", "build", "--tokenizer", TOKENIZER, *arguments],
                          capture_output=True, text=True, **options)


def sample_texts():
    """Code, prose, scripts, whitespace of every length, special tokens in text, repeats."""
    rng = random.Random(1)
    texts = [" " * n + "x" + "\t" * n + "\n" * (n % 5) for n in range(1, 40)]
    texts += ["<|endoftext|>", "a<|endoftext|>b<|padding|>", "<|SUF|>x<|PRE|>y<|MID|>", "e\u0301 \u212b \ufb01",
              "\u4e2d\u6587\uff0c\u65e5\u672c\u8a9e\u3002 \ud55c\uad6d\uc5b4", "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
              "\u2028\u0085\u00a0\ufeff", "\0nul", "crlf\r\nline\r", "don't we'll I'M", "1234567890" * 7]
    for path in sorted(Path(os.__file__).parent.glob("a*.py"))[:25]:
        texts.append(path.read_text(encoding="utf-8"))
    for _ in range(200):
        texts.append("".join(rng.choice(["def ", "x", " ", "  ", "\n", "é", "中", "(", "0", "'s", "\U0001f600"])
                             for _ in range(rng.randrange(1, 200))))
    return texts + texts[:60]


def matches_hugging_face(directory):
    texts = sample_texts()
    half = len(texts) // 2
    inputs = Path(directory, "in")
    inputs.mkdir()
    (inputs / "a.jsonl").write_text("".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts[:half]),
                                    encoding="utf-8")
    with gzip.open(inputs / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        for text in texts[half:]:
            file.write(json.dumps({"meta": {"text": 1}, "text": text}) + "\n")
    broken = b"\xff\xfe \xe4\xb8 \xed\xa0\x80 \xc0\x80 tail \xf0\x9f\x98"
    (inputs / "c.txt").write_bytes(broken)
    (inputs / "d.so").write_bytes(b"\x7fELF\0")
    texts.append(broken.decode("utf-8", errors="replace"))

    files = {}
    for threads in (1, 3):
        out = Path(directory, f"t{threads}")
        done = build("--input", inputs, "--out", out, "--valid-fraction", "0.3", "--threads", str(threads), "--json")
        assert done.returncode == 0, done.stderr
        files[threads] = [Path(f"{out}_{split}.{kind}").read_bytes()
                          for split in ("train", "valid") for kind in ("bin", "idx")]
        summary = json.loads(done.stdout)
    assert files[1] == files[3], "the result depends on the number of threads"

    reference = Tokenizer.from_file(str(TOKENIZER))
    reference.encode_special_tokens = True  # text that spells a special token is text
    expected = [reference.encode(text).ids + [0] for text in texts]
    train, valid = read_dataset(f"{out}_train"), read_dataset(f"{out}_valid")
    splits = {"train": iter(train), "valid": iter(valid)}
    heads = {name: next(it, None) for name, it in splits.items()}
    side = {}
    for text, ids in zip(texts, expected):
        # Documents keep their order within a split, and equal ones share a split.
        name = side.get(text) or next((n for n in heads if heads[n] == ids), None)
        assert name and heads[name] == ids, f"wrong ids for {text[:60]!r}"
        side[text] = name
        heads[name] = next(splits[name], None)
    assert heads == {"train": None, "valid": None}, "more documents than went in"
    assert 0.15 < len(valid) / len(texts) < 0.45

    for name, documents in (("train", train), ("valid", valid)):
        assert summary["splits"][name]["documents"] == len(documents)
        assert summary["splits"][name]["tokens"] == sum(map(len, documents))
    size = sum(len(t.encode()) for t in texts[:-1]) + len(broken)
    assert summary["bytes"] == size and summary["documents"] == len(texts)
    assert abs(summary["bytes_per_token"] - size / summary["tokens"]) < 1e-9
    assert summary["skipped"] == {"empty_documents": 0, "bad_lines": 0, "binary_files": 1}


def says_one_clear_line(directory):
    def refused(part, *arguments):
        done = build(*arguments)
        assert done.returncode == 1 and done.stdout == "", (done.returncode, done.stdout)
        assert done.stderr.startswith("midfill: ") and done.stderr.count("\n") == 1, done.stderr
        assert part in done.stderr, done.stderr
        assert not list(out.parent.iterdir()), "something was left behind"

    bad = Path(directory, "bad.jsonl")
    bad.write_text('{"text": "good"}\n{"text": 1}\n')
    out = Path(directory, "none", "d")
    out.parent.mkdir()
    refused("bad.jsonl: line 2: ", "--input", bad, "--out", out, "--strict")
    refused("absent", "--input", Path(directory, "absent"), "--out", out)
    done = build("--input", bad, "--out", out, "--valid-fraction", "0", "--json")
    summary = json.loads(done.stdout)
    assert done.returncode == 0 and summary["skipped"]["bad_lines"] == 1, done.stderr
    assert json.loads(Path(summary["bad_lines_file"]).read_text())["line"] == 2
    assert "bad.jsonl: line 2: " in done.stderr
    done = build("--input", bad, "--out", out)
    assert done.returncode == 1 and "already exists" in done.stderr, done.stderr


def large_input(directory):
    """About 50 MB of JSON lines, compressed: 50 MB of text is far more than a build may hold at once."""
    block = "".join(json.dumps({"text": f"{i} " + "def function(value):\n    return value + 1\n" * 60}) + "\n"
                    for i in range(400)).encode()
    path = Path(directory, "large.jsonl.gz")
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(48):
            file.write(block)
    return path


def memory_is_bounded(path, directory):
    out = Path(directory, "bounded")
    code = ("import resource, subprocess, sys; done = subprocess.run(sys.argv[1:]);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)")
    done = subprocess.run([sys.executable, "-c", code, BINARY, "data", "build", "--tokenizer", TOKENIZER,
                           "--input", path, "--out", out, "--threads", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "19,200" in done.stdout, done.stdout  # documents, in the table
    mib = int(done.stdout.split()[-1]) / 1024
    print(f"largest resident memory of the build: {mib:.0f} MiB")
    assert mib < MEMORY_LIMIT_MIB, mib


with tempfile.TemporaryDirectory() as directory:
    matches_hugging_face(directory)
    says_one_clear_line(directory)
    large = large_input(directory)
    memory_is_bounded(large, directory)
print("passed")
