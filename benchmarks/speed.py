"""The plugin's own speed, printed side by side in one run: absolute times are noisy, the ratios are what counts.

    python benchmarks/speed.py [decision] [fanout] [overhead] [import] [long]

- decision: CPU time from the last answer to the verdict, its parts, and the same with xgboost itself;
- fanout: wall time of three members that take 150 ms and an oracle that takes 200 ms, against those sums;
- overhead: a whole query over members without latency, against a bare pool and a bare gather;
- import: `import pyramid_core` against bare Python with numpy;
- long: three answers of 1 MB.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import decision_speed

from pyramid_core import Answer, Observation, Pyramid, Query, Reply
from pyramid_core.routers import AgreementRouter

CROWD = ("a", "b", "c")


class Slow:
    """A member that answers after a while, on a thread or on the loop."""

    def __init__(self, name: str, text: str, seconds: float = 0.0) -> None:
        self.name, self.text, self.seconds = name, text, seconds

    def ask(self, query: Query) -> Answer:
        """Answer after `seconds`."""
        if self.seconds:
            time.sleep(self.seconds)
        return Answer(text=self.text)

    async def aask(self, query: Query) -> Answer:
        """Answer after `seconds`."""
        await asyncio.sleep(self.seconds)
        return Answer(text=self.text)


def pyramid(texts: str, crowd_seconds: float = 0.0, oracle_seconds: float = 0.0) -> Pyramid:
    """Three members that say `texts`, a letter each, and an oracle."""
    crowd = [Slow(name, text, crowd_seconds) for name, text in zip(CROWD, texts, strict=True)]
    return Pyramid(crowd=crowd, oracle=Slow("o", "9", oracle_seconds))


def median(work: Callable[[], Any], times: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """The median time of `work`, in seconds of `clock`."""
    found = []
    for _ in range(times):
        start = clock()
        work()
        found.append(clock() - start)
    return statistics.median(found)


def fanout() -> None:
    """Three members at once, then perhaps the oracle."""
    print(
        "fan-out: crowd 150 ms, oracle 200 ms; wall time in ms, median of 9 (the sum of the waiting beside it)"
    )
    for name, texts, floor in (("accepted", "777", 150.0), ("escalated", "778", 350.0)):
        made = pyramid(texts, 0.15, 0.2)
        sync = 1e3 * median(lambda made=made: made.ask("How many?"), 9)

        async def one(made: Pyramid = made) -> float:
            start = time.perf_counter()
            await made.aask("How many?")
            return time.perf_counter() - start

        async def several(one: Any = one) -> float:
            return statistics.median([await one() for _ in range(9)])

        print(
            f"  {name:10} sync {sync:6.1f}   async {1e3 * asyncio.run(several()):6.1f}   floor {floor:5.0f}"
        )


def overhead() -> None:
    """A whole query without latency against the bare calls."""
    made, query, times = pyramid("777"), Query(text="How many?"), 2_000
    members = list(made.members.values())[:3]
    with ThreadPoolExecutor(3) as pool:
        bare = median(lambda: list(pool.map(lambda m: m.ask(query), members)), times)
    sync = median(lambda: made.ask(query), times)

    async def timed(work: Callable[[], Any]) -> float:
        found = []
        for _ in range(times):
            start = time.perf_counter()
            await work()
            found.append(time.perf_counter() - start)
        return statistics.median(found)

    gather = asyncio.run(timed(lambda: asyncio.gather(*(m.aask(query) for m in members))))
    aasync = asyncio.run(timed(lambda: made.aask(query)))
    print(f"overhead: a whole query, three members without latency, agreement; median of {times}, µs")
    print(f"  sync   {1e6 * sync:6.0f}   bare pool   {1e6 * bare:6.0f}   more {1e6 * (sync - bare):6.0f}")
    print(
        f"  async  {1e6 * aasync:6.0f}   bare gather {1e6 * gather:6.0f}   more {1e6 * (aasync - gather):6.0f}"
    )


def imports() -> None:
    """What `import pyramid_core` costs beside numpy."""

    def cost(code: str) -> float:
        return 1e3 * median(lambda: subprocess.run([sys.executable, "-c", code], check=True), 9)

    bare, core = cost("import numpy"), cost("import numpy, pyramid_core")
    print(
        f"import, ms: numpy alone {bare:.0f}, with pyramid_core {core:.0f}, more {core - bare:.0f} (at most 100)"
    )


def long_answers() -> None:
    """Three answers of 1 MB: features clip."""
    texts = [f"Step {n} " * 140_000 + f"The answer is {n}." for n in (7, 7, 8)]
    replies = tuple(
        Reply(call=n, role="crowd", who=CROWD[n], result=Answer(text=text)) for n, text in enumerate(texts)
    )
    rows = decision_speed.class_level().features.rows

    def assess() -> None:
        seen = Observation(query=Query(text="How many?"), crowd=CROWD, replies=replies, oracles=("o",))
        AgreementRouter().assess(seen)
        rows(seen)

    size = sum(map(len, texts)) / 3e6
    print(
        f"long answers: three of {size:.1f} MB, classes and features: {1e3 * median(assess, 9):.1f} ms (at most 50)"
    )


PARTS: dict[str, Callable[[], None]] = {
    "decision": decision_speed.report,
    "fanout": fanout,
    "overhead": overhead,
    "import": imports,
    "long": long_answers,
}


def main() -> None:
    """Run the parts that are named, or all."""
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
