#!/usr/bin/env python3
"""A corpus of any size for measuring the data path: the same bytes for the same --seed and --bytes.

Documents of prose (words by Zipf's law, sentences, paragraphs) and of code (indented lines, identifiers, numbers, strings,
comments), some of it accented, Cyrillic, Chinese and emoji; lengths are spread over three orders of magnitude. Every document has words of
its own. Nothing beyond Python's standard library; .zst needs the program zstd.

    scripts/synthetic_corpus.py --bytes 10G --out corpus.jsonl.zst
"""

import argparse
import gzip
import itertools
import json
import os
import random
import subprocess
import sys

FRAME_BYTES = 256 << 20  # of text in one zstd frame or gzip member
UNITS = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
ONSETS = "b br c ch d dr f fl g gr h j k l m n p pl qu r s sh st str t th tr v w y z".split()
VOWELS = "a e i o u ai ea ee ie oa oo ou".split()
ENDS = ["", "", "", "n", "r", "s", "t", "l", "nd", "st", "ck", "ng", "ment", "tion", "ing", "er", "ly"]
SCRIPTS = ["äöüßéèêñçåø", "абвгдежзиклмнопрстуфхцчшыэюя", "的一是不了人我在有他这为之大来以个中上们时到说国和地",
           "あいうえおかきくけこさしすせそ", "αβγδεζηθικλμνξοπρστυφχψω"]
EMOJI = ["\U0001f600", "\U0001f680", "\u2764\ufe0f", "\U0001f468\u200d\U0001f4bb"]


def size(text):
    number, unit = (text[:-1], UNITS[text[-1]]) if text[-1:] in UNITS else (text, 1)
    return int(float(number) * unit)


class Corpus:
    """A pool of words and lines made once, from which documents are drawn."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        words = sorted({self.word() for _ in range(60_000)})
        words.sort(key=lambda word: len(word) + 8 * self.rng.random())  # frequent ones are short
        for place in range(20, len(words), 50):  # every fiftieth is of another script
            script = self.rng.choice(SCRIPTS)
            words[place] = "".join(self.rng.choices(script, k=self.rng.randrange(1, 9)))
        self.words = words
        self.weights = list(itertools.accumulate(1 / (rank + 2.7) for rank in range(len(words))))
        self.sentences = [self.sentence() for _ in range(60_000)]
        self.statements = [self.statement() for _ in range(60_000)]

    def word(self):
        rng = self.rng
        return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.choice((1, 1, 2, 2, 3)))) + rng.choice(ENDS)

    def draw(self, count):
        return self.rng.choices(self.words, cum_weights=self.weights, k=count)

    def sentence(self):
        words = self.draw(self.rng.randrange(4, 24))
        if self.rng.random() < 0.3:
            words[self.rng.randrange(len(words) - 1)] += ","
        if self.rng.random() < 0.02:
            words.append(self.rng.choice(EMOJI))
        text = " ".join(words)
        return text[:1].upper() + text[1:] + self.rng.choice("....?!;:")

    def name(self):
        parts = self.draw(self.rng.choice((1, 1, 2, 2, 3)))
        return self.rng.choice(("_".join(parts), parts[0] + "".join(p.title() for p in parts[1:])))

    def statement(self):
        a, b, c = self.name(), self.name(), self.name()
        number = self.rng.choice((0, 1, 2, self.rng.randrange(100), self.rng.randrange(10**6), hex(self.rng.randrange(2**32))))
        return self.rng.choice((
            f"{a} = {b}({c}, {number})", f"if {a} < {number}:", f"for {a} in range(len({b})):", f"return {a}.{b} + {c}",
            f"{a}->{b}[{c}] = {number};", f"while ({a} != {b}) {{", f'print("{" ".join(self.draw(4))}", {a})',
            f"# {' '.join(self.draw(8))}", f"const auto& {a} = {b}.{c}();", f"std::vector<{a}> {b}({number});", "}", "",
            f"def {a}(self, {b}, {c}={number}):", f"static int {a}(struct {b} *{c})"))

    def document(self, number):
        rng = self.rng
        count = min(int(rng.lognormvariate(3.2, 1.3)) + 1, 20_000)  # lines; the median is 25
        if number % 2:
            lines = rng.choices(self.statements, k=count)
            depths = rng.choices(("", "    ", "    ", "        ", "\t", "\t\t", "            "), k=count)
            lines = list(map(str.__add__, depths, lines))
            mark = f"def {self.name()}_{number}(): # {rng.getrandbits(64):x}"
        else:
            lines = [" ".join(group) for group in zip(*[iter(rng.choices(self.sentences, k=3 * count))] * 3)]
            mark = f"{self.name()} {number}. {rng.getrandbits(64):x}\n"
        return mark + "\n" + "\n".join(lines) + "\n"


class Output:
    """A file of lines, compressed by the end of its name, in several frames or members."""

    def __init__(self, path):
        self.path, self.process, self.file, self.frame = path, None, None, 0
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        open(path, "wb").close()

    def write(self, data):
        if self.file is None or self.frame > FRAME_BYTES and not self.path.endswith(".jsonl"):
            self.close()
            self.frame = 0
            if self.path.endswith(".zst"):
                with open(self.path, "ab") as target:
                    self.process = subprocess.Popen(["zstd", "-q", "-3", "-c"], stdin=subprocess.PIPE, stdout=target)
                self.file = self.process.stdin
            else:
                self.file = gzip.open(self.path, "ab", 3) if self.path.endswith(".gz") else open(self.path, "ab")
        self.file.write(data)
        self.frame += len(data)

    def close(self):
        if self.file:
            self.file.close()
            self.file = None
        if self.process and self.process.wait() != 0:
            sys.exit(f"{self.path}: zstd failed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=size, default="1G", help="of text: a number, or 500M, 10G (decimal); default 1G")
    parser.add_argument("--out", required=True, help="FILE.jsonl, FILE.jsonl.zst or FILE.jsonl.gz")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.out.endswith((".jsonl", ".jsonl.zst", ".jsonl.gz")):
        parser.error("--out: expected a name that ends in .jsonl, .jsonl.zst or .jsonl.gz")
    corpus, output = Corpus(arguments.seed), Output(arguments.out)
    written = documents = 0
    lines = []
    while written < arguments.bytes:
        text = corpus.document(documents)
        line = {"text": text, "meta": {"id": documents, "kind": "code" if documents % 2 else "prose"}}
        lines.append(json.dumps(line, ensure_ascii=documents % 4 == 0))
        written += len(text.encode())
        documents += 1
        if len(lines) == 1000 or written >= arguments.bytes:
            output.write(("\n".join(lines) + "\n").encode())
            lines.clear()
    output.close()
    print(f"{arguments.out}: {documents} documents, {written} bytes of text")


if __name__ == "__main__":
    main()
