"""CPU time from the last answer to the verdict, with routers of a stated size, beside xgboost's own evaluation.

The routers are trained here on made-up answers: their size is what matters (20 features, 200 trees of depth 4).
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from pyramid_core import Answer, Policy, Query, ThresholdRule
from pyramid_core.deliberation import Deliberation
from pyramid_core.equivalence import classes
from pyramid_core.features import DEFAULT_CLASS_FEATURES
from pyramid_core.features.catalogue import named
from pyramid_core.routers import LearnedRouter
from pyramid_core.training import Growth, fit
from pyramid_core.types import Context, Observation, Reply

CROWD = ("a", "b", "c")
TWENTY = (
    "agreement",
    "answer_entropy",
    "vote_margin",
    "length_mean",
    "length_variation",
    "confidence_mean",
    "avg_logprob",
    "min_logprob",
    "text_ratio",
    "final_similarity",
    "question_similarity",
    "question_numbers_used",
    "numbers_shared",
    "query_length",
    "query_numbers",
    "query_sentences",
    "length_chosen",
    "confidence_chosen",
    "avg_logprob_chosen",
    "min_logprob_chosen",
)
"""One booster's features, of every family that three texts with log-probabilities have."""
QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. "
    "How many clips did she sell altogether in April and May?"
)
TIMES = 400


def response(name: str, value: int, rng: random.Random) -> dict[str, Any]:
    """One made-up worked answer of some 300 characters with log-probabilities."""
    words = rng.sample(
        ["Natalia", "sold", "clips", "in", "May", "first", "then", "adding", "half", "friends"], 8
    )
    text = f"In April she sold 48 clips. {' '.join(words * 3)} so 48 / 2 = 24. Then 48 + 24 = 72. " * 1
    text += f"Altogether that makes {value}.\n#### {value}"
    logprobs = [-rng.expovariate(4.0) for _ in range(80)]
    return {
        "model": name,
        "text": text,
        "logprobs": logprobs,
        "correct": value == 72,
        "confidence": round(rng.random(), 2),
        "tokens": 80,
    }


def records(count: int) -> list[dict[str, Any]]:
    """Made-up graded records."""
    rng = random.Random(7)
    found = []
    for number in range(count):
        hard = rng.random()
        said = {n: 72 if rng.random() > hard * 0.7 else rng.choice([70, 71, 96]) for n in (*CROWD, "o")}
        responses = [response(name, value, rng) for name, value in said.items()]
        query = f"{QUESTION} ({number})" + " Show your steps." * (number % 2)
        found.append({"id": str(number), "query": query, "responses": responses})
    return found


@cache
def query_level(equivalence: str = "auto") -> LearnedRouter:
    """One booster on one row; a card may fix how answers are compared, or leave it to be inferred each time."""
    growth = Growth(trees=200, depth=4, least=1.0)
    return fit(
        records(600),
        crowd=CROWD,
        oracle="o",
        kind="anytime",
        equivalence=equivalence,
        features=named(*TWENTY),
        growth=growth,
    )


@cache
def class_level() -> LearnedRouter:
    """Two boosters, a row for each class."""
    growth = Growth(trees=200, depth=4, least=1.0)
    return fit(
        records(600), crowd=CROWD, oracle="o", kind="value", features=DEFAULT_CLASS_FEATURES, growth=growth
    )


def cpu(work: Callable[[Any], Any], prepare: Callable[[], Any], times: int = TIMES) -> float:
    """Median CPU time of `work(prepare())` on this thread, in µs; as in `timeit`, the garbage collector rests."""
    given = [prepare() for _ in range(times)]
    found = []
    gc.collect()
    gc.disable()
    try:
        for one in given:
            start = time.thread_time_ns()
            work(one)
            found.append(time.thread_time_ns() - start)
    finally:
        gc.enable()
    return statistics.median(found) / 1e3


def answers(values: tuple[int, ...], seed: int) -> list[Answer]:
    """Fresh answers, so that no cache of texts helps."""
    rng = random.Random(seed)
    made = []
    for name, value in zip(CROWD, values, strict=True):
        told = response(name, value, rng)
        made.append(
            Answer(text=told["text"], logprobs=tuple(told["logprobs"]), confidence=told["confidence"])
        )
    return made


def report() -> None:
    """Print the figures."""
    for name, router, values, limit in (
        ("one booster, one row", query_level("numeric"), (72, 72, 70), 150),
        ("the same, equivalence inferred", query_level(), (72, 72, 70), 150),
        ("two boosters, three classes", class_level(), (72, 70, 96), 250),
    ):
        trees = [len(json.loads(router.files["fail.json"])["learner"]["gradient_booster"]["model"]["trees"])]
        print(
            f"decision ({name}; {len(router.features.names)} features, {trees[0]} trees): µs of CPU, "
            f"median of {TIMES}"
        )
        seeds = iter(range(10**6))

        def waiting(router: LearnedRouter = router, values: Any = values, seeds: Any = seeds) -> Any:
            rule = ThresholdRule(0.4).resolved(router)
            policy = Policy()
            machine = Deliberation(Query(text=QUESTION), CROWD, ("o",), router, rule, policy)
            machine.start(0.0, Context())
            made = answers(values, next(seeds))
            machine.answered(0, made[0], 0.1)
            machine.answered(1, made[1], 0.2)
            return machine, made[2]

        def observed(waiting: Any = waiting) -> Observation:
            machine, last = waiting()
            seen = machine.observation()
            reply = Reply(call=2, role="crowd", who=CROWD[2], result=last)
            return replace(seen, replies=(*seen.replies, reply), pending=(), cache={})

        def featured(observed: Any = observed, router: LearnedRouter = router) -> Any:
            return np.asarray(router.features.rows(observed()), dtype=np.float32)

        total = cpu(lambda given: given[0].answered(2, given[1], 0.3), waiting)
        grouped = cpu(lambda seen: classes(seen, router.features.equivalence), observed)  # noqa: B023
        rows = cpu(lambda seen: router.features.rows(seen), observed)  # noqa: B023
        fail = cpu(router.fail.probabilities, featured)
        assess = cpu(router.assess, observed)
        print(f"  from the last answer to the verdict  {total:6.0f}   (at most {limit})")
        print(f"    classes                            {grouped:6.0f}")
        print(f"    features, classes included         {rows:6.0f}")
        print(f"    trees (p_fail)                     {fail:6.0f}")
        if router.after is not None:
            print(f"    trees (p_after)                    {cpu(router.after.probabilities, featured):6.0f}")
        print(f"    the whole assessment               {assess:6.0f}")
        with_xgboost(router, featured)


def with_xgboost(router: LearnedRouter, featured: Callable[[], Any]) -> None:
    """The same trees evaluated by xgboost itself."""
    import xgboost

    booster = xgboost.Booster(model_file=bytearray(router.files["fail.json"]))
    for threads in (1, 0):
        booster.set_param({"nthread": threads})
        name = f"xgboost inplace_predict, {threads or 'default'} thread{'s' if threads != 1 else ''}"
        wall = []
        process = time.process_time_ns()
        for _ in range(TIMES):
            rows = featured()
            start = time.perf_counter_ns()
            booster.inplace_predict(rows)
            wall.append(time.perf_counter_ns() - start)
        del process
        print(f"    {name:34} {statistics.median(wall) / 1e3:6.0f}   (wall)")


if __name__ == "__main__":
    report()
