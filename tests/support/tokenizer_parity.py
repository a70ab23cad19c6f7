"""Texts on which tokenizers differ, and the comparison of midfill's ids with those of Hugging Face `tokenizers`."""

import glob
import json
import os
import random
import subprocess
import unicodedata

from tokenizers import Tokenizer

BINARY = os.environ["MIDFILL_BINARY"]
SPECIALS = ["<|endoftext|>", "<|padding|>", "<|SUF|>", "<|PRE|>", "<|MID|>"]


def midfill(*arguments, stdin=b""):
    return subprocess.run([BINARY, "tokenizer", *arguments], input=stdin, check=True, stdout=subprocess.PIPE).stdout


def json_lines(objects):
    return "".join(json.dumps(o) + "\n" for o in objects).encode()


def sources():
    """Files of this machine and of this repository."""
    names = sorted(glob.glob("/usr/lib/python3*/*.py"))[:60] + sorted(glob.glob("/usr/include/*.h"))[:60]
    names += sorted(glob.glob(os.path.join(os.path.dirname(__file__), "..", "..", "src", "*", "*.cpp")))
    texts = []
    for name in names:
        with open(name, encoding="utf-8", errors="replace", newline="") as file:
            texts.append(file.read())
    return texts


def hand_written():
    texts = [
        "", " ", "\n", "a", "def f(x):\n    return x", "\t\tx", "1234567", "don't", "DON'T we'll I'VE it's 'tis '' 's",
        "The quick brown fox jumps over the lazy dog; it's 3.14159 metres (or 10,000 feet) away \u2014 \u201cso\u201d\u2026",
        "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u3053\u3093\u306b\u3061\u306f\u4e16\u754c \ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7 \U0001f44d\U0001f3fd "
        "\u2764\ufe0f \U0001f3f4\U000e0067\U000e0062\U000e007f",
        "e\u0301 a\u0308\u0301 q\u0307\u0323 q\u0323\u0307 \u212b \u2126 \u1e9b\u0323 \u0344 \u0958 a\u0316\u0301 \u0301 x\u0301",
        "\u1112\u1161\u11ab \u1100\u1161 \ud558\u11ab \u1112\u1161 \u11ab\u1161",
        "a\u00a0b\u2028c\u2029d\u3000e\u0085f\u180eg\u200bh\ufeffi\x1cj\x0bk\x0cl", "a\r\nb\r\n\r\nc\rd", "a\x00b\x01\x7f",
        "1\u00bd\u2167\u0663\u4e09", "\u01c5\u02b0\u00aa", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
        "=" * 300, "a" * 300, "ab" * 200, "\u4e2d" * 100, "https://example.org/a_b-c?d=e&f=%20#g",
    ]
    draw = random.Random(19)
    for unit in ("=", "a", "ab", "-", "\n", "7", " ", "\u4e2d", "xyz", "the", "_A1"):
        texts += [unit * n for n in (40, 63, 64, 65, 128, 500, 4000)]
    texts += ["".join(draw.choice(letters) for _ in range(3000)) for letters in ("ab", "etaoinshr", "aeiou\u00e9", "=-_*#")]
    for n in (24, 25, 26, 48, 49, 50, 73, 4097):  # of these runs one space may go along with what follows
        texts += [" " * n + after for after in ("", "x", "'s", "'", "\n", "\n x", "1", "\u3000", "\u00a0 x", "\t  x", "'s's")]
    for special in SPECIALS + ["<|endoftext|", "<|SUF|><|PRE|>", "<|endoftext|><|endoftext|>"]:
        texts += [special, f"a{special}b", f"  {special}  \n", f"\u00e9{special}\u0301", f"{special[:-1]}"]
    for n in range(1, 101):
        for mark in (" ", "\t", "\n", " \t", "\n ", "\r\n", "\u00a0", "\u2028 "):
            run = (mark * n)[:n]
            texts += [run, f"a{run}b", f"{run}1", f"!{run}"]
    return texts


def random_texts():
    draw = random.Random(20)
    every = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    marks = [c for c in every if unicodedata.combining(c)]
    letters = [c for c in every if unicodedata.decomposition(c)]
    dense = list(" \t\n\r'aA1.sdtlrve<|>_") + ["\u00e9", "\u0301", "\u00a0", "\u2028", "\u4e2d", "\u1112", "\u1161", "\u11ab",
                                              "\U0001f468", "\u200d", "  ", "    ", "'ll", "\r\n"] + SPECIALS
    texts = ["".join(draw.choice(every) for _ in range(50)) for _ in range(3000)]
    texts += ["".join(draw.choice(dense) for _ in range(draw.randrange(1, 50))) for _ in range(4000)]
    texts += ["".join(draw.choice((marks, letters, dense)[draw.randrange(3)]) for _ in range(20)) for _ in range(3000)]
    return texts


def code_points():
    """Code points in each context that a class matters in, and among marks. Of the large uniform blocks (ideographs,
    syllables, private use) and of unassigned ones every 97th."""
    def uniform(c):
        return 0x3400 <= c < 0xA000 or 0xAC00 <= c < 0xD7A4 or 0x17000 <= c < 0x18D00 or c >= 0x20000 or \
            unicodedata.category(chr(c)) in ("Cn", "Co")

    chosen = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and (c % 97 == 0 or not uniform(c))]
    chosen += list(range(0x2EBF0, 0x2EBF4)) + list(range(0x31350, 0x31354))
    for begin in range(0, len(chosen), 512):
        yield "".join(f"a{c}a1{c}1!{c}! a{c}\u0316\u0301a\u0315{c}\u0334" for c in map(chr, chosen[begin:begin + 512]))


def compare(path, texts, what, reference=None):
    reference = reference or Tokenizer.from_file(path)
    expected = [reference.encode(text, add_special_tokens=False).ids for text in texts]
    lines = midfill("encode", "--tokenizer", path, "--jsonl", stdin=json_lines({"text": t} for t in texts)).splitlines()
    assert len(lines) == len(texts), (what, len(lines), len(texts))
    for text, line, ids in zip(texts, lines, expected):
        ours = json.loads(line)["ids"]
        if ours != ids:
            at = next((i for i, (a, b) in enumerate(zip(ours, ids)) if a != b), min(len(ours), len(ids)))
            raise AssertionError(f"{what}: {text[:200]!r}: differs at id {at}: {ours[at:at + 8]} != {ids[at:at + 8]}")
    # And back: the bytes are the text after NFC, which special tokens cut into sections.
    back = midfill("decode", "--tokenizer", path, "--jsonl", stdin=json_lines({"ids": i} for i in expected)).splitlines()
    if what.startswith("exact"):
        for text, line in zip(texts, back):
            if any(special in text for special in SPECIALS):
                continue
            assert json.loads(line)["text"] == reference.normalizer.normalize_str(text), (what, text[:200])
    print(f"{what}: {len(texts)} texts, {sum(map(len, expected))} ids agree")


def rule_texts():
    draw = random.Random(22)
    parts = ["cat", "cats", "<l>", "<r>", "<b>", "dog", "dog_", "caf\u00e9", "cafe\u0301", " ", "  ", "\n", "\u00a0", "x", ".", "\u0301",
             "\u00e9", "1", "_", "<|endoftext|>", "\u200d", "\u24b6", "\u00bd", "\u2167"]
    return ["".join(draw.choice(parts) for _ in range(draw.randrange(1, 12))) for _ in range(3000)]
