"""midfill generate and infill against a plain greedy loop over transformers, and what their options promise."""

import gzip
import json
import os
import tempfile

import torch
from neox import *

NEW = 7
PREFIX, SUFFIX = "f(x) re", " + 1\n"


def write(path, text):
    with open(path, "w", newline="") as file:
        file.write(text)
    return path


def greedy(model, prompt, banned, steps=NEW):
    """Tokens, whether the EOD came, and the mean log-probability, EOD included."""
    ids, logprobs = list(prompt), []
    with torch.no_grad():
        for _ in range(steps):
            logits = model(torch.tensor([ids])).logits[0, -1].double()
            allowed = logits.clone()
            allowed[banned] = -torch.inf
            ids.append(int(allowed.argmax()))
            logprobs.append(float(logits.log_softmax(-1)[ids[-1]]))
            if ids[-1] == 0:
                break
    ended = ids[-1] == 0
    return ids[len(prompt) : -1 if ended else None], ended, sum(logprobs) / len(logprobs)


def setting(root, **case):
    rows = make_tokenizer(os.path.join(root, "size.json"))
    model = make_model(rows, **case)
    make_directory(os.path.join(root, "hf"), model)
    tokenizer = Tokenizer.from_file(os.path.join(root, "hf", "tokenizer.json"))
    banned = [tokenizer.token_to_id(t) for t in ["<|padding|>"] + SENTINELS]
    return model, tokenizer, banned


def ids_of(tokenizer, text):
    return tokenizer.encode(text).ids


def check(what, found, expected):
    tokens, ended, mean = expected
    assert found["tokens"] == tokens, f"{what}: {found['tokens']}, expected {tokens}"
    assert found["ended"] == ended, what
    assert abs(found["mean_logprob"] - mean) <= 1e-4, f"{what}: {found['mean_logprob']}, expected {mean}"


def infill(root, *options):
    arguments = ["infill", "--model", os.path.join(root, "hf"), "--threads", "1", "--max-new-tokens", str(NEW)]
    return midfill(*arguments, *options)


def test_greedy_is_that_of_transformers(root, case):
    model, tokenizer, banned = setting(root, **case)
    for prompt in ("def f(x):", "é", ""):
        out = midfill("generate", "--model", os.path.join(root, "hf"), "--prompt", prompt, "--max-new-tokens", str(NEW),
                      "--threads", "1", "--json")
        check(prompt, json.loads(out), greedy(model, ids_of(tokenizer, prompt) or [0], banned))

    suf, pre, mid = (tokenizer.token_to_id(t) for t in SENTINELS)
    p, s = ids_of(tokenizer, PREFIX), ids_of(tokenizer, SUFFIX)
    layouts = {
        "psm": [pre, *p, suf, *s, mid],
        "spm1": [suf, *s, pre, *p, mid],
        "spm2": [pre, suf, *s, mid, *p],
    }
    room = CONTEXT - NEW - 3
    assert len(p) + len(s) <= room - 1, "the example must fit"
    files = ["--prefix-file", write(os.path.join(root, "p"), PREFIX), "--suffix-file", write(os.path.join(root, "s"), SUFFIX)]
    for mode, prompt in layouts.items():
        for start in ([], [0]):
            options = ["--json", "--mode", mode] + ["--document-start"] * len(start)
            found = json.loads(infill(root, *files, *options))
            check(mode, found, greedy(model, start + prompt, banned))
            assert found["prompt_tokens"] == len(start + prompt)
            assert found["dropped_prefix_tokens"] == found["dropped_suffix_tokens"] == 0

    long = "abcdefghij" * 4
    found = json.loads(infill(root, "--json", "--file", write(os.path.join(root, "long"), long + "<FILL>" + long)))
    q = ids_of(tokenizer, long)
    left, right = (room + 1) // 2, room // 2
    check("trimmed", found, greedy(model, [pre, *q[-left:], suf, *q[:right], mid], banned))
    assert found["dropped_prefix_tokens"] == len(q) - left and found["dropped_suffix_tokens"] == len(q) - right


def test_all_forms_agree(root):
    setting(root, **CASES[0])
    tasks = [{"task_id": f"t/{i}", "prompt": PREFIX[: 1 + i], "suffix": SUFFIX, "test": "..."} for i in range(5)]
    lines = "".join(json.dumps(task) + "\n" for task in tasks)
    jsonl = write(os.path.join(root, "tasks.jsonl"), lines)
    with gzip.open(jsonl + ".gz", "wt") as file:
        file.write(lines)
    plain = infill(root, "--jsonl", jsonl)
    assert [json.loads(line)["task_id"] for line in plain.splitlines()] == [task["task_id"] for task in tasks]
    assert all(set(json.loads(line)) == {"task_id", "completion"} for line in plain.splitlines())
    assert infill(root, "--jsonl", jsonl + ".gz") == plain
    out = os.path.join(root, "out.jsonl")
    assert infill(root, "--jsonl", jsonl, "--out", out) == ""
    assert open(out).read() == plain
    for task, line in zip(tasks, plain.splitlines()):
        mark = write(os.path.join(root, "hole"), task["prompt"] + "<FILL>" + task["suffix"])
        assert json.loads(infill(root, "--file", mark, "--json"))["completion"] == json.loads(line)["completion"]

    sampling = ["--jsonl", jsonl, "--temperature", "1", "--top-p", "0.95", "--samples", "3"]
    sampled = infill(root, *sampling)
    assert len(sampled.splitlines()) == 15 and len(set(sampled.splitlines())) > 5
    assert infill(root, *sampling) == sampled
    assert infill(root, *sampling, "--batch", "1") == sampled
    assert infill(root, *sampling, "--seed", "9") != sampled

    detailed = [json.loads(x) for x in infill(root, *sampling, "--best-of", "4", "--batch", "3", "--json").splitlines()]
    single = [json.loads(x) for x in infill(root, *sampling[:-1], "12", "--json").splitlines()]
    for i, best in enumerate(detailed):
        group = single[4 * i : 4 * i + 4]  # completion s of a task chooses among candidates 4 s ... 4 s + 3
        expected = max(group, key=lambda c: (c["ended"], c["mean_logprob"]))
        assert best["tokens"] == expected["tokens"], i


def test_wrong_use_is_one_line_and_leaves_nothing(root):
    setting(root, **CASES[0])
    hf, out = os.path.join(root, "hf"), os.path.join(root, "out.jsonl")
    path = lambda name, text: write(os.path.join(root, name), text)
    good = json.dumps({"task_id": "a", "prompt": "p", "suffix": "s"}) + "\n"
    jsonl, hole = path("tasks.jsonl", good), path("hole", "a<FILL>b")
    base = ["infill", "--model", hf]
    cases = [
        (base, "expected one of --file"),
        (base + ["--file", hole, "--jsonl", jsonl], "expected one of --file"),
        (base + ["--file", path("none", "ab")], "none: no <FILL> mark"),
        (base + ["--file", path("two", "a<FILL>\nb<FILL>")], "two: <FILL> marks in lines 1 and 2, expected one"),
        (base + ["--file", os.path.join(root, "absent")], "absent"),
        (base + ["--file", hole, "--out", out], "--out goes with --jsonl"),
        (base + ["--file", hole, "--mode", "ar"], "mode ar: expected psm, spm1 or spm2"),
        (base + ["--file", hole, "--temperature", "-1"], "temperature -1"),
        (base + ["--file", hole, "--top-p", "0"], "top-p 0"),
        (base + ["--file", hole, "--best-of", "2"], "set a temperature above 0"),
        (base + ["--file", hole, "--samples", "2", "--temperature", "1"], "--samples 2 needs --json"),
        (base + ["--file", hole, "--max-new-tokens", "24"], "max-new-tokens 24: expected 1 to 23"),
        (base + ["--file", hole, "--max-new-tokens", "22"], "no room for text"),
        (base + ["--file", hole, "--examples", "1"], "expected one of --file"),
        (base + ["--examples", "1"], "--examples needs a run"),
        (base + ["--file", hole, "--device", "cuda"], "device cuda"),
        (base + ["--jsonl", path("bad", good + "{}\n"), "--out", out], 'bad: line 2: no key "task_id"'),
        (base + ["--jsonl", jsonl, "--out", jsonl], "tasks.jsonl"),
        (["infill", "--model", root, "--file", hole], root),
        (["generate", "--model", hf], "expected one of --prompt and --prompt-file"),
        (["generate", "--model", hf, "--prompt", "x", "--prompt-file", hole], "expected one of --prompt"),
    ]
    for arguments, expected in cases:
        line = refused(*arguments)
        assert expected in line, f"{arguments}: {line}"
        assert not os.path.exists(out), arguments
    assert open(jsonl).read() == good
    assert not [name for name in os.listdir(root) if "tmp" in name], os.listdir(root)


def main():
    for case in (CASES[0], CASES[7], CASES[10], CASES[13]):
        with tempfile.TemporaryDirectory() as root:
            test_greedy_is_that_of_transformers(root, case)
            print(f"{name_of(case)}: equal")
    for test in (test_all_forms_agree, test_wrong_use_is_one_line_and_leaves_nothing):
        with tempfile.TemporaryDirectory() as root:
            test(root)
            print(f"{test.__name__}: passed")


main()
