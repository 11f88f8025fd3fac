"""What a tool's schema refuses, and what it refuses for its form alone."""

import sys

import pytest

from pyramid_core.errors import InputError, MissingExtra
from pyramid_core.tool_schemas import check_tools, fault_of
from pyramid_core.types import ToolCall


def tool(name="add", **parameters):
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


ADD = tool(
    type="object",
    properties={
        "a": {"type": "integer"},
        "b": {"type": "number"},
        "sure": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        "how": {"enum": ["fast", "slow"]},
        "terms": {"type": "array", "items": {"type": "integer"}},
    },
    required=["a"],
    additionalProperties=False,
)


def fault(arguments, name="add", tools=(ADD,)):
    return fault_of(ToolCall(name=name, arguments=arguments), tools)


class TestFaults:
    @pytest.mark.parametrize(
        "arguments",
        [
            {"a": 1},
            {"a": 1.0},
            {"a": "1", "b": "2.5"},
            {"a": 1, "sure": None},
            {"a": 1, "sure": "true"},
            {"a": 1, "terms": [1, "2"]},
        ],
    )
    def test_what_the_tool_takes_or_plainly_means_is_none(self, arguments):
        assert fault(arguments) == ""

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({}, "add(): 'a' is a required property"),
            ({"a": "one"}, "add(a): 'one' is not of type 'integer'"),
            ({"a": "1.5"}, "add(a): '1.5' is not of type 'integer'"),
            ({"a": 1, "how": "quickly"}, "add(how): 'quickly' is not one of"),
            ({"a": 1, "c": 2}, "add(): Additional properties are not allowed"),
            ({"a": 1, "terms": [1, None]}, "add(terms.1): None is not of type 'integer'"),
            ({"a": 1, "sure": "maybe"}, "add(sure): 'maybe' is not valid"),
            ('{"a": ', "add's arguments are no JSON object"),
        ],
    )
    def test_what_it_refuses_is_named_with_its_place(self, arguments, said):
        assert fault(arguments).startswith(said)

    def test_a_tool_that_is_not_on_offer(self):
        assert fault({}, name="delete") == "there is no tool 'delete', only add"

    def test_beside_a_tool_of_the_providers_own_any_name_may_be_right(self):
        assert fault({}, name="delete", tools=(ADD, {"type": "web_search"})) == ""

    def test_where_no_tool_is_on_offer_nothing_is_known(self):
        assert fault({}, tools=()) == ""

    def test_a_tool_without_parameters_takes_anything(self):
        bare = {"type": "function", "function": {"name": "now"}}
        assert fault({"zone": "UTC"}, name="now", tools=(bare,)) == ""


class TestTools:
    def test_good_ones_and_those_of_the_providers_own_pass(self):
        check_tools([ADD, {"type": "web_search"}])

    @pytest.mark.parametrize(
        ("broken", "said"),
        [
            (tool("bad", type="nonsense"), r"tool 'bad' has parameters\['type'\] that are no JSON schema"),
            (
                tool("bad", type="object", properties={"a": {"type": "object", "required": "b"}}),
                r"\['properties'\]\['a'\]\['required'\]",
            ),
            (tool("bad", type="object", default={1, 2}), "tool 'bad' has parameters that are not plain JSON"),
        ],
    )
    def test_a_broken_one_is_named_with_its_place(self, broken, said):
        with pytest.raises(InputError, match=said):
            check_tools([ADD, broken])

    def test_without_jsonschema_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "jsonschema", None)
        check_tools([])
        with pytest.raises(MissingExtra, match=r"pyramid-moa\[langchain\]"):
            check_tools([ADD])
