#!/usr/bin/env python3
"""A .bin that is cut while a program reads samples from it ends the program with one line, not with a signal."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

MIDFILL = os.environ["MIDFILL_BINARY"]


def midfill(*arguments):
    subprocess.run([MIDFILL, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def main():
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        text = "".join(f"def f{i}(x):\n    return x * {i * i} + {i % 7}\n" for i in range(20000))
        (root / "text.py").write_text(text)
        midfill("tokenizer", "train", "--input", root / "text.py", "--vocab-size", 300, "--out", root / "tokenizer.json")
        midfill("data", "build", "--tokenizer", root / "tokenizer.json", "--input", root / "text.py", "--valid-fraction", 0,
                "--out", root / "d")
        config = {"model": {"n_ctx": 128}, "data": {"tokenizer": str(root / "tokenizer.json"), "train": str(root / "d_train")},
                  "train": {"batch_tokens": 1024}}
        (root / "config.json").write_text(json.dumps(config))

        data = root / "d_train.bin"
        size = data.stat().st_size
        assert size > 100_000, size
        reader = subprocess.Popen([MIDFILL, "bench", "loader", "context/char/joint", "--config", str(root / "config.json"),
                                   "--run-ms", "60000", "--threads", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            # Mapped for good: it was for a moment before, to count the bytes of a token.
            seen = 0
            while seen < 50:
                assert reader.poll() is None, reader.stderr.read()
                seen = seen + 1 if str(data) in pathlib.Path(f"/proc/{reader.pid}/maps").read_text() else 0
                time.sleep(0.01)
            os.truncate(data, 5000)  # most of its pages are gone
            _, said = reader.communicate(timeout=120)
        finally:
            reader.kill()
        assert reader.returncode == 1, (reader.returncode, said)
        assert said == f"midfill: {data}: ends at byte 5000, expected {size} bytes; was it cut while in use?\n", said
    print("ok")


if __name__ == "__main__":
    sys.exit(main())
