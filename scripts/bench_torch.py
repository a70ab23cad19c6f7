#!/usr/bin/env python3
"""The work of `midfill bench` in PyTorch, so that both stand in one table.

  bench_torch.py kernels [OPTION...]        every op that `midfill bench kernels OPTION...` measures
  bench_torch.py step [OPTION...]           the training step that `midfill bench step OPTION...` measures
  bench_torch.py alternate N kernels|step [OPTION...]
                                            both programs in turn, N times each, and their table
  bench_torch.py --merge FILE FILE...       the table of reports that are there: medians over the reports of a program

The options are midfill's own (--device, --dtype, --shape, --config, --threads, ...): midfill lists what it would
measure, and PyTorch measures that. --like FILE takes the list from a report of midfill instead. --json FILE also writes
the report, in the format of midfill's; - writes it to standard output alone. --midfill PATH names the program
(default: $MIDFILL_BINARY, else the one beside this script).

On cuda: torch.compile, SDPA (flash for bf16), fused AdamW, autocast to bf16 over f32 parameters for a step in bf16. PyTorch
1.x, and the CPU, have none of compile and fused: the report says what was used. Times as midfill takes them: 3 runs of
warm-up, then runs until there are enough and 100 ms, the level-2 cache flushed before each on cuda; median, p20, p80.

Example:
  scripts/bench_torch.py alternate 5 kernels gelu linear --device cpu --threads 2
  scripts/bench_torch.py kernels --device cuda --json torch.json
  scripts/bench_torch.py --merge midfill.json torch.json
"""

import argparse
import json
import math
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
GRADIENT = 1e-3  # scale of gradients that reach an activation, as in midfill's cases


class Refusal(Exception):
    """One line for the user."""


# ---------------------------------------------------------------------------------------------------------------- midfill


def find_midfill(named):
    candidates = [named] if named else [os.environ.get("MIDFILL_BINARY"), HERE.parent / "bin" / "midfill",
                                        *(HERE.parent / "build" / preset / "midfill" for preset in ("cuda", "cpu", "simt"))]
    for path in candidates:
        if path and pathlib.Path(path).is_file():
            return str(path)
    raise Refusal("no midfill program; expected --midfill PATH, or --like FILE with a report of it")


def run_midfill(program, bench, options):
    done = subprocess.run([program, "bench", bench, *options, "--json", "-"], capture_output=True, text=True)
    if done.returncode != 0:
        raise Refusal(done.stderr.strip().removeprefix("midfill: "))
    return json.loads(done.stdout)


def load_report(path):
    try:
        report = json.loads(pathlib.Path(path).read_text())
        if report["bench"] not in ("kernels", "step") or report["program"] not in ("midfill", "torch"):
            raise ValueError
        return report
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "expected a report of bench kernels or bench step"
        raise Refusal(f"{path}: {reason}") from None


# ------------------------------------------------------------------------------------------------------------------ timing


class Stopwatch:
    """Runs until there are enough, each by itself."""

    def __init__(self, device, repeat):
        self.device, self.repeat = device, repeat
        self.flush = torch.empty(64 << 20, device=device) if device == "cuda" else None

    def one_run(self, run, prepare):
        prepare()
        if self.device == "cpu":
            begin = time.perf_counter()
            run()
            return 1e3 * (time.perf_counter() - begin)
        self.flush.fill_(1.0)
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)

    def measure(self, run, prepare):
        for _ in range(3):
            self.one_run(run, prepare)
        times = []
        while len(times) < self.repeat or sum(times) < 100:
            times.append(self.one_run(run, prepare))
        return {"ms": percentile(times, 0.5), "ms_p20": percentile(times, 0.2), "ms_p80": percentile(times, 0.8),
                "runs": len(times)}


def percentile(values, share):
    return sorted(values)[int(share * (len(values) - 1) + 0.5)]


# ----------------------------------------------------------------------------------------------------------------- kernels


class Operands:
    """Tensors for one case on the device."""

    def __init__(self, device, dtype):
        self.device, self.dtype = device, dtype

    def normal(self, *dims, scale=1.0, dtype=None):
        return torch.randn(*dims, device=self.device).mul_(scale).to(dtype or self.dtype)

    def zeros(self, *dims):
        return torch.zeros(*dims, device=self.device)

    def ids(self, n, below):
        return torch.randint(0, below, (n,), device=self.device)

    def compiled(self, function):
        return torch.compile(function) if can_compile(self.device) else function


def can_compile(device):
    return device == "cuda" and hasattr(torch, "compile")


def has_sdpa():
    return hasattr(F, "scaled_dot_product_attention")


def nothing():
    pass


def backward_of(function, leaves, dy, grads, after=None):
    """(run, prepare): the gradients of `leaves` through `function`, which runs before and is not timed; those of
    parameters are added to `grads`, which follow the activations' in `leaves`."""
    for leaf in leaves:
        leaf.requires_grad_()
    made = {}

    def prepare():
        made["out"] = function(*leaves)

    def run():
        found = torch.autograd.grad(made["out"], leaves, dy)
        for grad, new in zip(grads, found[len(leaves) - len(grads):]):
            grad.add_(new)
        if after:
            after(found[0])

    return run, prepare


def embedding_forward(o, d, _):
    table, ids = o.normal(d["V"], d["C"]), o.ids(d["N"], d["V"])
    return lambda: F.embedding(ids, table), nothing


def embedding_backward(o, d, _):
    table, ids = o.normal(d["V"], d["C"]), o.ids(d["N"], d["V"])
    return backward_of(lambda t: F.embedding(ids, t), [table], o.normal(d["N"], d["C"], scale=GRADIENT),
                       [o.zeros(d["V"], d["C"])])


def layernorm_forward(o, d, _):
    x, w, b = o.normal(d["N"], d["C"]), o.normal(d["C"]), o.normal(d["C"])
    f = o.compiled(lambda: F.layer_norm(x, (d["C"],), w, b))
    return f, nothing


def layernorm_backward(o, d, variant):
    x, w, b = o.normal(d["N"], d["C"]), o.normal(d["C"]), o.normal(d["C"])
    residual = o.normal(d["N"], d["C"], scale=GRADIENT)
    f = o.compiled(lambda *leaves: F.layer_norm(leaves[0], (d["C"],), leaves[1], leaves[2]))
    return backward_of(f, [x, w, b], o.normal(d["N"], d["C"], scale=GRADIENT), [o.zeros(d["C"]), o.zeros(d["C"])],
                       after=(lambda dx: dx.add_(residual)) if "residual" in variant else None)


def gelu_of(variant):
    form = "tanh" if "tanh" in variant else "none"
    return lambda x, bias: F.gelu(x + bias, approximate=form)


def gelu_forward(o, d, variant):
    x, bias, f = o.normal(d["N"], d["F"]), o.normal(d["F"]), o.compiled(gelu_of(variant))
    return lambda: f(x, bias), nothing


def gelu_backward(o, d, variant):
    return backward_of(o.compiled(gelu_of(variant)), [o.normal(d["N"], d["F"]), o.normal(d["F"])],
                       o.normal(d["N"], d["F"], scale=GRADIENT), [o.zeros(d["F"])])


def rotary_tables(T, R, device):
    if R == 0:
        return None
    angles = torch.arange(T, device=device)[:, None] * 10000.0 ** (-torch.arange(0, R, 2, device=device) / R)
    return angles.cos()[:, None], angles.sin()[:, None]  # (T, 1, R/2)


def rotate(x, tables):
    """x (..., T, NH, HS): the first R dims of each head, half-split."""
    if tables is None:
        return x
    cos, sin = tables
    half = cos.shape[-1]
    a, b, rest = x[..., :half].float(), x[..., half:2 * half].float(), x[..., 2 * half:]
    return torch.cat([(a * cos - b * sin).to(x.dtype), (b * cos + a * sin).to(x.dtype), rest], -1)


def causal_attention(q, k, v):
    """q, k, v (B, NH, T, HS)."""
    if has_sdpa():
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    T = q.shape[-2]
    mask = torch.full((T, T), -math.inf, dtype=q.dtype, device=q.device).triu(1)
    return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask, -1) @ v


def packed_attention(qkv, tables):
    """qkv (B, T, NH, 3, HS) to (B, T, NH, HS)."""
    q, k, v = qkv.unbind(3)
    q, k = rotate(q, tables), rotate(k, tables)
    return causal_attention(*(t.transpose(1, 2) for t in (q, k, v))).transpose(1, 2)


def attention_forward(o, d, _):
    qkv = o.normal(d["B"], d["T"], d["NH"], 3, d["HS"])
    tables, f = rotary_tables(d["T"], d["R"], o.device), o.compiled(packed_attention)
    return lambda: f(qkv, tables), nothing


def attention_backward(o, d, _):
    qkv = o.normal(d["B"], d["T"], d["NH"], 3, d["HS"])
    tables, f = rotary_tables(d["T"], d["R"], o.device), o.compiled(packed_attention)
    dy = o.normal(d["B"], d["T"], d["NH"], d["HS"], scale=GRADIENT)
    return backward_of(lambda t: f(t, tables), [qkv], dy, [])


def decode_forward(o, d, _):
    B, T, NH, HS = d["B"], d["T"], d["NH"], d["HS"]
    keys, values, qkv = o.normal(B, NH, T, HS), o.normal(B, NH, T, HS), o.normal(B, 1, NH, 3, HS)
    tables = rotary_tables(T, d["R"], o.device)
    here = tables and tuple(t[T - 1:] for t in tables)

    def step():
        q, k, v = qkv.unbind(3)
        q, k = rotate(q, here), rotate(k, here)
        keys[:, :, T - 1:] = k.transpose(1, 2)
        values[:, :, T - 1:] = v.transpose(1, 2)
        q = q.transpose(1, 2)
        if has_sdpa():
            return F.scaled_dot_product_attention(q, keys, values)
        return torch.softmax(q @ keys.transpose(-1, -2) / math.sqrt(HS), -1) @ values

    return o.compiled(step), nothing


def cross_entropy(o, d, _):
    logits, targets = o.normal(d["N"], d["Vp"]).requires_grad_(), o.ids(d["N"], d["V"])
    loss = o.compiled(lambda x: F.cross_entropy(x[:, :d["V"]].float(), targets, reduction="sum"))
    return lambda: torch.autograd.grad(loss(logits), logits), nothing


def linear_forward(o, d, variant):
    x, w = o.normal(d["N"], d["I"]), o.normal(d["O"], d["I"], scale=d["I"] ** -0.5)
    bias = o.normal(d["O"]) if "bias" in variant else None
    residual = o.normal(d["N"], d["O"]) if "residual" in variant else None
    if residual is None:
        return lambda: F.linear(x, w, bias), nothing
    f = o.compiled(lambda: F.linear(x, w, bias) + residual)
    return f, nothing


def linear_backward(o, d, _):
    x, w = o.normal(d["N"], d["I"]), o.normal(d["O"], d["I"], scale=d["I"] ** -0.5)
    dy, dw = o.normal(d["N"], d["O"], scale=GRADIENT), o.zeros(d["O"], d["I"])

    def run():
        if o.dtype == torch.float32:
            dw.addmm_(dy.t(), x)
        else:
            dw.add_(dy.t() @ x)
        return dy @ w

    return run, nothing


def adamw(o, d, variant):
    master = o.normal(d["n"], scale=0.02, dtype=torch.float32).requires_grad_()
    master.grad = o.normal(d["n"], scale=GRADIENT, dtype=torch.float32)
    optimizer = make_adamw([{"params": [master], "weight_decay": 0.1}], 1e-5, (0.9, 0.95), 1e-8, o.device)
    weights = master.detach().bfloat16() if "weights" in variant else None

    def run():
        optimizer.step()
        if weights is not None:
            weights.copy_(master.detach())

    return run, nothing


def grad_norm(o, d, _):
    x = o.normal(d["n"], scale=GRADIENT, dtype=torch.float32)
    return lambda: torch.linalg.vector_norm(x), nothing


def cast(o, d, _):
    x = o.normal(d["n"], dtype=torch.float32)
    y = torch.empty_like(x, dtype=torch.bfloat16)
    return lambda: y.copy_(x), nothing


OPS = {
    "embedding forward": embedding_forward, "embedding backward": embedding_backward,
    "layernorm forward": layernorm_forward, "layernorm backward": layernorm_backward,
    "gelu forward": gelu_forward, "gelu backward": gelu_backward,
    "attention forward": attention_forward, "attention backward": attention_backward,
    "decode forward": decode_forward, "cross-entropy forward+backward": cross_entropy,
    "linear forward": linear_forward, "linear backward": linear_backward,
    "adamw update": adamw, "grad-norm": grad_norm, "cast": cast,
}


def bench_kernels(like, repeat):
    device = like["device"]["kind"]
    watch = Stopwatch(device, repeat)
    results = []
    for case in like["results"]:
        result = {key: case[key] for key in ("op", "variant", "dims", "shape", "dtype", "bound", "flop", "bytes")}
        operands = Operands(device, {"f32": torch.float32, "bf16": torch.bfloat16}[case["dtype"]])
        result.update(watch.measure(*OPS[case["op"]](operands, case["dims"], case["variant"])))
        result["tflops"] = case["flop"] / result["ms"] * 1e-9 if case["flop"] else None
        result["gb_per_s"] = case["bytes"] / result["ms"] * 1e-6
        results.append(result)
        del operands
        if device == "cuda":
            torch.cuda.empty_cache()
    return {"results": results}


# -------------------------------------------------------------------------------------------------------------------- step


def make_model(m):
    """A GPT-NeoX decoder of the sizes of a midfill configuration."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            C = m["d_model"]
            self.ln1, self.ln2 = nn.LayerNorm(C, m["layer_norm_eps"]), nn.LayerNorm(C, m["layer_norm_eps"])
            self.qkv, self.out = nn.Linear(C, 3 * C), nn.Linear(C, C)
            self.up, self.down = nn.Linear(C, m["d_ff"]), nn.Linear(m["d_ff"], C)

        def attend(self, x, tables):
            B, T, C = x.shape
            qkv = self.qkv(x).view(B, T, m["n_heads"], 3, C // m["n_heads"])
            return self.out(packed_attention(qkv, tables).reshape(B, T, C))

        def mlp(self, x):
            form = "tanh" if m["activation"] == "gelu_tanh" else "none"
            return self.down(F.gelu(self.up(x), approximate=form))

        def forward(self, x, tables):
            if m["parallel_residual"]:
                return x + self.attend(self.ln1(x), tables) + self.mlp(self.ln2(x))
            x = x + self.attend(self.ln1(x), tables)
            return x + self.mlp(self.ln2(x))

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            multiple = m["vocab_multiple"]
            padded = (m["vocab_size"] + multiple - 1) // multiple * multiple
            self.embed = nn.Embedding(padded, m["d_model"])
            self.blocks = nn.ModuleList(Block() for _ in range(m["n_layers"]))
            self.lnf = nn.LayerNorm(m["d_model"], m["layer_norm_eps"])
            self.head = nn.Linear(m["d_model"], padded, bias=False)
            if m["tied_embeddings"]:
                self.head.weight = self.embed.weight
            for parameter in self.parameters():
                if parameter.dim() == 2:
                    nn.init.normal_(parameter, 0.0, 0.02)

        def forward(self, ids, targets, tables):
            x = self.embed(ids)
            for block in self.blocks:
                x = block(x, tables)
            logits = self.head(self.lnf(x))[..., :m["vocab_size"]].float()
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    return Decoder()


def make_adamw(groups, lr, betas, eps, device):
    fused = {"fused": True} if device == "cuda" else {}
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, **fused)


def bench_step(like):
    m, device, B = like["model"], like["device"]["kind"], like["batch"]
    T, N = m["n_ctx"], like["batch"] * m["n_ctx"]
    dtype = like["dtype"]
    torch.manual_seed(like["seed"])
    model = make_model(m).to(device)
    tables = rotary_tables(T, int(m["d_model"] // m["n_heads"] * m["rotary_pct"]) // 2 * 2, device)
    run_model = torch.compile(model) if can_compile(device) else model
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optim = like["optim"]
    optimizer = make_adamw([{"params": matrices, "weight_decay": optim["weight_decay"]},
                            {"params": vectors, "weight_decay": 0.0}],
                           optim["lr"], (optim["beta1"], optim["beta2"]), optim["eps"], device)

    def finish():
        if device == "cuda":
            torch.cuda.synchronize()
        return 1e3 * time.perf_counter()

    times, losses = [], []
    for step in range(like["warmup"] + like["steps"]):
        tokens = torch.randint(0, m["vocab_size"], (like["accumulate"], B, T + 1)).to(device)
        total = 0.0
        begin = finish()
        optimizer.zero_grad(set_to_none=True)
        zeroed = finish()
        for batch in tokens:
            with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bf16"):
                loss = run_model(batch[:, :-1], batch[:, 1:], tables) / like["accumulate"]
            loss.backward()
            total = total + loss.detach()
        trained = finish()
        if optim["clip"] > 0:
            nn.utils.clip_grad_norm_(model.parameters(), optim["clip"])
        optimizer.step()
        updated = finish()
        losses.append(float(total))
        if step >= like["warmup"]:
            times.append((updated - begin, zeroed - begin, trained - zeroed, updated - trained))

    def ms(share, part=0):
        return percentile([t[part] for t in times], share)

    tokens = N * like["accumulate"]
    per_second = 1e3 * tokens / ms(0.5)
    report = {
        "tokens_per_s": per_second,
        "tokens_per_s_p20": 1e3 * tokens / ms(0.8),
        "tokens_per_s_p80": 1e3 * tokens / ms(0.2),
        "tokens_per_s_best": 1e3 * tokens / ms(0.0),
        "gflops_causal": per_second * like["flop_per_token_causal"] * 1e-9,
        "gflops_full": per_second * like["flop_per_token_full"] * 1e-9,
        "ms_step": ms(0.5),
        "ms_zero_grads": ms(0.5, 1),
        "ms_forward_backward": ms(0.5, 2),
        "ms_clip_adamw": ms(0.5, 3),
        "parameters": sum(p.numel() for p in model.parameters()),
        "threads": torch.get_num_threads(),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "loss_first": losses[0],
        "loss_last": losses[-1],
    }
    if device == "cuda":
        report["peak_device_mib"] = torch.cuda.max_memory_allocated() / 2**20
    for key in ("dtype", "batch", "accumulate", "steps", "warmup", "seed", "model", "optim", "flop_per_token_causal",
                "flop_per_token_full"):
        report[key] = like[key]
    return report


# ------------------------------------------------------------------------------------------------------------------- merge


def machine_of(report):
    return report["device"]["kind"], report["device"]["name"], report["host"]["threads"]


def digits(value):
    """Three digits, and no fewer than stand before the point."""
    if not value:
        return "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def median_of(reports, figure):
    found = [value for value in map(figure, reports) if value is not None]
    return statistics.median(found) if found else None


def merge(reports):
    """Markdown: what both programs have measured, medians over the reports of each."""
    bench = reports[0]["bench"]
    sides = {name: [r for r in reports if r["program"] == name] for name in ("midfill", "torch")}
    for report in reports:
        if report["bench"] != bench:
            raise Refusal(f"a report of bench {report['bench']} among those of bench {bench}")
        if machine_of(report) != machine_of(reports[0]):
            raise Refusal(f"reports of different machines: {machine_of(report)} and {machine_of(reports[0])}")
        if report["device"]["emulated"]:
            raise Refusal("a report of the emulated device: its times mean nothing")
    if not all(sides.values()):
        raise Refusal("expected reports of both programs, midfill and torch")
    kind, name, threads = machine_of(reports[0])
    torch_report = sides["torch"][0]
    head = [f"{kind}: {name}, {threads} threads; midfill {sides['midfill'][0]['commit']}, {len(sides['midfill'])} report(s); "
            f"PyTorch {torch_report['version']} ({torch_report['used']}), {len(sides['torch'])} report(s). "
            "Ratios above 1: midfill is faster.", ""]
    return "\n".join(head + (merge_kernels(sides) if bench == "kernels" else merge_steps(sides))) + "\n"


def merge_kernels(sides):
    def ms_of(case):
        def figure(report):
            for result in report["results"]:
                if all(result[key] == case[key] for key in ("op", "shape", "dtype")):
                    return result.get("ms")
            return None
        return figure

    lines = ["| op | shape | dtype | midfill, ms | PyTorch, ms | ratio | midfill |", "|---|---|---|---|---|---|---|"]
    for case in sides["midfill"][0]["results"]:
        ours, theirs = (median_of(sides[name], ms_of(case)) for name in ("midfill", "torch"))
        if ours is None:
            continue
        ratio = f"**{theirs / ours:.2f}**" if theirs is not None else "–"
        speed = (f"{digits(case['flop'] / ours * 1e-9)} TFLOP/s" if case["bound"] == "compute"
                 else f"{digits(case['bytes'] / ours * 1e-6)} GB/s")
        lines.append(f"| {case['op']} | {case['shape']} | {case['dtype']} | {digits(ours)} | "
                     f"{digits(theirs) if theirs is not None else '–'} | {ratio} | {speed} |")
    return lines


def merge_steps(sides):
    settings = {key: sides["midfill"][0][key] for key in ("model", "dtype", "batch", "accumulate")}
    for report in sides["midfill"] + sides["torch"]:
        if any(report[key] != value for key, value in settings.items()):
            raise Refusal("reports of different models or batches")
    lines = ["| | midfill | PyTorch | ratio |", "|---|---|---|---|"]
    for title, key, more_is_better in (("tokens/s", "tokens_per_s", True), ("step, ms", "ms_step", False),
                                       ("forward and backward, ms", "ms_forward_backward", False),
                                       ("clip and AdamW, ms", "ms_clip_adamw", False),
                                       ("peak host memory, MiB", "peak_rss_mib", False),
                                       ("peak device memory, MiB", "peak_device_mib", False)):
        ours, theirs = (median_of(sides[name], lambda r, k=key: r.get(k)) for name in ("midfill", "torch"))
        if ours is None or theirs is None:
            continue
        ratio = (ours / theirs if more_is_better else theirs / ours) if ours and theirs else math.nan
        lines.append(f"| {title} | {digits(ours)} | {digits(theirs)} | **{ratio:.2f}** |")
    return lines


# -------------------------------------------------------------------------------------------------------------------- main


def measure(bench, like, repeat):
    device = like["device"]["kind"]
    if like["device"]["emulated"]:
        raise Refusal("the device is emulated: there is nothing to compare with")
    if device == "cuda" and not torch.cuda.is_available():
        raise Refusal("PyTorch sees no GPU")
    torch.set_num_threads(like["host"]["threads"])
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
    used = [name for name, there in (("compile", can_compile(device)), ("SDPA", has_sdpa()), ("fused AdamW", device == "cuda"))
            if there]
    report = {"bench": bench, "program": "torch", "version": torch.__version__,
              "used": ", ".join(used) if used else "no compile, no SDPA, no fused AdamW",
              "device": {**like["device"],
                         "name": torch.cuda.get_device_name() if device == "cuda" else like["device"]["name"]},
              "host": {**like["host"], "load": os.getloadavg()[0]}}
    report.update(bench_kernels(like, repeat) if bench == "kernels" else bench_step(like))
    return report


def report_text(report):
    lines = [f"PyTorch {report['version']} ({report['used']}) on {report['device']['kind']}: {report['device']['name']}, "
             f"{report['host']['threads']} threads, load {report['host']['load']:.2f}", ""]
    if report["bench"] == "step":
        lines += [f"{key:22} {value:.6g}" for key, value in report.items()
                  if isinstance(value, (int, float)) and not isinstance(value, bool)]
    else:
        lines += ["| op | shape | dtype | ms median (p20–p80) | TFLOP/s | GB/s |", "|---|---|---|---|---|---|"]
        lines += [f"| {r['op']} | {r['shape']} | {r['dtype']} | {digits(r['ms'])} ({digits(r['ms_p20'])}–{digits(r['ms_p80'])}) | "
                  f"{digits(r['tflops']) if r['tflops'] else '–'} | {digits(r['gb_per_s'])} |" for r in report["results"]]
    return "\n".join(lines) + "\n"


def write_report(report, path):
    text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    sys.stdout.write(report_text(report))
    if path:
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        temporary = f"{path}.tmp.{os.getpid()}"
        pathlib.Path(temporary).write_text(text)
        os.replace(temporary, path)


def alternate(runs, bench, options, midfill):
    """Runs both programs in turn, each in a process of its own, and prints their table."""
    with tempfile.TemporaryDirectory(prefix="midfill-bench-") as folder:
        reports = []
        for i in range(runs):
            ours, theirs = (os.path.join(folder, f"{name}_{i}.json") for name in ("midfill", "torch"))
            report = run_midfill(midfill, bench, options)
            pathlib.Path(ours).write_text(json.dumps(report))
            repeat = [f"--repeat={options[options.index('--repeat') + 1]}"] if "--repeat" in options else []
            done = subprocess.run([sys.executable, __file__, bench, "--like", ours, "--json", theirs, *repeat],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if done.returncode != 0:
                raise Refusal((done.stderr.strip().splitlines() or ["PyTorch's half failed"])[-1])
            reports += [report, load_report(theirs)]
    sys.stdout.write(merge(reports))


def main():
    global torch, nn, F
    if sys.argv[1:2] == ["--merge"]:
        if len(sys.argv) < 3:
            raise Refusal("--merge: expected reports of midfill and of torch")
        sys.stdout.write(merge([load_report(path) for path in sys.argv[2:]]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     usage="bench_torch.py kernels|step|alternate N kernels|step|--merge ...", allow_abbrev=False)
    parser.add_argument("bench", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--midfill", help=argparse.SUPPRESS)
    parser.add_argument("--like", help=argparse.SUPPRESS)
    parser.add_argument("--json", default="", help=argparse.SUPPRESS)
    parser.add_argument("--repeat", type=int, help=argparse.SUPPRESS)
    arguments, options = split(parser, sys.argv[1:])
    if arguments.repeat is not None:
        options += ["--repeat", str(arguments.repeat)]
    words = arguments.bench
    if words[0] == "alternate":
        if len(words) < 3 or not words[1].isdigit() or int(words[1]) < 1 or words[2] not in ("kernels", "step"):
            raise Refusal("alternate: expected a number of runs, then kernels or step")
        alternate(int(words[1]), words[2], words[3:] + options, find_midfill(arguments.midfill))
        return
    if words[0] not in ("kernels", "step"):
        raise Refusal(f"{words[0]}: expected kernels, step, alternate or --merge")
    if arguments.like:
        like = load_report(arguments.like)
        if like["bench"] != words[0] or like["program"] != "midfill":
            raise Refusal(f"{arguments.like}: expected a report of midfill bench {words[0]}")
    else:
        like = run_midfill(find_midfill(arguments.midfill), words[0], words[1:] + options + ["--list"])
    os.environ.setdefault("OMP_NUM_THREADS", str(like["host"]["threads"]))
    try:
        import torch
        from torch import nn
        from torch.nn import functional as F
    except ImportError as missing:
        raise Refusal(f"PyTorch is not there: {missing}") from None
    write_report(measure(words[0], like, arguments.repeat or 10), arguments.json)


def split(parser, argv):
    """Own options, and words; everything else is midfill's, with the value behind it."""
    own = {"--midfill", "--like", "--json", "--repeat", "--help", "-h"}
    ours, theirs, i = [], [], 0
    while i < len(argv):
        name = argv[i].split("=")[0]
        into = ours if name in own or not argv[i].startswith("-") else theirs
        into.append(argv[i])
        takes_value = name.startswith("--") and "=" not in argv[i] and name not in FLAGS
        if takes_value and i + 1 < len(argv):
            i += 1
            into.append(argv[i])
        i += 1
    return parser.parse_intermixed_args(ours), theirs


# Options of midfill bench that stand alone.
FLAGS = {"--help", "--parallel-residual", "--sequential", "--erf", "--tanh", "--tied", "--untied"}

if __name__ == "__main__":
    try:
        main()
    except Refusal as refusal:
        print(f"bench_torch.py: {refusal}", file=sys.stderr)
        sys.exit(1)
