"""llama.cpp's server, on a GGUF file of a run, gives midfill's token ids, midfill's log-probabilities and midfill's greedy
infilling."""

import json
import os
import random
import tempfile
import unicodedata
import urllib.request

from small_runs import *

try:
    import xllamacpp
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

CONTEXT, NEW = 128, 12
# In log-probability. llama.cpp takes the GELU from a table in f16; to round it so in PyTorch moves these models' by as much.
LARGEST, MEAN = {"f32": 1e-3, "f16": 5e-3, "bf16": 5e-2}, {"f32": 3e-4, "f16": 6e-4, "bf16": 6e-3}
# It keeps a prompt's last 3/4 of a batch of prefix and its first 1/4 less 2 of suffix; midfill shortens otherwise.
MOST_SUFFIX, MOST_PREFIX = CONTEXT // 4 - 2, CONTEXT - NEW - 3 - CONTEXT // 4


class Server:
    """On a free port of this machine alone, until the end of `with`."""

    def __init__(self, model):
        parameters = xllamacpp.CommonParams()
        parameters.model.path = model
        parameters.hostnames = ["127.0.0.1"]
        parameters.port = 0
        parameters.n_ctx = CONTEXT
        parameters.n_parallel = 1
        parameters.n_gpu_layers = 0
        parameters.warmup = False
        parameters.cpuparams.n_threads = 1
        parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.parameters = parameters

    def __enter__(self):
        self.server = xllamacpp.Server(self.parameters)
        assert self.server.listening_address.startswith("http://127.0.0.1:"), self.server.listening_address
        return self

    def __exit__(self, *error):
        del self.server

    def post(self, path, **body):
        request = urllib.request.Request(
            self.server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())

    def ids(self, text):
        return self.post("/tokenize", content=text, add_special=False, parse_special=False)["tokens"]

    def greedy(self, path, **body):
        """Ids, with the EOD where it came; place and log-probability of most of them; and the text. There is none for a
        token that ends within a character."""
        given = self.post(path, n_predict=NEW, temperature=0, n_probs=1, cache_prompt=False, return_tokens=True, **body)
        ids, places, place = given["tokens"], [], 0
        for token in given["completion_probabilities"]:
            place = ids.index(token["id"], place) + 1
            places.append((place - 1, token["logprob"]))
        assert len(places) >= len(ids) // 2, given
        return ids, places, given["content"]


def holes(tokenizer):
    """Prefixes and suffixes of lines, cut between characters, that neither midfill nor llama.cpp has to shorten."""
    draw, found = random.Random(7), []
    while len(found) < 60:
        text = unicodedata.normalize("NFC", draw.choice(corpus()))
        at = draw.randrange(len(text))
        found.append((text[max(0, at - draw.randrange(1, 250)) : at], text[at : at + draw.randrange(1, 70)]))
    found += [("", "x\n"), ("def f(x):\n    ", ""), ("    ", "    "), ("naïve café 数据", "– end\n")]
    lengths = [(len(p), len(s)) for p, s in zip(*(encode(tokenizer, side, special=False) for side in zip(*found)))]
    return [hole for hole, (p, s) in zip(found, lengths) if p <= MOST_PREFIX and s <= MOST_SUFFIX]


def midfill_greedy(root, run, several, mode):
    """Ids of each hole's middle, with the EOD where it came, the ids before it and the text."""
    tasks = os.path.join(root, "tasks.jsonl")
    write_jsonl(tasks, ({"task_id": str(i), "prompt": p, "suffix": s} for i, (p, s) in enumerate(several)))
    out = midfill("infill", "--model", run, "--jsonl", tasks, "--mode", mode, "--json", "--max-new-tokens", str(NEW), "--threads", "1")
    filled = [json.loads(line) for line in out.splitlines()]
    assert not any(f["dropped_prefix_tokens"] + f["dropped_suffix_tokens"] for f in filled)
    return [(f["tokens"] + [0] * f["ended"], f["completion"]) for f in filled]


def same_or_tied(run, prompt, ours, theirs):
    """Whether two greedy continuations are the same up to a place where both tokens are as probable, to rounding."""
    for place, (a, b) in enumerate(zip(ours, theirs)):
        if a != b:
            at = prompt + ours[:place]
            first, second = (logprobs[-1] for logprobs in score(run, [at + [a], at + [b]]))
            return abs(first - second) <= LARGEST["f32"]
    return len(ours) == len(theirs)


def test_infilling(root):
    tokenizer = train_tokenizer(os.path.join(root, "tokenizer.json"))
    sentinels = dict(zip(("suf", "pre", "mid"), encode(tokenizer, ["<|SUF|><|PRE|><|MID|>"])[0]))
    several = holes(tokenizer)
    prefixes, suffixes = (encode(tokenizer, side, special=False) for side in zip(*several))
    shapes = {
        "psm": {"d_model": 64, "n_layers": 2, "rotary_pct": 0.5, "rotary_base": 523.5, "tied_embeddings": True},
        "spm1": {"d_model": 60, "n_layers": 3, "n_heads": 3, "parallel_residual": True, "vocab_multiple": 64, "layer_norm_eps": 1e-4},
    }
    for mode, shape in shapes.items():
        fim = {"psm": mode == "psm", "spm1": mode == "spm1"}
        run = train_run(root, tokenizer, model=shape, fim={k: int(v) for k, v in fim.items()}, steps=200, name=mode)
        ours = midfill_greedy(root, run, several, mode)
        for dtype in ("f32", "f16", "bf16"):
            file = os.path.join(root, f"{mode}-{dtype}.gguf")
            midfill("export", "--format", "gguf", "--dtype", dtype, "--run", run, "--out", file)
            errors, equal, tied = [], 0, 0
            with Server(file) as server:
                for (prefix, suffix), p, s, (tokens, text) in zip(several, prefixes, suffixes, ours, strict=True):
                    assert server.ids(prefix) == p and server.ids(suffix) == s, f"{(prefix, suffix)!r}: other ids"
                    if mode == "psm":
                        prompt = [sentinels["pre"], *p, sentinels["suf"], *s, sentinels["mid"]]
                        given, places, content = server.greedy("/infill", input_prefix=prefix, input_suffix=suffix)
                    else:  # what /infill builds with --spm-infill, a flag that this wheel cannot set
                        prompt = [sentinels["suf"], *s, sentinels["pre"], *p, sentinels["mid"]]
                        given, places, content = server.greedy("/completion", prompt=prompt)
                    expected = score(run, [prompt + given])[0][len(prompt) - 1 :]
                    errors += [abs(logprob - expected[place]) for place, logprob in places]
                    if given == tokens:
                        equal += 1
                        assert content == text or "\ufffd" in text, f"{content!r}, expected {text!r}"
                    elif dtype == "f32":
                        assert same_or_tied(run, prompt, tokens, given), f"{prompt}: {given}, expected {tokens}"
                        tied += 1
            worst, mean = max(errors), sum(errors) / len(errors)
            assert worst <= LARGEST[dtype] and mean <= MEAN[dtype], f"{mode}, {dtype}: log-probabilities differ by {worst}, {mean}"
            enough = len(several) * (1 if dtype == "f32" else 0.8)
            assert equal + tied >= enough, f"{mode}, {dtype}: {equal} of {len(several)} completions are equal"
            print(f"{mode}, {dtype}: {equal} of {len(several)} greedy completions equal ({tied} ties), "
                  f"log-probabilities within {worst:.1e}, {mean:.1e} on average")
        kinds = len({text for _, text in ours})
        assert kinds > 10, f"{kinds} completions of {len(several)}: the model says the same everywhere"


def test_ids(root):
    """Every pipeline that has a name in llama.cpp, on texts in NFC."""
    path = lambda name: os.path.join(root, name + ".json")
    made = {
        "gpt-2": train_tokenizer(path("gpt-2")),
        "starcoder": bpe(path("starcoder"), [pre_tokenizers.Digits(individual_digits=True), gpt2()], user=["\n\n", "def "]),
        "qwen2": bpe(path("qwen2"), split(QWEN2), normalizers.NFC()),
        "smaug-bpe": bpe(path("smaug-bpe"), split(LLAMA3)),
        "llama-bpe": bpe(path("llama-bpe"), split(LLAMA3), ignore_merges=True),
    }
    if original_20b():
        made["gpt-2, the 20B tokenizer"] = original_20b()
    several = [unicodedata.normalize("NFC", text) for text in texts()]
    for name, tokenizer in made.items():
        run, file = train_run(root, tokenizer, steps=1, name=name), os.path.join(root, name + ".gguf")
        midfill("export", "--format", "gguf", "--run", run, "--out", file)
        differ = []
        with Server(file) as server:
            assert server.post("/tokenize", content="a<|SUF|>", parse_special=True)["tokens"][-1] == encode(
                os.path.join(run, "tokenizer.json"), ["<|SUF|>"])[0][0]
            for text, ids in zip(several, encode(tokenizer, several, special=False), strict=True):
                if server.ids(text) != ids:
                    differ.append((text, server.ids(text), ids))
        print(f"{name}: {len(several) - len(differ)} of {len(several)} texts have the same ids")
        assert not differ, differ[:3]


def test_what_is_never_sampled(root):
    """At a temperature at which all tokens are alike, none is drawn that midfill never draws."""
    tokenizer = train_tokenizer(os.path.join(root, "tokenizer.json"), vocab_size=600)
    never = {ids[0] for ids in encode(tokenizer, ["<|SUF|>", "<|PRE|>", "<|MID|>", "<|padding|>"])}
    file, drawn, ended = os.path.join(root, "file.gguf"), [], 0
    midfill("export", "--format", "gguf", "--run", train_run(root, tokenizer, steps=1), "--out", file)
    with Server(file) as server:
        for seed in range(60):
            given = server.post("/completion", prompt=[2], n_predict=100, seed=seed, temperature=1e4, top_k=0, top_p=1,
                                min_p=0, return_tokens=True)
            drawn += given["tokens"]
            ended += given["stop_type"] == "eos"
            assert (0 in given["tokens"]) == (given["tokens"][-1] == 0) == (given["stop_type"] == "eos"), given
            assert "<|endoftext|>" not in given["content"], given
    assert len(drawn) > 4000 and len(set(drawn)) > 550 and ended > 0, f"{len(drawn)} tokens, {len(set(drawn))} kinds, {ended} ended"
    assert not never & set(drawn), f"{never & set(drawn)} were drawn"
    print(f"{len(drawn)} random tokens of {len(set(drawn))} kinds, none of {sorted(never)}")


def main():
    for test in (test_ids, test_infilling, test_what_is_never_sampled):
        with tempfile.TemporaryDirectory() as root:
            test(root)


main()
