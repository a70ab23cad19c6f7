"""What the parity tests share: random GPTNeoX models, a tiny tokenizer, calls of the midfill binary."""

import itertools
import json
import os
import subprocess
import sys

try:
    import torch
    from safetensors.torch import load_file
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import AutoTokenizer, GPTNeoXConfig, GPTNeoXForCausalLM
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

torch.set_num_threads(1)  # the models are tiny
torch.manual_seed(0)

SPECIAL = ["<|endoftext|>", "<|padding|>"]
SENTINELS = ["<|SUF|>", "<|PRE|>", "<|MID|>"]
TEXTS = [
    "def f(x):\n    return x + 1  # twice  spaced\n",
    "It's  a test , isn't it ? Yes .\n\n\tTabs\tand\r\nlines  \n",
    "naïve café 数据 \U0001f600 x̂ – end",
    "",
    "  leading and trailing  ",
]
CONTEXT = 24

# {sequential, parallel} x {rotary 0.25, 1.0} x {tanh, erf} x {tied, untied}
CASES = [
    dict(use_parallel_residual=parallel, rotary_pct=rotary, hidden_act=act, tie_word_embeddings=tied)
    for parallel, rotary, act, tied in itertools.product(
        [False, True], [0.25, 1.0], ["gelu_pytorch_tanh", "gelu"], [False, True]
    )
]


def name_of(case):
    return "{} residual, rotary {}, {}, {}".format(
        "parallel" if case["use_parallel_residual"] else "sequential",
        case["rotary_pct"],
        case["hidden_act"],
        "tied" if case["tie_word_embeddings"] else "untied",
    )


def make_tokenizer(path, sentinels=True):
    """Trains a small byte-level BPE; returns the number of its ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL + (SENTINELS if sentinels else []),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    tokenizer.save(path)
    return tokenizer.get_vocab_size()


def make_model(vocab_size, **case):
    """A model whose every parameter is random, so that each one matters in a comparison."""
    config = GPTNeoXConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=72,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
        **case,
    )
    model = GPTNeoXForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.2)
    return model


def make_directory(path, model, **tokenizer_options):
    model.save_pretrained(path, safe_serialization=True)
    make_tokenizer(os.path.join(path, "tokenizer.json"), **tokenizer_options)


def sequences(vocab_size, lengths):
    return [torch.randint(0, vocab_size, (length,)).tolist() for length in lengths]


def midfill(*arguments, text=None):
    """Standard output of a midfill command that must succeed."""
    done = subprocess.run(
        [os.environ["MIDFILL_BINARY"], *arguments], input=text, capture_output=True, text=True
    )
    assert done.returncode == 0, f"midfill {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def refused(*arguments, text=None):
    """The one line that a midfill command prints when it refuses."""
    done = subprocess.run(
        [os.environ["MIDFILL_BINARY"], *arguments], input=text, capture_output=True, text=True
    )
    assert done.returncode != 0, f"midfill {' '.join(arguments)} succeeded"
    lines = done.stderr.splitlines()
    assert lines and lines[-1].startswith("midfill: "), done.stderr
    return lines[-1]


def score(directory, batch, *options):
    lines = "".join(json.dumps({"ids": ids}) + "\n" for ids in batch)
    out = midfill("score", "--model", directory, "--threads", "1", *options, text=lines)
    return [json.loads(line)["logprobs"] for line in out.splitlines()]


def reference_score(model, batch):
    result = []
    with torch.no_grad():
        for ids in batch:
            ids = torch.tensor([ids])
            logprobs = model(ids).logits[0, :-1].double().log_softmax(-1)
            result.append(logprobs.gather(-1, ids[0, 1:, None])[:, 0].tolist())
    return result


def largest_difference(a, b):
    """NaN where shapes differ, so that `not difference <= tolerance` fails."""
    if [len(x) for x in a] != [len(x) for x in b]:
        return float("nan")
    return max((abs(x - y) for p, q in zip(a, b) for x, y in zip(p, q)), default=0.0)
