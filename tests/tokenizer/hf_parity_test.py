"""Ids are those of Hugging Face `tokenizers`: on GPT-NeoX-20B's file, on one that midfill trains, and on variants of
it; Hugging Face loads what midfill writes, and its trainer learns the same merges."""

import glob
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

try:
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
except ImportError:
    print("skipped: the Python package tokenizers is missing")
    sys.exit(77)

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
    expected = [reference.encode(text).ids for text in texts]
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


def compare_bytes(path):
    reference = Tokenizer.from_file(path)
    draw = random.Random(21)
    cases = [b"a\x80z", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xf0\x9f\x91", b"\xff\xfe\x00a"]
    pool = [bytes([b]) for b in range(256)] + ["\u00e9".encode(), "\u4e2d".encode(), "\U0001f468".encode()] * 20
    cases += [b"".join(draw.choice(pool) for _ in range(400)) for _ in range(20)]
    for case in cases:
        ours = [int(i) for i in midfill("encode", "--tokenizer", path, stdin=case).split()]
        assert ours == reference.encode(case.decode("utf-8", errors="replace")).ids, case
    print(f"invalid UTF-8: {len(cases)} inputs agree")


def check_written(path):
    """Hugging Face reads the file that midfill writes; the sentinels stand where midfill has them."""
    tokenizer = Tokenizer.from_file(path)
    size = tokenizer.get_vocab_size()
    ids = [tokenizer.token_to_id(s) for s in ("<|SUF|>", "<|PRE|>", "<|MID|>")]
    assert ids == [size - 3, size - 2, size - 1], (ids, size)


def variants(path, folder):
    """The trained file with other settings, each loaded by both sides."""
    with open(path, encoding="utf-8") as file:
        base = json.load(file)

    def added(id_, content, **rules):
        return {"id": id_, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": True, "special": False, **rules}

    size = len(base["model"]["vocab"])
    plain = [t for t in base["added_tokens"] if t["id"] < 2]
    plain += [added(size + i, s, normalized=False, special=True) for i, s in enumerate(SPECIALS[2:])]
    rules = [dict(single_word=True), dict(lstrip=True), dict(rstrip=True), dict(lstrip=True, rstrip=True, normalized=False),
             dict(single_word=True, normalized=False, special=True), dict(normalized=False)]
    words = ["cat", "<l>", "<r>", "<b>", "dog", "caf\u00e9"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}

    def split(regex):
        return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}

    whole = dict(byte_level, use_regex=False)
    digits = {"type": "Digits", "individual_digits": True}
    gpt4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
            r"\s+(?!\S)|\s+")
    changes = {
        "prefix space": {"pre_tokenizer": dict(byte_level, add_prefix_space=True)},
        "no regex": {"pre_tokenizer": whole},
        "no normaliser": {"normalizer": None},
        "ignore merges": {"model": dict(base["model"], ignore_merges=True)},
        "added tokens' rules": {"added_tokens": plain + [added(size + 3 + i, w, **r) for i, (w, r) in enumerate(zip(words, rules))]},
        "digits, then the pattern": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]}},
        "digits in runs, prefix": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            dict(digits, individual_digits=False), dict(byte_level, add_prefix_space=True)]}},
        "another pattern": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split(gpt4), whole]}},
        "two patterns": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\p{N}"), whole]}},
    }
    for name, change in changes.items():
        changed = os.path.join(folder, "variant.json")
        with open(changed, "w", encoding="utf-8") as file:
            json.dump({**base, **change}, file)
        yield name, changed


def rule_texts():
    draw = random.Random(22)
    parts = ["cat", "cats", "<l>", "<r>", "<b>", "dog", "dog_", "caf\u00e9", "cafe\u0301", " ", "  ", "\n", "\u00a0", "x", ".", "\u0301",
             "\u00e9", "1", "_", "<|endoftext|>", "\u200d", "\u24b6", "\u00bd", "\u2167"]
    return ["".join(draw.choice(parts) for _ in range(draw.randrange(1, 12))) for _ in range(3000)]


def compare_trainers(folder, texts):
    """Without runs of spaces the recipe is one that Hugging Face's trainer has too."""
    corpus = os.path.join(folder, "corpus.txt")
    text = "\n".join(texts)
    with open(corpus, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    reference = Tokenizer(models.BPE())
    reference.normalizer = normalizers.NFC()
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    reference.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=1500, min_frequency=2, show_progress=False, special_tokens=SPECIALS[:2],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    out = os.path.join(folder, "no-runs.json")
    midfill("train", "--input", corpus, "--vocab-size", "1503", "--no-space-runs", "--out", out)
    with open(out, encoding="utf-8") as file:
        ours = json.load(file)["model"]
    theirs = json.loads(reference.to_str())["model"]
    merges = [" ".join(m) if isinstance(m, list) else m for m in theirs["merges"]]
    assert ours["vocab"] == theirs["vocab"]
    assert ours["merges"] == merges
    print(f"trainers: {len(merges)} merges agree")


def main():
    texts = sources() + hand_written()
    fuzz = random_texts()
    with tempfile.TemporaryDirectory() as folder:
        trained = os.path.join(folder, "trained.json")
        midfill("train", "--input", "/usr/lib/python3*/*.py", "/usr/include/*.h", "--vocab-size", "2048", "--out", trained)
        check_written(trained)
        compare(trained, texts, "exact: trained")
        compare(trained, fuzz, "exact: trained, random")
        compare_trainers(folder, sources()[:60])
        for name, path in variants(trained, folder):
            compare(path, hand_written() + rule_texts() + fuzz[:3000:3] + fuzz[3000:7000:2], name)

        neox = os.path.join(os.environ.get("MIDFILL_TEST_DATA", ""), "20B_tokenizer.json")
        if not os.path.exists(neox):
            print("skipped in part: MIDFILL_TEST_DATA has no 20B_tokenizer.json")
            sys.exit(77)
        # The reference for sentinels is the original with the three tokens added by its own means.
        reference = Tokenizer.from_file(neox)
        reference.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS[2:]])
        compare(neox, texts, "exact: 20B", reference)
        compare(neox, fuzz, "exact: 20B, random", reference)
        compare(neox, list(code_points()), "exact: 20B, code points", reference)
        compare_bytes(neox)


main()
