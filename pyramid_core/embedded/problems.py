"""The toy language that the embedded models speak: generated arithmetic word problems.

One quantity is changed by one to four steps: some are added, taken away, multiplied, split into equal piles, or come
and go as "k boxes of m". Every number on the way lies in 0..120, and every division is exact, so that a problem has
one integer answer and one line of work for each calculation.

A problem belongs to a *split* by the hash of its question alone. The splits are therefore disjoint whatever seed or
mixture drew them: no problem of the split "test" can have been seen in training, by any model or router.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

LARGEST = 120
"""The largest number in a problem; the smallest is 0."""

NAMES_SHE = ("Ann", "Eva", "Ida", "Lily", "Maya", "Nora", "Ruth", "Zoe")
NAMES_HE = ("Ben", "Carl", "Dan", "Leo", "Max", "Omar", "Sam", "Tom")
THINGS = (
    "apples", "books", "cards", "coins", "cookies", "eggs", "flowers", "keys",
    "marbles", "nuts", "pears", "pencils", "plums", "shells", "stamps", "toys",
)  # fmt: skip
CONTAINERS = ("bags", "boxes", "jars", "packs")

OPENINGS = (
    "{name} has {n} {things}.",
    "{name} starts with {n} {things}.",
    "There are {n} {things} in the house of {name}.",
)
CLOSINGS = (
    "How many {things} does {name} have now?",
    "How many {things} does {she} have in the end?",
    "How many {things} are there now?",
)
WORDINGS = {
    "add": (
        "{She} finds {k} more.",
        "{other} gives {her} {k} more {things}.",
        "{She} buys {k} {things} at the market.",
        "Then {she} gets {k} from {other}.",
    ),
    "subtract": (
        "{She} loses {k}.",
        "{She} gives {k} {things} to {other}.",
        "{She} sells {k} of them at the market.",
        "Then {other} takes {k} {things}.",
    ),
    "times": (
        "Soon {she} has {k} times as many.",
        "Then there are {k} times as many {things}.",
        "{other} makes it {k} times as many.",
    ),
    "split": (
        "{She} puts them into {k} equal piles and keeps one pile.",
        "{She} splits them into {k} equal parts and keeps one.",
        "Then only one of {k} equal parts is left.",
    ),
    "bring": (
        "{She} buys {k} {boxes} of {m} {things}.",
        "{other} brings {k} {boxes} with {m} {things} in each.",
    ),
    "send": (
        "{She} sells {k} {boxes} of {m} {things}.",
        "{other} takes {k} {boxes} with {m} {things} in each.",
    ),
}
"""How each kind of step may be told. "bring" and "send" add or take away k boxes of m."""

SPLITS = ("train", "tune", "router", "test")
_SPLIT_ENDS = (160, 192, 224, 256)  # of the first byte of the hash: 62.5 %, then 12.5 % each


@dataclass(frozen=True, kw_only=True)
class Sum:
    """One line of work: `left operator right = result`, the operator one of `+ - * /`."""

    left: int
    operator: str
    right: int
    result: int


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A word problem and its solution.

    Attributes:
        question: The text; all that a model gets to see.
        answer: The number asked for, in 0..120.
        steps: How many changes the quantity goes through, 1 to 4.
        work: The calculations in order; a "k boxes of m" step takes two of them, every other step one.
    """

    question: str
    answer: int
    steps: int
    work: tuple[Sum, ...]

    @property
    def split(self) -> str:
        """The split that this problem belongs to, by the SHA-256 of its question: one of `SPLITS`."""
        return split_of(self.question)


def _even() -> dict[str, float]:
    return {"add": 1.0, "subtract": 1.0, "times": 1.0, "split": 1.0, "bring": 0.5, "send": 0.5}


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """What share of problems is of which sort. The default is the even mixture, on which everything is evaluated.

    Attributes:
        kinds: Weight of each kind of step (a key of `WORDINGS`) among those that the running quantity allows.
        lengths: Weights of problems with 1, 2, 3 and 4 steps.
        largest: No number in a problem exceeds this.
    """

    kinds: dict[str, float] = field(default_factory=_even)
    lengths: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    largest: int = LARGEST


def split_of(question: str) -> str:
    """The split of a question: disjoint sets by construction, since equal texts have equal hashes."""
    first = hashlib.sha256(question.encode("utf-8", "replace")).digest()[0]
    return next(name for name, end in zip(SPLITS, _SPLIT_ENDS, strict=True) if first < end)


def problems(
    seed: int, n: int, *, split: str = "test", mixture: Mixture | None = None
) -> tuple[Problem, ...]:
    """Draw `n` distinct problems of one split; the same arguments always give the same problems.

    Args:
        seed: Of the random numbers.
        n: How many problems, 0 or more.
        split: One of `SPLITS`.
        mixture: What sorts of problems; the even mixture by default.

    Raises:
        ValueError: `split` is not one of `SPLITS`, or `n` is negative.
    """
    if n < 0:
        raise ValueError(f"cannot draw {n} problems: n must be 0 or more")
    return tuple(islice(stream(seed, split=split, mixture=mixture), n))


def stream(seed: int, *, split: str, mixture: Mixture | None = None) -> Iterator[Problem]:
    """Yield distinct problems of one split without end.

    Raises:
        ValueError: `split` is not one of `SPLITS`.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    return _draw(random.Random(seed), split, mixture or Mixture())


def _draw(rng: random.Random, split: str, mixture: Mixture) -> Iterator[Problem]:
    seen = set()
    while True:
        problem = _problem(rng, mixture)
        if problem.split == split and problem.question not in seen:
            seen.add(problem.question)
            yield problem


def _problem(rng: random.Random, mixture: Mixture) -> Problem:
    female = rng.random() < 0.5
    name = rng.choice(NAMES_SHE if female else NAMES_HE)
    words: dict[str, object] = {
        "name": name,
        "things": rng.choice(THINGS),
        "she": "she" if female else "he",
        "She": "She" if female else "He",
        "her": "her" if female else "him",
    }
    others = [other for other in NAMES_SHE + NAMES_HE if other != name]
    # Small starts as often as any: otherwise hardly a quantity could be multiplied.
    quantity = rng.randint(2, mixture.largest if rng.random() < 0.5 else mixture.largest // 3)
    sentences = [rng.choice(OPENINGS).format(n=quantity, **words)]
    work: list[Sum] = []
    steps = rng.choices((1, 2, 3, 4), mixture.lengths)[0]
    for _ in range(steps):
        kind, k, m = _step(rng, quantity, mixture)
        sentence = rng.choice(WORDINGS[kind])
        sentences.append(
            sentence.format(k=k, m=m, other=rng.choice(others), boxes=rng.choice(CONTAINERS), **words)
        )
        work.extend(_work(kind, quantity, k, m))
        quantity = work[-1].result
    sentences.append(rng.choice(CLOSINGS).format(**words))
    return Problem(question=" ".join(sentences), answer=quantity, steps=steps, work=tuple(work))


def _step(rng: random.Random, quantity: int, mixture: Mixture) -> tuple[str, int, int]:
    """Choose a step that keeps the quantity in 1..largest: its kind, its k and (for boxes) its m."""
    room = mixture.largest - quantity
    factors = range(2, min(9, mixture.largest // quantity) + 1)
    divisors = [k for k in range(2, 10) if quantity % k == 0]
    allowed = {
        "add": room >= 2,
        "subtract": quantity >= 3,
        "times": len(factors) > 0,
        "split": len(divisors) > 0,
        "bring": room >= 4,
        "send": quantity >= 5,
    }
    kinds = [kind for kind in WORDINGS if allowed[kind]]
    weights = [mixture.kinds[kind] for kind in kinds]
    # A skewed mixture may leave no kind with weight; then any allowed kind will do.
    kind = rng.choices(kinds, weights if any(weights) else None)[0]
    if kind == "times":
        return kind, rng.choice(factors), 0
    if kind == "split":
        return kind, rng.choice(divisors), 0
    limit = room if kind in ("add", "bring") else quantity - 1
    if kind in ("add", "subtract"):
        return kind, rng.randint(2, limit), 0
    k = rng.randint(2, min(9, limit // 2))
    return kind, k, rng.randint(2, max(2, min(12, limit // k)))


def _work(kind: str, quantity: int, k: int, m: int) -> Iterator[Sum]:
    if kind == "times":
        yield Sum(left=quantity, operator="*", right=k, result=quantity * k)
    elif kind == "split":
        yield Sum(left=quantity, operator="/", right=k, result=quantity // k)
    else:
        amount = k
        if kind in ("bring", "send"):
            amount = k * m
            yield Sum(left=k, operator="*", right=m, result=amount)
        if kind in ("add", "bring"):
            yield Sum(left=quantity, operator="+", right=amount, result=quantity + amount)
        else:
            yield Sum(left=quantity, operator="-", right=amount, result=quantity - amount)
