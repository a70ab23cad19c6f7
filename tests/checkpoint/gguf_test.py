"""A GGUF file holds the run: every key and every tensor, read by the package gguf, against config.json, tokenizer.json and
the safetensors that midfill exports; what llama.cpp cannot hold is refused."""

import json
import os
import stat
import tempfile

from small_runs import *

try:
    import numpy
    from gguf import GGUFReader, GGMLQuantizationType, GGUFValueType
    from safetensors.numpy import load_file
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

UNUSED, NORMAL, CONTROL, USER = 5, 1, 3, 4
STORED = {
    "f32": (GGMLQuantizationType.F32, 0, "<u4", lambda x: x.view("<u4")),
    "f16": (GGMLQuantizationType.F16, 1, "<u2", lambda x: x.astype(numpy.float16).view("<u2")),
    "bf16": (GGMLQuantizationType.BF16, 32, "<u2", lambda x: round_to_bf16(x.view("<u4"))),
}


def round_to_bf16(bits):
    """To nearest, ties to even."""
    return ((bits.astype(numpy.uint64) + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def read_json(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return json.load(file)


def expected_keys(run, dtype, pre):
    model, tokenizer = read_json(run, "config.json")["model"], read_json(run, "tokenizer.json")
    tokens, types = list(tokenizer["model"]["vocab"]), [NORMAL] * len(tokenizer["model"]["vocab"])
    rows = model["vocab_size"] or len(tokens) + sum(token["id"] >= len(tokens) for token in tokenizer["added_tokens"])
    tokens, types = tokens + [""] * (rows - len(tokens)), types + [UNUSED] * (rows - len(types))
    ids = {}
    for token in tokenizer["added_tokens"]:
        ids[token["content"]] = token["id"]
        tokens[token["id"]] = token["content"]
        types[token["id"]] = CONTROL if token["special"] else USER
    for row, kind in enumerate(types):
        if kind == UNUSED:
            tokens[row] = f"[PAD{row}]" + "_" * (f"[PAD{row}]" in ids)
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    end = ids["<|endoftext|>"]
    unsampled = [row for row, kind in enumerate(types) if kind in (CONTROL, UNUSED) and row != end]
    u32, f32, string, yes_no = GGUFValueType.UINT32, GGUFValueType.FLOAT32, GGUFValueType.STRING, GGUFValueType.BOOL
    return {
        "general.architecture": (string, "gptneox"),
        "general.name": (string, os.path.basename(run)),
        "general.file_type": (u32, STORED[dtype][1]),
        "gptneox.context_length": (u32, model["n_ctx"]),
        "gptneox.embedding_length": (u32, model["d_model"]),
        "gptneox.block_count": (u32, model["n_layers"]),
        "gptneox.feed_forward_length": (u32, model["d_ff"]),
        "gptneox.attention.head_count": (u32, model["n_heads"]),
        "gptneox.attention.layer_norm_epsilon": (f32, numpy.float32(model["layer_norm_eps"])),
        "gptneox.rope.dimension_count": (u32, int(model["d_model"] // model["n_heads"] * model["rotary_pct"])),
        "gptneox.rope.freq_base": (f32, numpy.float32(model["rotary_base"])),
        "gptneox.use_parallel_residual": (yes_no, model["parallel_residual"]),
        "tokenizer.ggml.model": (string, "gpt2"),
        "tokenizer.ggml.pre": (string, pre),
        "tokenizer.ggml.tokens": (string, tokens),
        "tokenizer.ggml.token_type": (GGUFValueType.INT32, types),
        "tokenizer.ggml.merges": (string, merges),
        "tokenizer.ggml.bos_token_id": (u32, end),
        "tokenizer.ggml.eos_token_id": (u32, end),
        "tokenizer.ggml.eot_token_id": (u32, end),
        "tokenizer.ggml.padding_token_id": (u32, ids.get("<|padding|>", end)),
        "tokenizer.ggml.fim_pre_token_id": (u32, ids["<|PRE|>"]),
        "tokenizer.ggml.fim_suf_token_id": (u32, ids["<|SUF|>"]),
        "tokenizer.ggml.fim_mid_token_id": (u32, ids["<|MID|>"]),
        "tokenizer.ggml.add_bos_token": (yes_no, False),
        "tokenizer.ggml.add_eos_token": (yes_no, False),
        "tokenizer.ggml.suppress_tokens": (GGUFValueType.INT32, unsampled),
    }


def expected_tensors(run, hf):
    """Name -> f32, from the safetensors of the run's own export."""
    weights, heads = load_file(os.path.join(hf, "model.safetensors")), read_json(run, "config.json")["model"]["n_heads"]
    head = "embed_out" if "embed_out.weight" in weights else "gpt_neox.embed_in"
    names = {"token_embd": "gpt_neox.embed_in", "output": head, "output_norm": "gpt_neox.final_layer_norm"}
    for layer in range(read_json(run, "config.json")["model"]["n_layers"]):
        for to, source in {
            "attn_norm": "input_layernorm", "attn_qkv": "attention.query_key_value", "attn_output": "attention.dense",
            "ffn_norm": "post_attention_layernorm", "ffn_up": "mlp.dense_h_to_4h", "ffn_down": "mlp.dense_4h_to_h",
        }.items():
            names[f"blk.{layer}.{to}"] = f"gpt_neox.layers.{layer}.{source}"
    tensors = {}
    for to, source in names.items():
        for kind in (".weight", ".bias"):
            if source + kind in weights:
                value = weights[source + kind]
                if to.endswith("attn_qkv"):  # (head, 3, head size, ...) -> (3, head, head size, ...)
                    split = value.reshape(heads, 3, -1, *value.shape[1:])
                    value = numpy.ascontiguousarray(split.swapaxes(0, 1)).reshape(value.shape)
                tensors[to + kind] = value
    assert {names[n.rpartition(".")[0]] + "." + n.rpartition(".")[2] for n in tensors} == set(weights), "a tensor is missing"
    return tensors


def check_file(file, run, hf, dtype, pre):
    reader = GGUFReader(file)
    assert reader.data_offset % 32 == 0
    expected = expected_keys(run, dtype, pre)
    found = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert list(found) == list(expected), f"{set(found) ^ set(expected)}"
    for key, (kind, value) in expected.items():
        field = found[key]
        kinds = [GGUFValueType.ARRAY, kind] if isinstance(value, list) else [kind]
        assert field.types == kinds, f"{key}: {field.types}"
        assert field.contents() == value, f"{key}: {str(field.contents())[:200]}, expected {str(value)[:200]}"
    tensors = expected_tensors(run, hf)
    assert sorted(t.name for t in reader.tensors) == sorted(tensors)
    for tensor in reader.tensors:
        value = tensors[tensor.name]
        kind, _, bits, stored = STORED["f32" if value.ndim == 1 else dtype]
        assert tensor.tensor_type == kind, f"{tensor.name}: {tensor.tensor_type}"
        assert list(tensor.shape) == list(value.shape[::-1]), f"{tensor.name}: {tensor.shape}"
        assert tensor.data_offset % 32 == 0
        given = numpy.ascontiguousarray(tensor.data).reshape(-1).view(bits)
        assert numpy.array_equal(given, stored(value).reshape(-1)), f"{tensor.name} differs"
    return len(expected), len(tensors)


def test_files(root):
    own = train_tokenizer(os.path.join(root, "own.json"))
    qwen2 = bpe(os.path.join(root, "qwen2.json"), split(QWEN2), user=["\n\n", "def "])
    cases = [
        (own, "gpt-2", {"tied_embeddings": True, "rotary_pct": 0.5, "rotary_base": 523.5, "vocab_multiple": 64}),
        (qwen2, "qwen2", {"parallel_residual": True, "layer_norm_eps": 1e-3, "n_heads": 1, "d_model": 20, "d_ff": 7}),
    ]
    for number, (tokenizer, pre, model) in enumerate(cases):
        run, hf = train_run(root, tokenizer, model=model, name=f"run{number}"), os.path.join(root, f"hf{number}")
        midfill("export", "--run", run, "--out", hf)
        for dtype in STORED:
            file = os.path.join(root, "new", "folder", f"{number}-{dtype}.gguf")
            midfill("export", "--format", "gguf", "--dtype", dtype, "--run", run, "--out", file)
            keys, tensors = check_file(file, run, hf, dtype, pre)
            print(f"{pre}, {dtype}: {keys} keys and {tensors} tensors are the run's")
        assert sorted(os.listdir(os.path.dirname(file))) == sorted(
            name for n in range(number + 1) for d in STORED for name in (f"{n}-{d}.gguf", f"{n}-{d}.gguf.Modelfile"))


def test_rows_without_a_token(root):
    """An imported model with more rows than its tokenizer has ids."""
    own, own_hf = train_tokenizer(os.path.join(root, "own.json")), os.path.join(root, "hf")
    midfill("export", "--run", train_run(root, own), "--out", own_hf)
    small = bpe(os.path.join(root, "small.json"), [gpt2()], user=["[PAD400]"], vocab_size=390)
    run, hf, file = (os.path.join(root, name) for name in ("imported", "hf2", "file.gguf"))
    midfill("import", "--from", own_hf, "--tokenizer", small, "--out", run)
    midfill("export", "--run", run, "--out", hf)
    midfill("export", "--format", "gguf", "--run", run, "--out", file)
    check_file(file, run, hf, "f32", "gpt-2")
    tokens = GGUFReader(file).fields["tokenizer.ggml.tokens"].contents()
    assert len(tokens) == len(set(tokens)) == 900, "names of rows repeat"


def test_modelfiles_and_notes(root):
    own = train_tokenizer(os.path.join(root, "own.json"))
    bare = '{{ .Prompt }}'
    insert = '{{- if .Suffix }}%s<|MID|>{{- else }}{{ .Prompt }}{{- end }}'
    psm, spm1 = (insert % text for text in ("<|PRE|>{{ .Prompt }}<|SUF|>{{ .Suffix }}", "<|SUF|>{{ .Suffix }}<|PRE|>{{ .Prompt }}"))
    cases = [
        ({"psm": 0.5, "spm1": 0, "spm2": 0.5}, psm, "the run trains on psm: serve it with llama-server -m {}"),
        ({"psm": 0.4, "spm1": 0.6, "spm2": 0}, spm1, "the run trains on spm1: serve it with llama-server --spm-infill -m {}"),
        ({"psm": 0, "spm1": 0, "spm2": 1}, bare, "the run trains on spm2 alone, a layout that no client can ask for"),
        ({"rate": 0}, bare, "the run trains without FIM"),
    ]
    for number, (fim, template, note) in enumerate(cases):
        run = train_run(root, own, fim=fim, steps=1, name=f"run{number}")
        file = os.path.join(root, f"a model {number}.gguf")
        done = run_midfill("export", "--format", "gguf", "--run", run, "--out", file)
        assert done.returncode == 0 and done.stdout == "", done.stderr
        lines = done.stderr.splitlines()
        assert len(lines) == 3 and lines[1].endswith("gets other ids than here"), lines
        assert lines[2].startswith(file + ": " + note.format(file)), lines[2]
        assert ("--spm-infill" in lines[2]) == (number in (1, 2)), lines[2]
        with open(file + ".Modelfile") as text:
            assert text.read() == f'FROM ./a model {number}.gguf\nPARAMETER num_ctx 128\nTEMPLATE """{template}"""\n'
        assert stat.S_IMODE(os.stat(file).st_mode) == stat.S_IMODE(os.stat(file + ".Modelfile").st_mode)


def test_refusals(root):
    """One line with the reason, and nothing is left behind."""
    own = train_tokenizer(os.path.join(root, "own.json"))
    run = train_run(root, own)
    os.mkdir(os.path.join(root, "out"))
    file = os.path.join(root, "out", "file.gguf")

    def refuses(run, expected, *options, out=file, format="gguf", left=(), environment=None):
        line = refused("export", "--run", run, "--out", out, "--format", format, *options, environment=environment)
        assert expected in line, f"{line}, expected {expected}"
        assert sorted(os.listdir(os.path.dirname(file))) == sorted(left), os.listdir(os.path.dirname(file))

    refuses(run, "--dtype f16 goes with --format gguf", "--dtype", "f16", format="hf")
    refuses(run, "expected the name of a file", out=os.path.dirname(file) + "/")
    refuses(run, "a name that a Modelfile cannot hold", out=file + " ")
    refuses(run, "a name that a Modelfile cannot hold", out=file + "\n.gguf")
    refuses(train_run(root, own, {"activation": "gelu_erf"}, name="erf"), "config.json: model.activation is gelu_erf, expected gelu_tanh")
    for name in ("file.gguf", "file.gguf.Modelfile"):
        path = os.path.join(root, "out", name)
        with open(path, "w") as text:
            text.write("mine")
        refuses(run, f"{path}: already exists; refusing to overwrite it", left=[name])
        with open(path) as text:
            assert text.read() == "mine"
        os.remove(path)

    # Where the disk fails before the second of both has its name.
    for name in ("file.gguf", "Modelfile"):
        refuses(run, "cannot create: Input/output error", environment={"LD_PRELOAD": sys.argv[1], "MIDFILL_FAIL": f"link:5:{name}"})

    # A weight that f16 cannot hold, and bf16 can: the head's row is enlarged in a Hugging Face directory and imported.
    hf, large = os.path.join(root, "hf"), os.path.join(root, "large")
    midfill("export", "--run", run, "--out", hf)
    from safetensors.numpy import save_file
    weights = load_file(os.path.join(hf, "model.safetensors"))
    weights["gpt_neox.layers.1.attention.query_key_value.weight"][24, 5] = -65520.0  # of 4 heads of 8, head 1's first q
    save_file(weights, os.path.join(hf, "model.safetensors"))
    midfill("import", "--from", hf, "--out", large)
    refuses(large, f'{file}: tensor "blk.1.attn_qkv.weight" holds -65520 at element {8 * 32 + 5}, which is no finite number in f16',
            "--dtype", "f16")
    midfill("export", "--run", large, "--out", file, "--format", "gguf", "--dtype", "bf16")
    for name in ("file.gguf", "file.gguf.Modelfile"):
        os.remove(os.path.join(root, "out", name))

    # Tokenizers that llama.cpp would read differently.
    no_name = "llama.cpp has no name for this pre-tokenizer"
    for name, expected, make in [
        ("gpt4", no_name, lambda path: bpe(path, split(GPT4))),
        ("space", no_name, lambda path: bpe(path, [gpt2(add_prefix_space=True)])),
        ("runs", no_name, lambda path: bpe(path, [pre_tokenizers.Digits(individual_digits=False), gpt2()])),
        ("merges", ", with ignore_merges); expected", lambda path: bpe(path, [gpt2()], ignore_merges=True)),
        ("strip", "expected no single_word, lstrip or rstrip",
         lambda path: bpe(path, [gpt2()], user=[AddedToken("def", rstrip=True)])),
        ("overlap", 'matches the added token "  \\n\\n" before "x  "',
         lambda path: bpe(path, [gpt2()], user=["x  ", "  \n\n"])),
        ("normalized", 'expected the same "normalized"',
         lambda path: bpe(path, [gpt2()], user=[AddedToken("ab", normalized=False), AddedToken("cd", normalized=True)])),
    ]:
        other = train_run(root, make(os.path.join(root, name + ".json")), steps=1, name=name)
        refuses(other, f"{os.path.join(other, 'tokenizer.json')}: ")
        refuses(other, expected)
    print("refused in one line each")


def main():
    for test in (test_files, test_rows_without_a_token, test_modelfiles_and_notes, test_refusals):
        with tempfile.TemporaryDirectory() as root:
            test(root)


main()
