"""What the tests of exports share: tokenizers of several pipelines, texts, and runs that midfill trains in a moment.
Needs the package tokenizers, of any version, and no PyTorch."""

import functools
import glob
import json
import os
import random
import subprocess
import sys

try:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SPECIAL = ["<|endoftext|>", "<|padding|>"]
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
QWEN2, LLAMA3 = (
    CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|" + numbers + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    for numbers in (r"\p{N}", r"\p{N}{1,3}")
)
GPT4 = (
    CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)


def midfill(*arguments, text=None):
    """Standard output of a midfill command that must succeed."""
    done = run_midfill(*arguments, text=text)
    assert done.returncode == 0, f"midfill {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def run_midfill(*arguments, text=None, environment=None):
    return subprocess.run(
        [os.environ["MIDFILL_BINARY"], *arguments], input=text, capture_output=True, encoding="utf-8", timeout=600,
        env=os.environ | (environment or {}),
    )


def refused(*arguments, environment=None):
    """The one line that a midfill command prints when it refuses."""
    done = run_midfill(*arguments, environment=environment)
    assert done.returncode != 0, f"midfill {' '.join(arguments)} succeeded"
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("midfill: "), done.stderr
    return lines[0]


@functools.cache
def corpus():
    """What is learnt from: code and prose that stay the same when this repository changes."""
    sys.path.insert(0, os.path.join(ROOT, "scripts"))
    from synthetic_corpus import Corpus

    made = Corpus(1)
    return [made.document(number) for number in range(120)]


def sources():
    """The text of files of this repository."""
    names = sorted(glob.glob(os.path.join(ROOT, "src", "*", "*.cpp")) + glob.glob(os.path.join(ROOT, "docs", "*.md")))
    texts = []
    for name in names:
        with open(name, encoding="utf-8", newline="") as file:
            texts.append(file.read())
    return texts


def texts():
    """Some thousand: lines and pieces of source code, and whatever characters."""
    draw = random.Random(5)
    lines = [line for text in sources() for line in text.splitlines(keepends=True)]
    found = draw.sample(lines, 2000)
    for text in draw.choices(sources(), k=300):
        begin = draw.randrange(len(text))
        found.append(text[begin : begin + draw.randrange(400)])
    alphabet = "abcXYZ 019 \n\t\r'.,;(){}=<>-_\"\\/|é̂ßñ—“ \u00a0\u3000數据こんにちは한국어नमस्ते🙂👍🏽½²ⅷ٣"
    found += ["".join(draw.choices(alphabet, k=draw.randrange(1, 60))) for _ in range(1500)]
    found += ["".join(chr(draw.choice((draw.randrange(0xD800), draw.randrange(0xE000, 0x20000)))) for _ in range(20))
              for _ in range(200)]
    found += [" " * n + after for n in range(60) for after in ("", "x", "\n", "'s", "1", "\u3000y")]
    found += ["don't DON'T we'LL it's 'tis", "1234567 3.14159 12,345", "a\r\nb\r\n\r\nc\rd", "a<|endoftext|>b", "\x00\x01\x7f"]
    return found


def bpe(path, steps, normalizer=None, special=SPECIAL, user=(), vocab_size=900, post_processor=True, ignore_merges=False):
    """Trains a byte-level BPE with this pipeline."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True) if ignore_merges else models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    if post_processor:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus()[:40], trainer)
    if user:
        tokenizer.add_tokens(list(user))
    tokenizer.save(path)
    return path


def split(pattern):
    return [
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]


def gpt2(add_prefix_space=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)


def train_tokenizer(path, vocab_size=900):
    """midfill's own."""
    text = os.path.join(os.path.dirname(path), "corpus.jsonl")
    write_jsonl(text, ({"text": document} for document in corpus()))
    midfill("tokenizer", "train", "--input", text, "--vocab-size", str(vocab_size), "--out", path)
    return path


def original_20b():
    """The path of GPT-NeoX-20B's tokenizer, or nothing."""
    path = os.path.join(os.environ.get("MIDFILL_TEST_DATA", ""), "20B_tokenizer.json")
    return path if os.path.exists(path) else None


def encode(tokenizer, several, special=True):
    """midfill's ids of texts."""
    options = [] if special else ["--no-special"]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in several)
    out = midfill("tokenizer", "encode", "--tokenizer", tokenizer, "--jsonl", *options, text=lines)
    return [json.loads(line)["ids"] for line in out.splitlines()]


def write_jsonl(path, objects):
    with open(path, "w") as file:
        file.writelines(json.dumps(o) + "\n" for o in objects)


def write_json(path, value):
    with open(path, "w") as file:
        json.dump(value, file)
    return path


def train_run(root, tokenizer, model=None, fim=None, steps=2, name="run"):
    """A run under root, of a model that is small and barely trained: its sizes matter more than what it says."""
    text = os.path.join(root, "train.jsonl")
    write_jsonl(text, ({"text": document[:20000]} for document in corpus()))
    data = os.path.join(root, "set")
    midfill("data", "build", "--tokenizer", tokenizer, "--input", text, "--valid-fraction", "0", "--out", data)
    config = {
        "seed": 3,
        "model": {"n_layers": 2, "d_model": 32, "n_heads": 4, "d_ff": 72, "n_ctx": 128} | (model or {}),
        "data": {"tokenizer": tokenizer, "train": data + "_train"},
        "fim": {"rate": 0.9, "psm": 1, "spm1": 0, "spm2": 0} | (fim or {}),
        "optim": {"lr": 2e-3, "schedule": "constant", "warmup": 0.0},
        "train": {"steps": steps, "batch_tokens": 1024, "micro_batch": 8, "threads": 1},
        "log": {"tensorboard": False, "peak_tflops": 1.0},
    }
    run = os.path.join(root, name)
    midfill("train", write_json(run + "-config.json", config), "--run", run)
    for suffix in (".bin", ".idx"):
        os.remove(data + "_train" + suffix)
    return run


def score(model, batch):
    lines = "".join(json.dumps({"ids": ids}) + "\n" for ids in batch)
    out = midfill("score", "--model", model, "--threads", "1", text=lines)
    return [json.loads(line)["logprobs"] for line in out.splitlines()]
