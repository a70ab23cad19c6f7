"""Gradients of the first step, and the weights after ten AdamW steps, agree with PyTorch tensor by tensor."""

import json
import os
import subprocess
import sys
import tempfile

import torch
from neox import *

COSINE, NORM = 0.99999, 1e-3
STEPS, ROWS, VOCABULARY = 10, 3, 97
# In exact arithmetic the gradient of a key's bias is 0 where no rotation applies (softmax ignores what is added to all
# scores). With a tiny eps AdamW would blow its rounding errors up to full steps; 1e-6 keeps them what they are.
OPTIM = dict(beta1=0.9, beta2=0.95, eps=1e-6, weight_decay=0.1, clip=1.0)


def make_steps():
    steps = []
    for step in range(STEPS):
        length = CONTEXT - step % 3  # not every step fills the context
        tokens = torch.randint(0, VOCABULARY, (ROWS, length + 1))
        weights = torch.rand(ROWS, length)
        weights[torch.rand(ROWS, length) < 0.2] = 0.0
        steps.append(
            dict(
                lr=1e-2 * (step + 1) / STEPS,
                ids=tokens[:, :-1].tolist(),
                targets=tokens[:, 1:].tolist(),
                weights=weights.tolist(),
            )
        )
    return steps


def reference(model, steps):
    """Gradients of the first step and the weights after the last, in double precision."""
    model = model.double()
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [dict(params=matrices, weight_decay=OPTIM["weight_decay"]), dict(params=others, weight_decay=0.0)],
        betas=(OPTIM["beta1"], OPTIM["beta2"]),
        eps=OPTIM["eps"],
    )
    clipped, gradients = 0, None
    for step in steps:
        optimizer.zero_grad()
        logits = model(torch.tensor(step["ids"])).logits
        weights = torch.tensor(step["weights"], dtype=torch.double).flatten()
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), torch.tensor(step["targets"]).flatten(), reduction="none"
        )
        ((losses * weights).sum() / weights.sum()).backward()
        if gradients is None:
            gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIM["clip"])
        clipped += bool(norm > OPTIM["clip"])
        for group in optimizer.param_groups:
            group["lr"] = step["lr"]
        optimizer.step()
    assert clipped > 0, "no step was clipped: the test shows less than it should"
    return gradients, {name: p.detach() for name, p in model.named_parameters()}


def compare(what, found, expected, cosine_bound=COSINE, norm_bound=NORM):
    assert sorted(found) == sorted(expected), what
    worst_cosine, worst_norm = 1.0, 0.0
    for name, b in expected.items():
        a = found[name].double()
        assert a.shape == b.shape, f"{what} {name}: {a.shape}, expected {b.shape}"
        cosine = (torch.dot(a.flatten(), b.flatten()) / (a.norm() * b.norm())).item()
        norm = abs(a.norm() / b.norm() - 1).item()
        assert cosine > cosine_bound, f"{what} {name}: cosine {cosine}"
        assert norm <= norm_bound, f"{what} {name}: norm off by {norm}"
        worst_cosine, worst_norm = min(worst_cosine, cosine), max(worst_norm, norm)
    return f"{what}: cosine >= 1 - {1 - worst_cosine:.1e}, norm within {worst_norm:.1e}"


for case in CASES:
    with tempfile.TemporaryDirectory() as root:
        model = make_model(VOCABULARY, **case)
        before = {name: p.detach().clone().double() for name, p in model.named_parameters()}
        model.save_pretrained(os.path.join(root, "hf"))
        steps = make_steps()
        files = [os.path.join(root, name) for name in ("hf", "steps.json", "grads", "weights")]
        with open(files[1], "w") as file:
            json.dump(dict(optim=OPTIM, steps=steps), file)
        subprocess.run([sys.argv[1], *files], check=True)
        gradients, weights = reference(model, steps)
        found = load_file(files[3])
        print(name_of(case))
        print("  " + compare("gradients", load_file(files[2]), gradients))
        print("  " + compare("weights", found, weights))
        # Also of what the steps changed, which the initial weights would hide.
        moved = {name: weights[name] - before[name] for name in weights}
        print("  " + compare("updates", {name: found[name].double() - before[name] for name in moved}, moved))
print(f"{len(CASES)} models passed")
