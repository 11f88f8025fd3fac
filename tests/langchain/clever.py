"""Answers for whatever LangChain's standard tests ask: calls that fit the tools on offer, objects that fit a schema."""

import json
import re

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool

from langchain_pyramid.binding import Structured, parsed_by
from langchain_pyramid.calls import question
from tests.langchain.scripted import Scripted

TEXT = "Hello there, my friend"


def filled(schema: dict, asked: str):
    """A value that fits `schema`; texts are what the question has in quotes, where it has some."""
    for alternatives in ("anyOf", "oneOf"):
        if alternatives in schema:
            return filled(schema[alternatives][0], asked)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object" or "properties" in schema:
        return {name: filled(value, asked) for name, value in schema.get("properties", {}).items()}
    quoted = re.search(r"'(.+?)'", asked)
    text = quoted[1] if quoted else "a word or two"
    return {"integer": 3, "number": 3.5, "boolean": True, "array": [], "null": None}.get(
        schema.get("type"), text
    )


def wanted(tools: list, choice) -> dict:
    """The function that is to be called: the one that is named, else the first."""
    name = choice["function"]["name"] if isinstance(choice, dict) else choice
    functions = [tool["function"] for tool in tools]
    return next((function for function in functions if function["name"] == name), functions[0])


class Clever(Scripted):
    """A scripted model that calls the tools it is offered until it sees a result, and fills the schemas it is given."""

    def __init__(self, model: str = "clever", **fields) -> None:
        super().__init__(model, TEXT, **fields)

    def _next(self, messages, settings):
        asked, schema = question(messages), settings.get("schema")
        if schema is not None:
            self.says = json.dumps(filled(schema, asked), ensure_ascii=False)
        elif settings.get("tools") and not any(isinstance(message, ToolMessage) for message in messages):
            function = wanted(settings["tools"], settings.get("tool_choice"))
            arguments = filled(function["parameters"], asked)
            call = {"name": function["name"], "args": arguments, "id": "call_abc123"}
            self.says = AIMessage("", tool_calls=[call])
        else:
            self.says = TEXT
        return super()._next(messages, settings)

    def bind_tools(self, tools, *, tool_choice=None, **kwargs):
        return self.bind(tools=list(map(convert_to_openai_tool, tools)), tool_choice=tool_choice, **kwargs)

    def with_structured_output(self, schema, *, include_raw=False, method="function_calling", strict=None):
        if method == "function_calling":
            return super().with_structured_output(schema, include_raw=include_raw)
        llm = self.bind(schema=convert_to_json_schema(schema), strict=strict)
        return parsed_by(llm, Structured(schema, method), include_raw=include_raw)
