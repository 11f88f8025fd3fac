"""LlamaIndex's synchronous methods take the thread's idle event loop, or make one, and never close it."""

import asyncio
import inspect

import pytest


@pytest.fixture(autouse=True)
def no_idle_loop(request):
    """There is none in a synchronous test, so that LlamaIndex uses `asyncio.run`, which closes its own."""
    if not inspect.iscoroutinefunction(request.function):
        asyncio.set_event_loop(None)
