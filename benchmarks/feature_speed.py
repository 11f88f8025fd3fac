"""What each feature costs on three worked answers: µs of CPU, the median over fresh texts that no cache has seen.

    python benchmarks/feature_speed.py

Reading voices, kind and classes comes first and is not counted again with the features. "alone" is a feature by
itself; features share what they read (words, numbers, sums of log-probabilities), so a set costs less than its sum.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from pyramid_core.equivalence import classes, kind_of, voices
from pyramid_core.features import (
    CLASS_FEATURES,
    DEFAULT_CLASS_FEATURES,
    DEFAULT_QUERY_FEATURES,
    QUERY_FEATURES,
    ClassView,
    FeatureSet,
    View,
)
from pyramid_core.types import Answer, Observation, Query, Reply

CROWD = ("a", "b", "c")
WORDS = "then she sold half as many clips in May because her friends asked for more of them so first".split()
TIMES = 150


def observation(characters: int, rng: random.Random) -> Observation:
    """Three answers of about so many characters with a log-probability for every four of them."""
    replies = []
    for call, (name, value) in enumerate(zip(CROWD, (72, 72, 70), strict=True)):
        text = ""
        while len(text) < characters - 40:
            first, second = rng.randrange(2, 60), rng.randrange(2, 60)
            text += f"{' '.join(rng.sample(WORDS, 9))} {first} + {second} = {first + second}. "
        text += f"The answer is {value}."
        logprobs = tuple(-rng.expovariate(4.0) for _ in range(len(text) // 4))
        replies.append(Reply(call=call, role="crowd", who=name, result=Answer(text=text, logprobs=logprobs)))
    question = "Natalia sold clips to 48 friends in April, and half as many in May. How many clips in all?"
    return Observation(query=Query(text=question), crowd=CROWD, replies=tuple(replies))


def cost(work: Callable[[Any], Any], prepare: Callable[[], Any]) -> float:
    """Median CPU time of `work(prepare())`, in µs."""
    found = []
    for _ in range(TIMES):
        given = prepare()
        start = time.thread_time_ns()
        work(given)
        found.append(time.thread_time_ns() - start)
    return statistics.median(found) / 1e3


def main() -> None:
    """Print the figures."""
    rng = random.Random(7)
    sets = {
        f"default, level query ({len(DEFAULT_QUERY_FEATURES)})": FeatureSet("query", DEFAULT_QUERY_FEATURES),
        f"default, level class ({len(DEFAULT_CLASS_FEATURES)})": FeatureSet("class", DEFAULT_CLASS_FEATURES),
    }
    steps: dict[str, Callable[[Observation], Any]] = {"voices": voices, "kind": kind_of, "classes": classes}
    steps |= {name: made.rows for name, made in sets.items()}
    for characters in (200, 400, 800):
        print(f"three answers of {characters} characters, {characters // 4} log-probabilities each:")
        for name, step in steps.items():
            print(f"  {name:36}{cost(step, lambda n=characters: observation(n, rng)):7.1f}")  # type: ignore[misc]

    def ready() -> ClassView:
        view = View(observation(400, rng))
        return ClassView(view, view.classes[0])

    print("each feature alone, at 400 characters, without the classes:")
    for feature in (*QUERY_FEATURES, *CLASS_FEATURES):
        if feature.level == "query":
            print(f"  {feature.name:36}{cost(lambda seen, f=feature: f.compute(seen.view), ready):7.1f}")  # type: ignore[misc]
        else:
            print(f"  {feature.name:36}{cost(feature.compute, ready):7.1f}")


if __name__ == "__main__":
    main()
