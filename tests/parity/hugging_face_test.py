"""Log-probabilities agree with transformers to 1e-4, into midfill and out of it."""

import json
import os
import shutil
import tempfile

import torch
from neox import *

TOLERANCE = 1e-4
LENGTHS = [1, 2, 7, CONTEXT, CONTEXT + 1, 3, CONTEXT + 1, 2, 11, 5]


def check(what, found, expected):
    difference = largest_difference(found, expected)
    assert difference <= TOLERANCE, f"{what}: log-probabilities differ by {difference}"
    return difference


def check_export(directory, reference, batch):
    """transformers loads what midfill wrote, to the same model and tokenizer."""
    model, info = GPTNeoXForCausalLM.from_pretrained(directory, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[kind], f"{directory}: {kind} {info[kind]}"
    model.eval()
    for key in ("use_parallel_residual", "rotary_pct", "hidden_act", "tie_word_embeddings"):
        assert getattr(model.config, key) == getattr(reference.config, key), key
    assert model.config.eos_token_id == 0 and model.generation_config.eos_token_id == 0
    for (name, a), (_, b) in zip(model.named_parameters(), reference.named_parameters()):
        assert torch.equal(a, b), f"{name} changed on its way through midfill"
    return check("export", reference_score(model, batch), reference_score(reference, batch))


def check_tokenizer(exported, original):
    ours, theirs = AutoTokenizer.from_pretrained(exported), Tokenizer.from_file(original)
    for text in TEXTS + ["a" + "".join(SPECIAL) + "b", "x<|PRE|>y"]:
        ids = theirs.encode(text).ids
        assert ours(text)["input_ids"] == ids, text
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False), text
    text = TEXTS[1]
    assert ours.decode(ours(text)["input_ids"]) == text, "spaces were cleaned up"
    assert ours.eos_token == "<|endoftext|>" and ours.pad_token == "<|padding|>"
    assert ours.convert_tokens_to_ids("<|MID|>") == theirs.token_to_id("<|MID|>")
    assert set(SENTINELS) <= set(ours.all_special_tokens)


def test_case(root, case):
    hf, run, out = (os.path.join(root, name) for name in ("hf", "run", "out"))
    rows = make_tokenizer(os.path.join(root, "size.json"))
    model = make_model(rows, **case)
    make_directory(hf, model)
    batch = sequences(rows, LENGTHS)
    expected = reference_score(model, batch)
    midfill("import", "--from", hf, "--out", run)
    worst = check("import", score(run, batch), expected)
    midfill("export", "--run", run, "--out", out)
    worst = max(worst, check_export(out, model, batch))
    check_tokenizer(out, os.path.join(hf, "tokenizer.json"))
    print(f"{name_of(case)}: largest difference {worst:.1e}")


def test_directories_need_no_import(root):
    """--model takes a Hugging Face directory, also without a tokenizer, sharded, or in half precision."""
    model = make_model(101, **CASES[0])
    batch = sequences(101, LENGTHS)
    model.save_pretrained(os.path.join(root, "plain"))
    expected = reference_score(model, batch)
    check("plain", score(os.path.join(root, "plain"), batch, "--batch", "1"), expected)
    check("plain", score(os.path.join(root, "plain"), batch, "--batch", "64"), expected)
    model.save_pretrained(os.path.join(root, "shards"), max_shard_size="20KB")
    assert os.path.exists(os.path.join(root, "shards", "model.safetensors.index.json"))
    check("shards", score(os.path.join(root, "shards"), batch), expected)
    for dtype in (torch.float16, torch.bfloat16):
        path = os.path.join(root, str(dtype))
        make_model(101, **CASES[0]).to(dtype).save_pretrained(path)
        rounded = GPTNeoXForCausalLM.from_pretrained(path, torch_dtype=torch.float32).eval()
        check(path, score(path, batch), reference_score(rounded, batch))


def test_every_row_and_every_number_counts(root):
    """A matrix with more rows than the tokenizer has ids is scored as transformers scores it; base and epsilon that
    are not the defaults survive both ways."""
    hf, run, out = (os.path.join(root, name) for name in ("hf", "run", "out"))
    model = make_model(352, **CASES[6], rotary_emb_base=500, layer_norm_eps=1e-3)
    make_directory(hf, model)
    midfill("import", "--from", hf, "--out", run)
    batch = sequences(352, LENGTHS)
    check("padded", score(run, batch), reference_score(model, batch))
    midfill("export", "--run", run, "--out", out)
    check_export(out, model, batch)


def test_sentinels(root):
    """A tokenizer without sentinels imports unchanged; --add-sentinels makes rows for them."""
    hf = os.path.join(root, "hf")
    rows = make_tokenizer(os.path.join(root, "size.json"), sentinels=False)
    model = make_model(rows, **CASES[2])
    make_directory(hf, model, sentinels=False)
    batch = sequences(rows, LENGTHS)
    midfill("import", "--from", hf, "--out", os.path.join(root, "same"))
    check("same", score(os.path.join(root, "same"), batch), reference_score(model, batch))

    grown, out = os.path.join(root, "grown"), os.path.join(root, "out")
    midfill("import", "--from", hf, "--out", grown, "--add-sentinels")
    midfill("export", "--run", grown, "--out", out)
    bigger = GPTNeoXForCausalLM.from_pretrained(out).eval()
    assert bigger.config.vocab_size == rows + 3
    batch = sequences(rows + 3, LENGTHS)
    check("grown", score(grown, batch), reference_score(bigger, batch))
    old, new = model.state_dict(), bigger.state_dict()
    for name in ("gpt_neox.embed_in.weight", "embed_out.weight"):
        assert torch.equal(new[name][:rows], old[name])
        assert (new[name][rows:] - old[name].mean(0)).abs().max() < 0.2
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.convert_tokens_to_ids(SENTINELS) == [rows, rows + 1, rows + 2]
    assert tokenizer("a<|MID|>")["input_ids"][-1] == rows + 2


def test_20b_tokenizer(root):
    """A model with the GPT-NeoX-20B tokenizer and Pythia's 50304 rows: sentinels take rows that were padding."""
    original = os.path.join(os.environ.get("MIDFILL_TEST_DATA", ""), "20B_tokenizer.json")
    if not os.path.exists(original):
        print("skipped: no 20B_tokenizer.json in MIDFILL_TEST_DATA")
        return
    hf, run, out = (os.path.join(root, name) for name in ("hf", "run", "out"))
    model = make_model(50304, **CASES[8])
    model.save_pretrained(hf)
    shutil.copy(original, os.path.join(hf, "tokenizer.json"))
    midfill("import", "--from", hf, "--out", run)
    batch = sequences(50304, LENGTHS)
    check("20B", score(run, batch), reference_score(model, batch))
    midfill("export", "--run", run, "--out", out)
    check_export(out, model, batch)
    ours, theirs = AutoTokenizer.from_pretrained(out), Tokenizer.from_file(original)
    for text in TEXTS:
        assert ours(text)["input_ids"] == theirs.encode(text).ids, text
    assert ours.convert_tokens_to_ids(SENTINELS) == [50277, 50278, 50279]
    assert ours("a<|PRE|>b")["input_ids"] == [66, 50278, 67]


def make_dataset(root, tokenizer):
    text = os.path.join(root, "corpus.jsonl")
    with open(text, "w") as file:
        for i in range(200):
            file.write(json.dumps({"text": f"{i} " + TEXTS[i % 3] * (1 + i % 4)}) + "\n")
    midfill("data", "build", "--tokenizer", tokenizer, "--input", text, "--out", os.path.join(root, "data"))
    return os.path.join(root, "data_train")


def test_trained_runs(root):
    """Runs that midfill trained, from nothing with a padded vocabulary and from an import, mean the same to
    transformers."""
    hf, run, tuned = (os.path.join(root, name) for name in ("hf", "run", "tuned"))
    rows = make_tokenizer(os.path.join(root, "tokenizer.json"))
    train = make_dataset(root, os.path.join(root, "tokenizer.json"))
    config = {
        "model": {"n_layers": 2, "d_model": 32, "n_heads": 4, "d_ff": 72, "n_ctx": CONTEXT, "vocab_multiple": 64},
        "data": {"tokenizer": os.path.join(root, "tokenizer.json"), "train": train},
        "optim": {"lr": 1e-2, "schedule": "constant", "warmup": 0.0},
        "train": {"steps": 5, "batch_tokens": 4 * CONTEXT, "micro_batch": 2, "threads": 1},
        "log": {"tensorboard": False, "peak_tflops": 1.0},
    }
    path = os.path.join(root, "config.json")
    with open(path, "w") as file:
        json.dump(config, file)
    midfill("train", path, "--run", run)
    make_directory(hf, make_model(rows, **CASES[3]))
    midfill("import", "--from", hf, "--out", tuned, "--config", path)
    midfill("train", "--run", tuned, "--resume")
    batch = sequences(rows, LENGTHS)
    for trained in (run, tuned):
        out = trained + "-hf"
        midfill("export", "--run", trained, "--out", out)
        model = GPTNeoXForCausalLM.from_pretrained(out).eval()
        assert model.config.vocab_size == rows, "padded rows were exported"
        check(trained, score(trained, batch), reference_score(model, batch))
        assert os.path.isdir(os.path.join(trained, "step_00000005"))
    before = load_file(os.path.join(hf, "model.safetensors"))["gpt_neox.embed_in.weight"]
    moved = (model.gpt_neox.embed_in.weight.detach() - before).abs().max().item()
    assert 1e-3 < moved < 0.2, f"training moved the imported embedding by {moved}"


def test_refusals(root):
    """Bad input gets one line that names it, and leaves nothing behind."""
    hf, run = os.path.join(root, "hf"), os.path.join(root, "run")
    make_directory(hf, make_model(310, **CASES[0]))
    assert "line 2: 26 ids, expected at most n_ctx + 1 = 25" in refused(
        "score", "--model", hf, text='{"ids": [1, 2]}\n' + json.dumps({"ids": [0] * 26}) + "\n"
    )
    for line, expected in [
        ("[1]", "expected an object with an array"),
        ("{}", "expected an object with an array"),
        ('{"ids": 1}', "expected an object with an array"),
        ('{"ids": []}', "is empty"),
        ('{"ids": [-1]}', "holds -1, expected whole numbers below 310"),
        ('{"ids": [310]}', "holds 310"),
        ('{"ids": [1.5]}', "holds 1.5"),
        ('{"ids": [1]', "not valid JSON"),
    ]:
        message = refused("score", "--model", hf, text=line + "\n")
        assert "line 1" in message and expected in message, message
    assert midfill("score", "--model", hf, text="") == ""
    assert midfill("score", "--model", hf, text='{"ids": [3]}') == '{"logprobs":[]}\n'

    assert "no such directory" in refused("score", "--model", os.path.join(root, "absent"), text="")
    with open(os.path.join(hf, "model.safetensors"), "r+b") as file:
        file.truncate(5000)
    assert "model.safetensors" in refused("import", "--from", hf, "--out", run)
    assert sorted(os.listdir(root)) == ["hf"], "a refused import left something behind"
    os.mkdir(run)
    with open(os.path.join(run, "precious"), "w") as file:
        file.write("x")
    assert "refusing to overwrite" in refused("import", "--from", hf, "--out", run)
    assert os.listdir(run) == ["precious"]
    assert "neither a run" in refused("export", "--run", run, "--out", os.path.join(root, "out"))


tests = [lambda root, case=case: test_case(root, case) for case in CASES]
tests += [
    test_directories_need_no_import,
    test_every_row_and_every_number_counts,
    test_sentinels,
    test_20b_tokenizer,
    test_trained_runs,
    test_refusals,
]
for test in tests:
    with tempfile.TemporaryDirectory() as root:
        test(root)
print(f"{len(tests)} tests passed")
