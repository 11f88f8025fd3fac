"""Members wrapped in every way that LangChain offers keep their settings when something is bound to them."""

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_pyramid.binding import Binding, Structured, bound, models_in, through
from pyramid_core.errors import InputError
from tests.langchain.scripted import Scripted, Toolless, Tracer, pyramid


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


class Number(BaseModel):
    """A number."""

    value: int


CALL = AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "1"}])

WRAPPERS = {
    "bare": lambda model: model,
    "bind": lambda model: model.bind(flavour="sour"),
    "with_config": lambda model: model.with_config(tags=["mine"]),
    "with_retry": lambda model: model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False),
    "with_fallbacks": lambda model: model.with_fallbacks([Scripted("spare", CALL)]),
    "bind and retry": lambda model: model.bind(flavour="sour").with_retry(stop_after_attempt=2),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
class TestWrapped:
    def test_tools_reach_the_innermost_model_in_its_own_schema(self, wrap):
        model = Scripted("small", CALL)
        llm = pyramid(wrap(model), wrap(Scripted("other", CALL)), oracle=CALL).bind_tools([add])
        assert llm.invoke("1 + 2?").tool_calls[0]["args"] == {"a": 1, "b": 2}
        (_, settings), *_ = model.calls
        assert settings["own_schema"] == ["add"]
        assert "tools" not in settings

    def test_what_the_wrapper_bound_survives(self, wrap):
        model = Scripted("small", CALL)
        tracer = Tracer()
        llm = pyramid(wrap(model), Scripted("other", CALL), oracle=CALL).bind_tools([add])
        llm.invoke("1 + 2?", config={"callbacks": [tracer]})
        name = next(key for key, value in WRAPPERS.items() if value is wrap)
        (_, settings), *_ = model.calls
        assert settings.get("flavour") == ("sour" if "bind" in name else None)
        tags = {tag for run in tracer.runs.values() for tag in run.tags or ()}
        assert ("mine" in tags) == (name == "with_config")

    async def test_it_answers_without_tools_sync_and_async(self, wrap):
        llm = pyramid(wrap(Scripted("small", "4")), wrap(Scripted("other", "4")))
        assert llm.invoke("2 + 2?").text == "4"
        assert (await llm.ainvoke("2 + 2?")).text == "4"

    def test_structured_output_reaches_the_innermost_model(self, wrap):
        model = Scripted("small", '{"value": 3}')
        llm = pyramid(wrap(model), wrap(Scripted("other", '{"value": 3}'))).with_structured_output(
            Number, method="json_schema"
        )
        assert llm.invoke("1 + 2?") == Number(value=3)
        (_, settings), *_ = model.calls
        assert settings["own_format"] == "Number"


class TestRetriesAndFallbacks:
    def test_a_member_with_retries_is_asked_again_with_its_tools(self):
        flaky = Scripted("flaky", [ConnectionError("busy"), CALL])
        member = flaky.with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
        answer = pyramid(member, CALL).bind_tools([add]).invoke("1 + 2?")
        assert answer.response_metadata["pyramid"]["verdict"] == "accept"
        assert [settings["own_schema"] for _, settings in flaky.calls] == [["add"], ["add"]]

    def test_a_member_with_fallbacks_falls_back_with_its_tools(self):
        spare = Scripted("spare", CALL)
        member = Scripted("down", ConnectionError("down")).with_fallbacks([spare])
        pyramid(member, CALL).bind_tools([add]).invoke("1 + 2?")
        assert spare.calls[0][1]["own_schema"] == ["add"]


class TestThrough:
    def test_tools_that_a_member_brought_along_give_way_to_those_bound_now(self):
        model = Scripted("small", CALL)
        member = bound(
            model.bind(tools=["old"], flavour="sour"),
            "small",
            Binding(tools=({"type": "function", "function": {"name": "new", "parameters": {}}},)),
        )
        member.runnable.invoke("x")
        (_, settings), *_ = model.calls
        assert settings["own_schema"] == ["new"]
        assert settings["flavour"] == "sour"
        assert "tools" not in settings

    def test_the_member_itself_is_not_changed(self):
        wrapped = Scripted("small").bind(flavour="sour")
        through(wrapped, lambda model: model.bind(more=1))
        assert wrapped.bound == Scripted("small")

    def test_models_are_found_in_order_of_choice(self):
        first, second = Scripted("first"), Scripted("second")
        found = list(models_in(first.bind(x=1).with_fallbacks([second.with_retry()])))
        assert [model.model for model in found] == ["first", "second"]

    @pytest.mark.parametrize("thing", ["a text", 5, None, add])
    def test_what_is_no_chat_model_has_none_inside(self, thing):
        assert list(models_in(thing)) == []


class TestRefusals:
    def test_a_member_without_tools_is_named_when_tools_are_bound(self):
        llm = pyramid(Toolless("mute", "4"), "4")
        with pytest.raises(InputError, match="member 'mute' cannot be given tools"):
            llm.bind_tools([add])

    def test_binding_no_tools_at_all_is_allowed_even_then(self):
        assert pyramid(Toolless("mute", "4"), "4").bind_tools([]).invoke("2 + 2?").text == "4"

    def test_a_structured_output_of_a_form_of_its_own_is_refused(self):
        class Odd(Scripted):
            def with_structured_output(self, schema, **kwargs):
                return self

        with pytest.raises(InputError, match="member 'odd' cannot be given structured output by json_schema"):
            pyramid(Odd("odd"), "4").with_structured_output(Number, method="json_schema")

    def test_an_unknown_method_is_refused(self):
        with pytest.raises(InputError, match="function_calling, json_schema or json_mode"):
            pyramid("4").with_structured_output(Number, method="xml")


class TestStructured:
    def test_it_is_shown_by_its_schema_because_caches_use_it_as_a_key(self):
        shown = repr(Structured(Number, "json_schema"))
        assert '"value"' in shown
        assert "0x" not in shown

    def test_two_schemas_of_one_name_differ(self):
        other = type("Number", (BaseModel,), {"__annotations__": {"other": int}})
        assert repr(Structured(Number, "json_schema")) != repr(Structured(other, "json_schema"))
