"""Ids are those of Hugging Face `tokenizers`: on GPT-NeoX-20B's file, on one that midfill trains, and on variants of
it; Hugging Face loads what midfill writes, and its trainer learns the same merges."""

import json
import os
import random
import sys
import tempfile

try:
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
except ImportError:
    print("skipped: the Python package tokenizers is missing")
    sys.exit(77)

from tokenizer_parity import (SPECIALS, code_points, compare, hand_written, midfill, random_texts, rule_texts, sources)


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


def overlapping_tokens(base, folder):
    """Random sets of added tokens that overlap in text, with random rules."""
    contents = ["<m>", " ", "  ", "   ", "\n", "a", "ab", " a", "a ", "b a", "<m> ", "<", "\u00e9", "e\u0301", "_", "<m><m>", "1"]
    parts = ["<m>", " ", "  ", "\n", "a", "b", "ab", "x", ".", "\u00e9", "e\u0301", "_", "1", "<"]
    draw = random.Random(23)
    vocabulary = base["model"]["vocab"]

    def rules(**likely):
        return {rule: draw.random() < p for rule, p in likely.items()}

    def agreeing(reference, texts):
        """The texts that Hugging Face can encode: it panics where a token begins in white space that another took."""
        for text in texts:
            try:
                reference.encode(text)
                yield text
            except BaseException as error:
                if type(error).__name__ != "PanicException":
                    raise

    for _ in range(100):
        added = [t for t in base["added_tokens"] if t["id"] < 2]
        free = len(vocabulary)
        wanted = [dict(content=s, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True) for s in SPECIALS[2:]]
        wanted += [dict(content=c, **rules(single_word=.2, lstrip=.4, rstrip=.4, normalized=.5, special=.3))
                   for c in draw.sample(contents, draw.randrange(1, 6))]
        for token in wanted:
            added.append({"id": vocabulary.get(token["content"], free), **token})
            free += token["content"] not in vocabulary
        path = os.path.join(folder, "overlapping.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({**base, "added_tokens": added}, file)
        texts = ["".join(draw.choice(parts) for _ in range(draw.randrange(1, 14))) for _ in range(100)]
        compare(path, list(agreeing(Tokenizer.from_file(path), texts)), "overlapping added tokens")


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
        with open(trained, encoding="utf-8") as file:
            overlapping_tokens(json.load(file), folder)
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
