"""Train the embedded language models. PyTorch is needed here and nowhere else.

    python benchmarks/train_embedded.py train oracle            # about 20 minutes on one thread
    python benchmarks/train_embedded.py train members           # about 4 minutes a member
    python benchmarks/train_embedded.py ship                    # write weights and reference values

Each model is a decoder-only transformer (pre-RMSNorm, causal attention, ReLU MLP of four times the width, learned
positions, tied embeddings, no biases) that reads a question and writes its work and answer in a style of its own. The
loss is on the answer alone. Number embeddings start as Fourier features, so that neighbours and residues are visible
from the first step. The members are skewed: each sees a mixture of problems of its own, so that their mistakes differ
and a vote gains something; everything is evaluated on the even mixture.

Every 250 steps a checkpoint is written with its accuracy on problems of the split "tune", and `ship` takes the one
whose accuracy comes closest to the model's target. Problems of the splits "router" and "test" are never looked at.
Training stops early on purpose: these models are to make mistakes, the oracle a few and the members many.
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
EVERY = 250
TUNE_SEED, TUNE_SIZE = 1, 1000


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one model is made.

    Attributes:
        width, layers, heads: The transformer's shape.
        style: How its answers are written, a key of `STYLES`.
        mixture: The problems it is trained on.
        steps: Optimiser steps in all.
        rate: Peak learning rate of AdamW.
        decay: The learning rate falls linearly to zero over this last share of the steps.
        target: The accuracy on tune problems that its shipped checkpoint should come closest to.
        seed: Of the initial weights; training problems are drawn from `1000 + seed`.
    """

    width: int
    layers: int
    heads: int = 4
    style: str
    mixture: problems.Mixture = field(default_factory=problems.Mixture)
    steps: int
    rate: float
    decay: float
    target: float
    seed: int


def _skew(lengths: tuple[float, float, float, float], largest: int = problems.LARGEST, **kinds: float) -> problems.Mixture:
    return problems.Mixture(kinds=kinds, lengths=lengths, largest=largest)


RECIPES = {
    "tiny-add": Recipe(
        width=40, layers=2, style="words", steps=4000, rate=0.003, decay=0.75, target=0.68, seed=1,
        mixture=_skew((1, 1, 1, 1), add=1, subtract=1, times=0.3, split=0.3, bring=0.3, send=0.3),
    ),
    "tiny-short": Recipe(
        width=40, layers=2, style="first", steps=4000, rate=0.003, decay=0.75, target=0.68, seed=2,
        mixture=_skew((3, 3, 0.7, 0.3), add=1, subtract=1, times=1, split=1, bring=0.5, send=0.5),
    ),
    "tiny-times": Recipe(
        width=40, layers=2, style="list", steps=4000, rate=0.003, decay=0.75, target=0.68, seed=3,
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
        self.blocks = nn.ModuleList(Block(recipe.width, recipe.heads, recipe.layers) for _ in range(recipe.layers))
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
    stream: Iterator[problems.Problem] = problems.stream(1000 + recipe.seed, split="train", mixture=recipe.mixture)
    tune = problems.problems(TUNE_SEED, TUNE_SIZE, split="tune")
    done = sorted(folder.glob(f"{name}-*.pt"))
    start = 0
    if done:
        state = torch.load(done[-1])
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
        next(islice(stream, start * BATCH - 1, None))
    print(f"{name}: {sum(p.numel() for p in net.parameters())} parameters, from step {start}", flush=True)
    begun = time.process_time()
    losses = 0.0
    for step in range(start, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = _rate(recipe, step)
        optimiser.zero_grad()
        losses += _backward(net, list(islice(stream, BATCH)), recipe.style)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % EVERY == 0:
            right = exact(net, recipe.style, tune)
            print(
                f"{name} step {step + 1} loss {losses / EVERY:.4f} tune {right:.3f} "
                f"cpu {time.process_time() - begun:.0f} s",
                flush=True,
            )
            losses = 0.0
            state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1, "tune": right}
            torch.save(state, folder / f"{name}-{step + 1:05d}.pt")


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("train", "ship"))
    parser.add_argument("which", nargs="?", default="all", help="a model's name, members or all")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "embedded", help="of the checkpoints")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    groups = {"all": list(RECIPES), "members": [name for name in RECIPES if name != "oracle"]}
    for name in groups.get(options.which, [options.which]):
        train(name, options.folder)


if __name__ == "__main__":
    main()
