"""What PyramidLLM costs beside its own members, asked bare through the same pool or gather; in one run, in turns.

    python benchmarks/llamaindex_overhead.py [rounds]

Three LLMs that answer at once, with LlamaIndex's own events and spans, so that nothing is measured but what asking costs.
At one concurrent query the figure is wall time, at 16 and 128 the process's CPU time, each a query, in ms. Bare and
pyramid take turns within every round, and the figure is the median over the rounds of their difference: a machine that
is busy with something else is busy for both.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.llms import LLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback

from llamaindex_pyramid import PyramidLLM

BUDGET_MS = 0.5
ASKS = [ChatMessage(content="How many apples does Tom have now, with 5 before and 3 more?")]
USAGE = {"usage": {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29}}


class Instant(LLM):
    """Answers at once."""

    name: str = "instant"

    @classmethod
    def class_name(cls) -> str:
        """Its own name."""
        return "Instant"

    @property
    def metadata(self) -> LLMMetadata:
        """A chat model."""
        return LLMMetadata(is_chat_model=True, model_name=self.name)

    def _said(self) -> ChatResponse:
        return ChatResponse(
            message=ChatMessage(role="assistant", content="The answer is 8."), raw=dict(USAGE)
        )

    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        """Answer."""
        return self._said()

    @llm_chat_callback()
    async def achat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        """Answer after a turn of the loop, as whatever waits for a socket does."""
        await asyncio.sleep(0)
        return self._said()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer."""
        return CompletionResponse(text="The answer is 8.", raw=dict(USAGE))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer."""
        return CompletionResponse(text="The answer is 8.", raw=dict(USAGE))

    def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        """Not measured."""
        raise NotImplementedError

    astream_chat = stream_complete = astream_complete = stream_chat


CROWD = [Instant(name=name) for name in "abc"]
LLMS = {
    "pyramid": PyramidLLM(crowd=CROWD, oracle=Instant(name="oracle")),
}


async def bare() -> None:
    """The crowd, gathered."""
    await asyncio.gather(*(llm.achat(ASKS) for llm in CROWD))


async def whole() -> None:
    """The pyramid over the same crowd."""
    await LLMS["pyramid"].achat(ASKS)


async def spent(
    ask: Callable[[], Awaitable[None]], concurrent: int, queries: int, clock: Callable[[], float]
) -> float:
    """Milliseconds a query."""
    start = clock()
    for _ in range(queries // concurrent):
        await asyncio.gather(*(ask() for _ in range(concurrent)))
    return 1e3 * (clock() - start) / (queries // concurrent * concurrent)


def compared(concurrent: int, rounds: int) -> tuple[float, float, float]:
    """Bare, pyramid, and the median difference; on the event loop."""
    clock = time.perf_counter if concurrent == 1 else time.process_time
    queries = max(60, concurrent * 2)

    async def measured() -> list[tuple[float, float]]:
        found = []
        for _ in range(rounds):
            gc.collect()
            found.append(
                (
                    await spent(bare, concurrent, queries, clock),
                    await spent(whole, concurrent, queries, clock),
                )
            )
        return found

    return _summed(asyncio.run(measured()))


def threaded(rounds: int) -> tuple[float, float, float]:
    """The same with synchronous clients: the crowd on a kept pool, the pyramid from the calling thread."""
    found = []
    with ThreadPoolExecutor(len(CROWD)) as pool:
        for _ in range(rounds):
            gc.collect()
            times = []
            for ask in (lambda: _pooled(pool), lambda: LLMS["pyramid"].chat(ASKS)):
                start = time.perf_counter()
                for _ in range(60):
                    ask()
                times.append(1e3 * (time.perf_counter() - start) / 60)
            found.append((times[0], times[1]))
    return _summed(found)


def _pooled(pool: ThreadPoolExecutor) -> None:
    asked = [pool.submit(copy_context().run, llm.chat, ASKS) for llm in CROWD]
    for each in asked:
        each.result()


def _summed(found: list[tuple[float, float]]) -> tuple[float, float, float]:
    before, after = zip(*found, strict=True)
    more = statistics.median(b - a for a, b in found)
    return statistics.median(before), statistics.median(after), more


def main() -> None:
    """Print the figures side by side."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    threaded(2)  # Imports, caches and threads come first.
    compared(16, 2)
    print(f"ms a query, median of {rounds} rounds; at most {BUDGET_MS} ms more is aimed at")
    print(f"{'':24}{'bare':>8}{'pyramid':>9}{'more':>8}")
    rows = [("sync, 1 (wall)", threaded(rounds))]
    rows += [(f"async, {n} ({'wall' if n == 1 else 'CPU'})", compared(n, rounds)) for n in (1, 16, 128)]
    for name, (before, after, more) in rows:
        print(f"{name:24}{before:8.2f}{after:9.2f}{more:8.2f}{'' if more <= BUDGET_MS else '   over'}")


if __name__ == "__main__":
    main()
