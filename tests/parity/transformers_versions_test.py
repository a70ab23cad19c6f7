"""What midfill exports means the same to transformers 4 and 5, and what they save again means the same to midfill.
Runs under each; models only where there is a PyTorch for them."""

import json
import os
import shutil
import tempfile

from small_runs import *

os.environ["HF_HUB_OFFLINE"] = "1"
try:
    import transformers
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

try:
    import torch
    from transformers import GPTNeoXForCausalLM

    HAS_MODELS = transformers.utils.is_torch_available()
except ImportError:
    HAS_MODELS = False

transformers.logging.set_verbosity_error()  # texts longer than the model's context
TEXTS = texts()
NO_END = "no end of document"
SENTINELS = ["<|SUF|>", "<|PRE|>", "<|MID|>"]


def make_tokenizers(root):
    """Name -> file. The pipelines differ in what a class of transformers might make anew."""
    path = lambda name: os.path.join(root, name + ".json")
    made = {
        "midfill's own": train_tokenizer(path("own")),
        "GPT-4's pattern, no NFC": bpe(path("gpt4"), split(GPT4)),
        "Qwen 2's pattern": bpe(path("qwen2"), split(QWEN2), normalizers.NFC()),
        "single digits": bpe(path("digits"), [pre_tokenizers.Digits(individual_digits=True), gpt2()]),
        "a space before the text": bpe(path("prefix"), [gpt2(add_prefix_space=True)]),
        "tokens that are no runs of spaces": bpe(path("user"), [gpt2()], normalizers.NFC(), user=["\n\n", "def ", "é"]),
        NO_END: bpe(path("bare"), [gpt2()], special=[]),
        "no post-processor": bpe(path("template"), [gpt2()], post_processor=False),  # 5 gives it a template
    }
    if original_20b():
        made["GPT-NeoX-20B's"] = original_20b()
    return made


def check_tokenizer(what, directory, expected):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    given = tokenizer(TEXTS)
    assert set(given) == {"input_ids", "attention_mask"}, f"{what}: {set(given)}"
    for text, ids, right in zip(TEXTS, given["input_ids"], expected, strict=True):
        assert ids == right, f"{what}: {text!r}: {ids}, expected {right}"
    code = "x = [ 1 , 2 ] ; it 's ! \n"
    if "a space" not in what:
        assert tokenizer.decode(tokenizer(code)["input_ids"]) == code, f"{what}: spaces were cleaned up"
    assert set(SENTINELS) <= set(tokenizer.all_special_tokens), tokenizer.all_special_tokens
    assert tokenizer.decode(tokenizer("a<|SUF|>b")["input_ids"], skip_special_tokens=True).split() in (["ab"], ["a", "b"])
    return tokenizer


def test_tokenizers(root):
    for what, path in make_tokenizers(root).items():
        place = os.path.join(root, what)
        os.mkdir(place)
        out = os.path.join(place, "hf")
        if what == NO_END:  # to train with it is refused; to import it is not
            midfill("export", "--run", train_run(root, os.path.join(root, "own.json"), steps=1), "--out", out + "-own")
            run = os.path.join(place, "run")
            midfill("import", "--from", out + "-own", "--tokenizer", path, "--out", run)
        else:
            run = train_run(place, path, steps=1)
        midfill("export", "--run", run, "--out", out)
        expected = encode(os.path.join(run, "tokenizer.json"), TEXTS)
        tokenizer = check_tokenizer(what, out, expected)
        end = None if what == NO_END else "<|endoftext|>"
        assert tokenizer.eos_token == end and tokenizer.bos_token == end, what
        for config in (AutoConfig.from_pretrained(out), GenerationConfig.from_pretrained(out)):
            assert config.eos_token_id == tokenizer.eos_token_id, f"{what}: {config.eos_token_id}"
            assert config.pad_token_id == tokenizer.pad_token_id, f"{what}: {config.pad_token_id}"

        saved = os.path.join(place, "saved")
        tokenizer.save_pretrained(saved)
        assert encode(os.path.join(saved, "tokenizer.json"), TEXTS) == expected, f"{what}: saved again"
        check_tokenizer(what + ", saved again", saved, expected)
        if tokenizer.pad_token:  # what is left of its use is no part of it
            tokenizer(TEXTS[:9], padding=True, truncation=True, max_length=5)
            tokenizer.save_pretrained(saved)
            assert encode(os.path.join(saved, "tokenizer.json"), TEXTS) == expected, f"{what}: used and saved"
        print(f"{what}: {len(TEXTS)} texts, {sum(map(len, expected))} ids")
        shutil.rmtree(place)


def test_models(root):
    """Shares and bases that are not the defaults, so that one that is lost shows."""
    tokenizer = train_tokenizer(os.path.join(root, "tokenizer.json"))
    shapes = [
        {"rotary_pct": 0.5, "rotary_base": 523.5, "parallel_residual": True, "tied_embeddings": True},
        {"rotary_pct": 1.0, "rotary_base": 10000.0, "activation": "gelu_erf", "layer_norm_eps": 1e-3},
    ]
    for number, shape in enumerate(shapes):
        place = os.path.join(root, str(number))
        os.mkdir(place)
        run, out, saved, back = (os.path.join(place, name) for name in ("run", "hf", "saved", "back"))
        train_run(place, tokenizer, model=shape)
        midfill("export", "--run", run, "--out", out)
        with open(os.path.join(run, "config.json")) as file:
            model = json.load(file)["model"]

        config = AutoConfig.from_pretrained(out)
        if int(transformers.__version__.split(".")[0]) >= 5:
            rope = config.rope_parameters
            found = rope["partial_rotary_factor"], rope["rope_theta"], rope["rope_type"], str(config.dtype)
        else:
            found = config.rotary_pct, config.rotary_emb_base, config.rope_scaling or "default", str(config.torch_dtype)
        assert found == (model["rotary_pct"], model["rotary_base"], "default", found[3]), found
        assert found[3].endswith("float32"), found
        for key, value in {
            "use_parallel_residual": model["parallel_residual"],
            "tie_word_embeddings": model["tied_embeddings"],
            "layer_norm_eps": model["layer_norm_eps"],
            "max_position_embeddings": model["n_ctx"],
            "hidden_act": "gelu" if model["activation"] == "gelu_erf" else "gelu_pytorch_tanh",
            "attention_bias": True,
        }.items():
            assert getattr(config, key) == value, f"{key}: {getattr(config, key)}"

        batch = [ids[:100] for ids in encode(tokenizer, TEXTS[:50]) if len(ids) > 1]
        expected = score(run, batch)
        AutoTokenizer.from_pretrained(out).save_pretrained(saved)
        if HAS_MODELS:
            worst = 0.0
            loaded = GPTNeoXForCausalLM.from_pretrained(out).eval()
            with torch.no_grad():
                for ids, logprobs in zip(batch, expected, strict=True):
                    result = loaded(torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1)
                    given = result.gather(-1, torch.tensor(ids)[1:, None])[:, 0].tolist()
                    for a, b in zip(given, logprobs, strict=True):
                        assert abs(a - b) <= 1e-4, f"log-probabilities {a} and {b}"
                        worst = max(worst, abs(a - b))
            print(f"log-probabilities within {worst:.1e}")
            loaded.save_pretrained(saved, safe_serialization=True)
        else:
            config.save_pretrained(saved)
            shutil.copy(os.path.join(out, "model.safetensors"), saved)
        midfill("import", "--from", saved, "--out", back)
        with open(os.path.join(back, "config.json")) as file:
            again = json.load(file)["model"]
        unlike = {key for key in model if again[key] != model[key]}
        assert unlike <= {"init"}, f"{unlike} changed on the way"
        assert score(back, batch) == expected, "scores changed on the way"
        print(f"{shape}: {len(batch)} sequences, the same scores after transformers saved it again")


def main():
    print(f"transformers {transformers.__version__}, {'with' if HAS_MODELS else 'without'} models")
    for test in (test_tokenizers, test_models):
        with tempfile.TemporaryDirectory() as root:
            test(root)


main()
