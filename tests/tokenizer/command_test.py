"""The `midfill tokenizer` commands as a user meets them: output, exit status, one line for an error, nothing left behind."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import tempfile

BINARY = os.environ["MIDFILL_BINARY"]


def run(*arguments, stdin=b""):
    return subprocess.run([BINARY, "tokenizer", *arguments], input=stdin, capture_output=True)


def good(*arguments, stdin=b""):
    done = run(*arguments, stdin=stdin)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


def bad(expected, *arguments, stdin=b""):
    done = run(*arguments, stdin=stdin)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1, (arguments, done.returncode, lines)
    error = lines[-1]
    assert [line for line in lines if line.startswith("midfill: ")] == [error], lines
    assert len(lines) == 1 or (len(lines) == 2 and lines[0].startswith("counted ")), lines
    assert expected in error, (expected, error)


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name)
        os.mkdir(path("corpus"))
        for i in range(3):
            with open(path(f"corpus/{i}.txt"), "w", encoding="utf-8") as file:
                file.write("".join(f"def word_{j % 40}(x):\n    return x + {j}\n" for j in range(300)))
        with open(path("corpus/skipped.bin"), "wb") as file:
            file.write(b"\0" * 100)
        with open(path("corpus/lines.jsonl"), "w", encoding="utf-8") as file:
            file.write(json.dumps({"text": "return word"}) + "\n")

        # Training: the same file for any number of threads, never overwritten by accident.
        train = ("train", "--input", path("corpus"), "--vocab-size", "320")
        assert b"320 ids" in good(*train, "--out", path("t.json"), "--threads", "2")
        good(*train, "--out", path("one.json"), "--threads", "1")
        with open(path("t.json"), "rb") as a, open(path("one.json"), "rb") as b:
            assert a.read() == b.read()
        bad("already exists", *train, "--out", path("t.json"))
        good(*train, "--out", path("t.json"), "--force")
        good(*train, "--out", path("py.json"), "--include", "*.txt", "--exclude", "*0*")
        bad("no input file", *train, "--out", path("x.json"), "--include", "*.rs")
        bad("no such file", "train", "--input", path("gone"), "--vocab-size", "320", "--out", path("x.json"))
        bad("at least 284", "train", "--input", path("corpus"), "--vocab-size", "100", "--out", path("x.json"))
        bad("too little", "train", "--input", path("corpus"), "--vocab-size", "9999", "--out", path("x.json"))
        bad("t.json is no directory", *train, "--out", path("t.json/x.json"))
        assert sorted(os.listdir(folder)) == ["corpus", "one.json", "py.json", "t.json"]

        # The same documents in any form, with lines that are bad, give the same file as `data build` reads them.
        os.mkdir(path("forms"))
        lines = b"".join(json.dumps({"body": {"text": f"def word_{j % 40}(x):\n    return x + {j}\n" * 9}}).encode() + b"\n"
                         for j in range(300)) + b"bad\n"
        forms = {"d.jsonl": lines, "d.json.gz": gzip.compress(lines), "d.xz": lzma.compress(lines), "d.NDJSON.bz2": bz2.compress(lines)}
        learn = ("--vocab-size", "320", "--text-key", "body.text")
        made = set()
        for name, form in forms.items():
            with open(path(f"forms/{name}"), "wb") as file:
                file.write(form)
            done = run("train", "--input", path(f"forms/{name}"), *learn, "--out", path("form.json"), "--force")
            assert done.returncode == 0 and f"skipped: {path('forms')}/{name}: line 301: ".encode() in done.stderr, done.stderr
            assert b"counted 300 documents of 1 files" in done.stderr and b"1 bad lines" in done.stderr, done.stderr
            with open(path("form.json"), "rb") as file:
                made.add(file.read())
            done = run("train", "--input", "-", *learn, "--out", path("form.json"), "--force", stdin=form)
            assert done.returncode == 0 and b"skipped: standard input: line 301: " in done.stderr, done.stderr
            with open(path("form.json"), "rb") as file:
                made.add(file.read())
        assert len(made) == 1
        bad("line 301: not valid JSON", "train", "--input", path("forms/d.xz"), *learn, "--out", path("x.json"), "--strict")
        bad("too little", "train", "--input", "-", *learn, "--out", path("x.json"), stdin=b"")

        # Ids and back, both forms.
        use = ("--tokenizer", path("t.json"))
        text = "def f(x):\n    return \u00e9\u4e2d<|MID|>\n"
        ids = good("encode", *use, stdin=text.encode())
        assert good("decode", *use, stdin=ids) == text.encode()
        numbers = [int(i) for i in ids.split()]
        assert numbers[-2] == 319
        assert 319 not in [int(i) for i in good("encode", *use, "--no-special", stdin=text.encode()).split()]
        lines = good("encode", *use, "--jsonl", stdin=("\ufeff" + json.dumps({"text": text}) + "\n\n" + '{"text": ""}').encode())
        assert [json.loads(line) for line in lines.splitlines()] == [{"ids": numbers}, {"ids": []}]
        lines = good("decode", *use, "--jsonl", stdin=lines)
        assert [json.loads(line) for line in lines.splitlines()] == [{"text": text}, {"text": ""}]
        assert good("encode", *use) == b"\n" and good("decode", *use) == b""
        assert good("decode", *use, stdin=b"\n") == b""
        assert b"SUF 317, PRE 318, MID 319" in good("info", *use)

        # Bad input.
        bad("line 2: not valid JSON", "encode", *use, "--jsonl", stdin=b'{"text": "a"}\n{"text": \n')
        bad('line 1: expected a string "text"', "encode", *use, "--jsonl", stdin=b'{"txt": "a"}\n')
        bad("line 1: expected a JSON object", "encode", *use, "--jsonl", stdin=b"[1]\n")
        for ids in (b"[320]", b"[-1]", b'["1"]', b"[1.5]", b"[18446744073709551615]", b"[null]"):
            bad("among the ids", "decode", *use, "--jsonl", stdin=b'{"ids": ' + ids + b"}\n")
        bad('expected an array "ids"', "decode", *use, "--jsonl", stdin=b'{"ids": 1}\n')
        bad("token id 320", "decode", *use, stdin=b"5 320")
        for word in (b"x", b"1x", b"99999999999"):
            bad("expected ids", "decode", *use, stdin=word)
        bad("gone.json: cannot open", "info", "--tokenizer", path("gone.json"))
        bad("a directory", "info", "--tokenizer", path("corpus"))
        with open(path("broken.json"), "w", encoding="utf-8") as file:
            file.write('{"version": "1.0"}')
        bad('broken.json: "model" is missing', "info", "--tokenizer", path("broken.json"))

        # Every command explains itself with an example.
        for command in ("train", "encode", "decode", "info"):
            help_text = good(command, "--help").decode()
            assert f"midfill tokenizer {command}" in help_text, help_text
    print("the tokenizer commands behave")


main()
