"""`midfill data show --json` held against Hugging Face tokenizers and the documents it was made from: what a user of the
format, who knows nothing of midfill's code, would check."""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

BINARY = os.environ["MIDFILL_BINARY"]
DATA = os.environ.get("MIDFILL_TEST_DATA")
if not DATA or not (Path(DATA) / "20B_tokenizer.json").exists():
    print("skipped: MIDFILL_TEST_DATA does not name a folder with 20B_tokenizer.json")
    sys.exit(77)

from tokenizers import Tokenizer

TOKENIZER = Path(DATA) / "20B_tokenizer.json"
EOD, PAD, SUF, PRE, MID = 0, 1, 50277, 50278, 50279
N_CTX = 256


def midfill(*arguments, fails=False):
    result = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, errors="replace")
    assert (result.returncode != 0) == fails, (arguments, result.returncode, result.stderr)
    return result


def layout(segment, encode):
    prefix, middle, suffix = (encode(segment[part]) for part in ("prefix", "middle", "suffix"))
    return {
        "psm": [PRE, *prefix, SUF, *suffix, MID, *middle, EOD],
        "spm1": [SUF, *suffix, PRE, *prefix, MID, *middle, EOD],
        "spm2": [PRE, SUF, *suffix, MID, *prefix, *middle, EOD],
    }[segment["kind"]]


def main():
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    rng = random.Random(7)
    words = ["def", "return", "self.value", " = ", "    ", "\n", "\n\n", "(", "):", "# note", "\u4e2d\u6587", "\U0001f600", "don't",
             "caf\u00e9", "\t", "0x1F", "==", "import os"]
    documents = ["".join(rng.choice(words) + rng.choice(["", " "]) for _ in range(rng.randint(1, 250))) for _ in range(400)]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        source = folder / "documents.jsonl"
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
        midfill("data", "build", "--tokenizer", TOKENIZER, "--input", source, "--out", folder / "set", "--valid-fraction", 0.2)
        config = folder / "config.json"
        config.write_text(json.dumps({
            "model": {"n_ctx": N_CTX},
            "data": {"tokenizer": str(TOKENIZER), "train": str(folder / "set_train"), "valid": str(folder / "set_valid")},
            "fim": {"rate": 0.9, "psm": 1, "spm1": 1, "spm2": 1}}))
        show = lambda *more: midfill("data", "show", "--config", config, *more).stdout

        lines = show("--samples", "0:150", "--json").splitlines()
        assert len(lines) == 150
        assert lines[140:] == show("--samples", "140:150", "--json").splitlines()
        counts = {"ar": 0, "psm": 0, "spm1": 0, "spm2": 0}
        exact = whole = 0
        for number, line in enumerate(lines):
            sample = json.loads(line)
            tokens, at = sample["tokens"], 0
            assert sample["index"] == number and len(tokens) == N_CTX + 1
            for segment in sample["segments"]:
                counts[segment["kind"]] += 1
                begin, end = segment["begin"], segment["end"]
                assert begin == at and end > begin
                at = end
                text = segment["prefix"] + segment["middle"] + segment["suffix"]
                if "\ufffd" not in text:  # not cut inside a character
                    assert any(text in document for document in documents), text
                    whole += any(text == document for document in documents)
                    if segment["kind"] != "ar":
                        assert tokens[begin:end] == layout(segment, encode), segment
                        exact += 1
                if segment["kind"] == "ar":
                    assert segment["middle"] == segment["suffix"] == ""
                    assert not {SUF, PRE, MID} & set(tokens[begin:end])
                else:
                    assert tokens[end - 1] == EOD
            assert set(tokens[at:]) <= {PAD}
        total = sum(counts.values())
        assert 0.75 * total < total - counts["ar"] < 0.97 * total, counts
        assert min(counts[kind] for kind in ("psm", "spm1", "spm2")) > 0.2 * total, counts
        assert exact > 100 and whole > 30, (exact, whole)

        for stream in ("ar", "fim_psm", "fim_spm1", "fim_spm2", "middle_ar"):
            frozen = show("--samples", "0:5", "--json", "--stream", stream)
            assert frozen == show("--samples", "0:5", "--json", "--stream", stream, "--set", "seed=5", "--set", "fim.rate=0")
            kinds = {segment["kind"] for line in frozen.splitlines() for segment in json.loads(line)["segments"]}
            expected = {"fim_psm": "psm", "fim_spm1": "spm1", "fim_spm2": "spm2"}.get(stream, "ar")
            assert expected in kinds and kinds <= {expected, "ar"}, (stream, kinds)
        for level in ("context", "document"):
            for unit in ("char", "token", "line"):
                show("--samples", "0:20", "--set", f"fim.level={level}", "--set", f"fim.unit={unit}")

        sources = [{"name": name, "path": json.loads(open(config).read())["data"][key], "weight": weight}
                   for name, key, weight in (("x", "train", 3), ("y", "valid", 1))]
        both = ["--set", "data.train=" + json.dumps(sources), "--set", "data.valid=" + json.dumps(sources)]
        blended = [json.loads(line) for line in show("--samples", "0:40", "--json", *both).splitlines()]
        names = [sample["source"] for sample in blended]
        assert names.count("x") == 30 and names.count("y") == 10, names
        alone = [json.loads(line) for line in lines[:30]]
        assert [s["tokens"] for s in blended if s["source"] == "x"] == [s["tokens"] for s in alone]
        assert "source" not in alone[0]
        assert show("--samples", "0:1", *both).startswith(f"--- sample 0 ({names[0]}): ")
        of_y = show("--samples", "0:3", "--json", "--stream", "ar", "--source", "y", *both)
        assert of_y.replace('"source":"y",', "") == show("--samples", "0:3", "--json", "--stream", "ar")

        plain = show("--samples", "3:4")
        assert plain.startswith("--- sample 3: ") and "\x1b" not in plain
        assert "\x1b[" in show("--samples", "3:4", "--color")
        for bad in (["--samples", "5"], ["--samples", "4:4"], ["--samples", "0:9999", "--stream", "ar"],
                    ["--samples", "0:1", "--set", "data.train=missing"], ["--samples", "0:1", "--set", "model.n_ctx=1000000"],
                    ["--samples", "0:1", "--set", "data.valid=\"\"", "--stream", "ar"],
                    ["--samples", "0:1", "--stream", "ar", "--source", "z"], ["--samples", "0:1", "--source", "x"]):
            error = midfill("data", "show", "--config", config, *bad, fails=True)
            assert error.stdout == "" and error.stderr.count("\n") == 1 and error.stderr.startswith("midfill: "), (bad, error)
    print(f"{total} segments {counts}, {exact} compared token by token, {whole} whole documents")


main()
