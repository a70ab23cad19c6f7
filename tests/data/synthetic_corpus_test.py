"""scripts/synthetic_corpus.py: the same bytes again, in every form, and nothing that a build passes over."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BINARY = os.environ["MIDFILL_BINARY"]
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "synthetic_corpus.py"


def make(path, seed=1):
    subprocess.run([sys.executable, SCRIPT, "--bytes", "1.5M", "--seed", str(seed), "--out", path], check=True,
                   capture_output=True)
    return path.read_bytes()


with tempfile.TemporaryDirectory() as directory:
    plain = make(Path(directory, "a.jsonl"))
    assert gzip.decompress(make(Path(directory, "a.jsonl.gz"))) == plain
    assert make(Path(directory, "b.jsonl"), seed=2) != plain
    if shutil.which("zstd"):
        make(Path(directory, "a.jsonl.zst"))
        unpacked = subprocess.run(["zstd", "-dc", Path(directory, "a.jsonl.zst")], check=True, capture_output=True)
        assert unpacked.stdout == plain
    texts = [json.loads(line)["text"] for line in plain.decode().splitlines()]
    assert sum(len(text.encode()) for text in texts) >= 1_500_000 and len(set(texts)) == len(texts)
    tokenizer = Path(directory, "tokenizer.json")
    subprocess.run([BINARY, "tokenizer", "train", "--input", Path(directory, "b.jsonl"), "--vocab-size", "600", "--out",
                    tokenizer], check=True, capture_output=True)
    done = subprocess.run([BINARY, "data", "build", "--tokenizer", tokenizer, "--input", Path(directory, "a.jsonl"), "--out",
                           Path(directory, "d"), "--json", "--strict"], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["documents"] == len(texts), done.stdout
print("passed")
