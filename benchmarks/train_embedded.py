"""Train the embedded language models. PyTorch is needed here and nowhere else.

    python benchmarks/train_embedded.py train oracle            # about 15 minutes on one thread
    python benchmarks/train_embedded.py train members           # about 5 minutes a member
    python benchmarks/train_embedded.py ship                    # write weights and reference values

Each model is a decoder-only transformer (pre-RMSNorm, causal attention, ReLU MLP of four times the width, learned
positions, tied embeddings, no biases) that reads a question and writes its work and answer in a style of its own. The
loss is on the answer alone. Number embeddings start as Fourier features, so that neighbours and residues are visible
from the first step. The members are skewed: each sees a mixture of problems of its own, so that their mistakes differ
and a vote gains something; everything is evaluated on the even mixture.

Every 250 steps (50 once nine in ten are right) a checkpoint is written with its accuracy on problems of the split
"tune". Training ends with the first that reaches the model's target, on purpose: these models are to make mistakes, the
oracle a few and the members many.
Problems of the splits "router" and "test" are never looked at here. A training that was interrupted goes on from its
last checkpoint; the checkpoints are kept, so a second `train` without `--folder` changes nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyramid_core.embedded import problems, tokenizer

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "pyramid_core" / "embedded" / "weights"
REFERENCE = ROOT / "tests" / "core" / "data" / "embedded_reference.json"
CONTEXT = 256
BATCH = 64
EVERY, CLOSE, CLOSELY = 250, 0.9, 50
TUNE_SEED, TUNE_SIZE = 1, 1000


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one model is made.

    Attributes:
        width, layers, heads: The transformer's shape.
        style: How its answers are written, a key of `STYLES`.
        mixture: Most of the problems it is trained on.
        even: The share of its training problems that come from the even mixture instead.
        steps: Optimiser steps in all.
        rate: Peak learning rate of AdamW.
        decay: The learning rate falls linearly to zero over this last share of the steps.
        target: Training ends with the first checkpoint that has this accuracy on tune problems.
        seed: Of the initial weights; training problems are drawn from `1000 + seed`, even ones from `2000 + seed`.
    """

    width: int
    layers: int
    heads: int = 4
    style: str
    mixture: problems.Mixture = field(default_factory=problems.Mixture)
    even: float = 0.0
    steps: int
    rate: float
    decay: float
    target: float
    seed: int


def _skew(
    lengths: tuple[float, float, float, float], largest: int = problems.LARGEST, **kinds: float
) -> problems.Mixture:
    return problems.Mixture(kinds=kinds, lengths=lengths, largest=largest)


RECIPES = {
    "tiny-add": Recipe(
        width=40, layers=2, style="words", steps=4000, rate=0.003, decay=0.75, target=0.65, seed=1,
        mixture=_skew((1, 1, 1, 1), add=1, subtract=1, times=0.3, split=0.3, bring=0.3, send=0.3),
    ),
    "tiny-short": Recipe(
        width=40, layers=2, style="first", steps=4000, rate=0.003, decay=0.75, target=0.65, seed=2,
        mixture=_skew((3, 3, 0.7, 0.3), add=1, subtract=1, times=1, split=1, bring=0.5, send=0.5),
    ),
    "tiny-times": Recipe(
        width=40, layers=2, style="list", steps=4000, rate=0.003, decay=0.75, target=0.65, seed=3, even=0.25,
        mixture=_skew((1, 1, 1, 1), 60, add=0.4, subtract=0.4, times=1, split=1, bring=0.7, send=0.7),
    ),
    "oracle": Recipe(width=128, layers=3, style="equations", steps=4000, rate=0.002, decay=0.5, target=0.98, seed=4),
}  # fmt: skip


# How the answers are written


_SPOKEN = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}


def _equations(work: tuple[problems.Sum, ...], answer: int) -> str:
    lines = [f"{s.left} {s.operator} {s.right} = {s.result}." for s in work]
    return " ".join([*lines, f"The answer is {answer}."])


def _words(work: tuple[problems.Sum, ...], answer: int) -> str:
    lines = [f"{s.left} {_SPOKEN[s.operator]} {s.right} is {s.result}." for s in work]
    return " ".join([*lines, f"So the answer is {answer}."])


def _first(work: tuple[problems.Sum, ...], answer: int) -> str:
    lines = [f"{s.left} {s.operator} {s.right} makes {s.result}." for s in work]
    return " Then ".join(["First " + lines[0], *lines[1:]]) + f" The answer is {answer}."


def _list(work: tuple[problems.Sum, ...], answer: int) -> str:
    lines = [f"{s.left} {s.operator} {s.right} = {s.result};" for s in work]
    return " ".join([*lines, f"answer: {answer}."])


STYLES = {"equations": _equations, "words": _words, "first": _first, "list": _list}


# The model


class Block(nn.Module):
    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_a, self.norm_b = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        for linear in (self.qkv, self.out, self.up, self.down):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
        with torch.no_grad():  # so that the residual stream does not grow with depth
            self.out.weight /= math.sqrt(2 * layers)
            self.down.weight /= math.sqrt(2 * layers)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.norm_a(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.relu(self.up(self.norm_b(x))))


class Net(nn.Module):
    """Tokens `[batch, length]` to hidden states `[batch, length, width]`, and those to logits."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.embedding = nn.Parameter(_first_embedding(recipe.width))
        self.position = nn.Parameter(torch.randn(CONTEXT, recipe.width) * 0.3 * recipe.width**-0.5)
        self.blocks = nn.ModuleList(
            Block(recipe.width, recipe.heads, recipe.layers) for _ in range(recipe.layers)
        )
        self.norm = nn.RMSNorm(recipe.width, eps=1e-5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding[tokens] + self.position[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        return self.norm(hidden) @ self.embedding.T


def _first_embedding(width: int) -> Tensor:
    """Random vectors of unit length on average, the numbers' replaced by waves of many periods."""
    embedding = torch.randn(tokenizer.VOCABULARY_SIZE, width) * width**-0.5
    periods = [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 60, 100, 121, 242]
    extra = width // 2 - len(periods)
    periods += [2 * 121 ** (i / max(1, extra)) for i in range(extra)]
    n = torch.arange(problems.LARGEST + 1)[:, None]
    angle = 2 * math.pi * n / torch.tensor(periods[: width // 2])
    first = tokenizer.number_token(0)
    waves = torch.cat([angle.cos(), angle.sin()], dim=1) * width**-0.5
    embedding[first : first + problems.LARGEST + 1] = waves * math.sqrt(2)
    return embedding


# Training


def training_batches(recipe: Recipe) -> Iterator[list[problems.Problem]]:
    skewed = problems.stream(1000 + recipe.seed, split="train", mixture=recipe.mixture)
    even = problems.stream(2000 + recipe.seed, split="train")
    share = round(recipe.even * BATCH)
    while True:
        yield [*islice(skewed, BATCH - share), *islice(even, share)]


def batch_of(some: list[problems.Problem], style: str) -> tuple[Tensor, Tensor]:
    """Padded tokens `[batch, length]` and targets of the same shape, -100 where nothing is to be predicted."""
    rows = []
    for problem in some:
        question = [*tokenizer.encode(problem.question), tokenizer.ANSWER]
        answer = [*tokenizer.encode(STYLES[style](problem.work, problem.answer)), tokenizer.END]
        rows.append((question + answer[:-1], [-100] * (len(question) - 1) + answer))
    length = max(len(tokens) for tokens, _ in rows)
    tokens = torch.tensor([t + [tokenizer.PAD] * (length - len(t)) for t, _ in rows])
    targets = torch.tensor([t + [-100] * (length - len(t)) for _, t in rows])
    return tokens, targets


@torch.no_grad()
def exact(net: Net, style: str, some: tuple[problems.Problem, ...]) -> float:
    """Share of problems whose whole answer is the most likely token throughout: a greedy answer, in one pass."""
    right = 0
    for start in range(0, len(some), 100):
        tokens, targets = batch_of(list(some[start : start + 100]), style)
        best = net.logits(net(tokens)).argmax(-1)
        right += int(((best == targets) | (targets < 0)).all(1).sum())
    return right / len(some)


def _rate(recipe: Recipe, step: int) -> float:
    falling = (recipe.steps - step) / (recipe.decay * recipe.steps)
    return recipe.rate * min(1.0, (step + 1) / 100, falling)


def _backward(net: Net, some: list[problems.Problem], style: str) -> float:
    """Gradients of the mean loss over a batch's answer tokens, in four parts of similar length to save padding."""
    some = sorted(some, key=lambda problem: len(problem.question))
    parts = [batch_of(some[i : i + len(some) // 4], style) for i in range(0, len(some), len(some) // 4)]
    count = sum(int((targets >= 0).sum()) for _, targets in parts)
    total = 0.0
    for tokens, targets in parts:
        answers = targets >= 0
        loss = F.cross_entropy(net.logits(net(tokens)[answers]), targets[answers], reduction="sum") / count
        loss.backward()
        total += loss.item()
    return total


def train(name: str, folder: Path) -> None:
    """Train one model, going on from its last checkpoint where there is one."""
    recipe = RECIPES[name]
    torch.manual_seed(recipe.seed)
    net = Net(recipe)
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01)
    batches = training_batches(recipe)
    tune = problems.problems(TUNE_SEED, TUNE_SIZE, split="tune")
    start, every = 0, EVERY
    for path in checkpoints(name, folder):
        state = torch.load(path)
        start = state["step"]
        if state["tune"] >= recipe.target:
            print(f"{name}: already at its target after {start} steps", flush=True)
            return
        every = CLOSELY if state["tune"] >= CLOSE else EVERY
    if start:
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        next(islice(batches, start - 1, None))
    print(f"{name}: {sum(p.numel() for p in net.parameters())} parameters, from step {start}", flush=True)
    begun = time.process_time()
    losses = 0.0
    for step in range(start, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = _rate(recipe, step)
        optimiser.zero_grad()
        losses += _backward(net, next(batches), recipe.style)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % every == 0:
            right = exact(net, recipe.style, tune)
            print(
                f"{name} step {step + 1} loss {losses / every:.4f} tune {right:.3f} "
                f"cpu {time.process_time() - begun:.0f} s",
                flush=True,
            )
            losses = 0.0
            every = CLOSELY if right >= CLOSE else EVERY
            state = {
                "net": net.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step + 1,
                "tune": right,
            }
            torch.save(state, folder / f"{name}-{step + 1:05d}.pt")
            if right >= recipe.target:
                return


def checkpoints(name: str, folder: Path) -> list[Path]:
    """A model's checkpoints in order of their steps."""
    return sorted(folder.glob(f"{name}-?????.pt"))


# Shipping


def ship(name: str, folder: Path) -> list[dict[str, Any]]:
    """Write a model's weights as float16 into the package; return reference values of these very weights."""
    recipe = RECIPES[name]
    states = (torch.load(path) for path in checkpoints(name, folder))
    state = next((state for state in states if state["tune"] >= recipe.target), None)
    if state is None:
        raise SystemExit(f"{name} has no checkpoint with a tune accuracy of {recipe.target}: train it first")
    tensors = {key: value.numpy().astype("<f2") for key, value in state["net"].items()}
    metadata = {
        "heads": str(recipe.heads),
        "style": recipe.style,
        "steps": str(state["step"]),
        "tune_exact": f"{state['tune']:.3f}",
        "vocabulary": tokenizer.FINGERPRINT,
    }
    path = WEIGHTS / f"{name}.safetensors"
    path.write_bytes(safetensors(tensors, metadata))
    print(f"{name}: step {state['step']}, tune {state['tune']:.3f}, {path.stat().st_size} bytes")
    net = Net(recipe)
    net.load_state_dict({key: torch.from_numpy(value.astype("<f4")) for key, value in tensors.items()})
    return [reference(net, recipe, problem) for problem in problems.problems(2, 5, split="tune")]


def safetensors(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """The content of a safetensors file; see `pyramid_core.embedded.weights` for the format."""
    header: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F16", "shape": tensor.shape, "data_offsets": [at, at := at + tensor.nbytes]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(tensor.tobytes() for tensor in tensors.values())


@torch.no_grad()
def reference(net: Net, recipe: Recipe, problem: problems.Problem) -> dict[str, Any]:
    """PyTorch's log-probability of every token after the first, and its ten likeliest next tokens at the end."""
    answer = STYLES[recipe.style](problem.work, problem.answer)
    tokens = [*tokenizer.encode(problem.question), tokenizer.ANSWER, *tokenizer.encode(answer)]
    logprobs = net.logits(net(torch.tensor([tokens])))[0].double().log_softmax(-1)
    values, best = logprobs[-1].topk(10)
    return {
        "tokens": tokens,
        "logprobs": logprobs[torch.arange(len(tokens) - 1), tokens[1:]].tolist(),
        "next_tokens": best.tolist(),
        "next_logprobs": values.tolist(),
    }


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("train", "ship"))
    parser.add_argument("which", nargs="?", default="all", help="a model's name, members or all")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".cache" / "embedded", help="of the checkpoints"
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.what == "ship":
        WEIGHTS.mkdir(exist_ok=True)
        references = {name: ship(name, options.folder) for name in RECIPES}
        REFERENCE.write_text(json.dumps(references) + "\n")
        return
    groups = {"all": list(RECIPES), "members": [name for name in RECIPES if name != "oracle"]}
    for name in groups.get(options.which, [options.which]):
        train(name, options.folder)


if __name__ == "__main__":
    main()
