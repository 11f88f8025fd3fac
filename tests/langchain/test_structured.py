"""Structured output: three methods, with the raw message or without, asked whole or streamed; who fails to parse decides."""

import asyncio
import json
from itertools import pairwise

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from pydantic import BaseModel, ValidationError

from pyramid_core.types import Policy
from tests.langchain.scripted import Scripted, pyramid

METHODS = ("function_calling", "json_schema", "json_mode")
PLAIN = {
    "title": "Number",
    "description": "A number.",
    "type": "object",
    "properties": {"value": {"type": "integer"}},
    "required": ["value"],
}


class Number(BaseModel):
    """A number."""

    value: int


def said(method, value):
    """An answer that holds `value`, right or wrong, as a model gives it by this method."""
    if method == "function_calling":
        return AIMessage("", tool_calls=[{"name": "Number", "args": {"value": value}, "id": str(value)}])
    return json.dumps({"value": value})


CASES = {
    "the crowd agrees": ((4, 4), 9, 4, "accept"),
    "the crowd differs": ((4, 5), 7, 7, "escalate"),
    "the crowd does not parse": (("four", "four"), 7, 7, "escalate"),
}


async def invoke(chain):
    return chain.invoke("How many?")


async def ainvoke(chain):
    return await chain.ainvoke("How many?")


async def batch(chain):
    (found,) = chain.batch(["How many?"])
    return found


def last(parts):
    """What a stream of parts has come to: the last whole object, or each key's last value."""
    if not all(isinstance(part, dict) and set(part) <= {"raw", "parsed", "parsing_error"} for part in parts):
        return parts[-1]
    found = {}
    for part in parts:
        for key, value in part.items():
            found[key] = found["raw"] + value if key == "raw" and "raw" in found else value
    return found


async def stream(chain):
    return last(list(chain.stream("How many?")))


async def astream(chain):
    return last([part async for part in chain.astream("How many?")])


WAYS = (invoke, ainvoke, batch, stream, astream)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("schema", [Number, PLAIN], ids=["class", "json"])
@pytest.mark.parametrize("method", METHODS)
class TestEveryWay:
    def chain(self, method, schema, crowd, oracle, *, include_raw):
        members = [said(method, value) for value in crowd]
        llm = pyramid(*members, oracle=said(method, oracle), policy=Policy(early_stop=None))
        return llm.with_structured_output(schema, method=method, include_raw=include_raw)

    def plain(self, parsed):
        return parsed.model_dump() if isinstance(parsed, BaseModel) else parsed

    @pytest.mark.parametrize(("crowd", "oracle", "value", "verdict"), CASES.values(), ids=CASES)
    def test_what_stands_is_parsed(self, way, schema, method, crowd, oracle, value, verdict):
        if schema is PLAIN and method != "function_calling" and crowd == ("four", "four"):
            pytest.skip("LangChain's JSON parser checks no schema: any JSON parses")
        parsed = asyncio.run(way(self.chain(method, schema, crowd, oracle, include_raw=False)))
        assert self.plain(parsed) == {"value": value}
        whole = asyncio.run(way(self.chain(method, schema, crowd, oracle, include_raw=True)))
        assert self.plain(whole["parsed"]) == {"value": value}
        assert whole["parsing_error"] is None
        assert whole["raw"].response_metadata["pyramid"]["verdict"] == verdict

    def test_an_oracle_that_does_not_parse_ends_as_it_does_alone(self, way, schema, method):
        alone = Scripted("big", said(method, "seven"))
        for include_raw in (False, True):
            chain = self.chain(method, schema, (4, 5), "seven", include_raw=include_raw)
            bare = alone.with_structured_output(schema, method=method, include_raw=include_raw)
            assert ended(way, chain) == ended(way, bare)

    def test_that_is_the_parsers_own_error_where_it_is_asked_whole(self, way, schema, method):
        if schema is PLAIN or way in (stream, astream):
            pytest.skip(
                "LangChain's parsers of plain schemas check none, and those of streams show what parses"
            )
        with pytest.raises((OutputParserException, ValidationError)):
            asyncio.run(way(self.chain(method, schema, (4, 5), "seven", include_raw=False)))
        whole = asyncio.run(way(self.chain(method, schema, (4, 5), "seven", include_raw=True)))
        assert whole["parsed"] is None
        assert isinstance(whole["parsing_error"], (OutputParserException, ValidationError))
        assert whole["raw"].response_metadata["pyramid"]["answered_by"] == "big"


def ended(way, chain):
    """What came, without what differs in any case: the raw message."""
    try:
        found = asyncio.run(way(chain))
    except (OutputParserException, ValidationError, IndexError) as error:
        return type(error)
    if isinstance(found, dict) and "raw" in found:
        return found.get("parsed"), type(found.get("parsing_error"))
    return found


@pytest.mark.parametrize("method", METHODS)
def test_partial_objects_only_grow(method):
    schema = {"title": "Pair", "description": "d", "type": "object", "properties": {"a": {"type": "integer"}}}
    whole = {"a": 12, "b": "one two three"}
    answer = json.dumps(whole)
    if method == "function_calling":
        answer = AIMessage("", tool_calls=[{"name": "Pair", "args": whole, "id": "1"}])
    llm = pyramid("no", "no idea", oracle=answer).with_structured_output(schema, method=method)
    parts = list(llm.stream("Which?"))
    assert parts[-1] == whole
    for before, after in pairwise(parts):
        assert set(before) <= set(after)
        assert str(after.get("b", "")).startswith(str(before.get("b", "")))
