"""Tool calls in normal form, their schemas' verdict on them, and where their values come from."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_core.calls import (
    Scene,
    arguments_of,
    call_form,
    conversation_of,
    differing,
    offered,
    plain_name,
    validity_of,
    written_form,
)
from pyramid_core.calls.forms import date_form
from pyramid_core.calls.schemas import stated_default
from pyramid_core.equivalence import classes
from pyramid_core.routers import AgreementRouter
from pyramid_core.types import Answer, Failure, Observation, Query, Reply, ToolCall

CROWD = ("a", "b", "c")


def tool(name="f", *, required=(), description="", **properties):
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


def raw_tool(parameters, name="f"):
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def call(arguments, name="f"):
    return ToolCall(name=name, arguments=arguments)


def calling(*arguments, name="f", text=""):
    return Answer(text=text, tool_calls=tuple(call(one, name) for one in arguments))


def asked(*tools, text="?"):
    return Query(text=text, tools=tools)


def form(arguments, *tools, name="f"):
    return call_form(call(arguments, name), offered(asked(*tools)).get(plain_name(name)))


def observed(*answers, tools=()):
    replies = tuple(
        Reply(call=place, role="crowd", who=CROWD[place], result=answer)
        for place, answer in enumerate(answers)
    )
    return Observation(query=Query(text="?", tools=tools), crowd=CROWD, replies=replies)


def members(observation, equivalence="tool_calls"):
    return [found.members for found in classes(observation, equivalence)]


TEXT, WHOLE, FLAG = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
DAY = {"type": "string", "description": "The day."}
UNIT = {"type": "string", "enum": ["Celsius", "Fahrenheit"], "default": "Celsius"}
TAGS = {"type": "array", "items": TEXT}
SET = {**TAGS, "uniqueItems": True}
PLACE = {"type": "object", "properties": {"city": TEXT, "country": {"type": "string", "default": "US"}}}


@pytest.mark.parametrize(
    ("schema", "one", "other", "same"),
    [
        (WHOLE, 2, 2.0, True),
        (WHOLE, "2", 2, True),
        (WHOLE, "2,000", 2000, True),
        (WHOLE, 2, 3, False),
        (TEXT, 5, "5", True),
        (TEXT, "New  York", "new york", True),
        (TEXT, "San José", "san jose", True),
        (TEXT, "gluten-free", "gluten free", True),
        (TEXT, "gluten_free", "gluten free", True),
        (TEXT, "The Beatles", "Beatles", True),
        (TEXT, "'R vs Adams'", "R vs Adams", True),
        (TEXT, "2*(x+1)", "2*x+1", False),
        (TEXT, "x + 2", "x - 2", False),
        (TEXT, "x**2", "x^2", True),
        (TEXT, "x=-5", "x=5", False),
        (TEXT, "about Rome", "Rome", False),
        (TEXT, "1.50 kg", "1.5 kg", True),
        (TEXT, "", " ", True),
        (DAY, "2022-03-11", "March 11, 2022", True),
        (DAY, "2022/3/11", "11th of March 2022", True),
        (DAY, "13/02/2022", "2022-02-13", True),
        (DAY, "03/04/2022", "2022-03-04", False),
        (DAY, "2022-03-11", "2022-03-12", False),
        (UNIT, "celsius", "Celsius", True),
        (UNIT, "Celsius", "Fahrenheit", False),
        ({"enum": [1, 2]}, "1", 1, True),
        (FLAG, "true", True, True),
        (FLAG, 1, True, True),
        (FLAG, True, False, False),
        (TAGS, ["a", "b"], ["b", "a"], False),
        (TAGS, '["a", "b"]', ["a", "b"], True),
        (SET, ["a", "b"], ["b", "a"], True),
        (PLACE, {"city": "Rome"}, {"city": "rome", "country": "us"}, True),
        (PLACE, {"city": "Rome"}, {"city": "Rome", "country": "IT"}, False),
        ({"anyOf": [WHOLE, {"type": "null"}]}, "7", 7, True),
        ({"anyOf": [WHOLE, {"type": "null"}]}, "none", None, True),
        ({"$ref": "#/$defs/n"}, "7", 7, True),
        ({}, 1, 1.0, True),
        (None, "x", "X", True),
        ({"type": "number"}, "many", "Many", True),
    ],
)
def test_arguments_are_compared_by_their_schema(schema, one, other, same):
    parameters = {"type": "object", "properties": {"x": schema}, "$defs": {"n": WHOLE}}
    forms = {form({"x": value}, raw_tool(parameters)) for value in (one, other)}
    assert (len(forms) == 1) is same, forms


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"unit": "Celsius"}, {}, True),
        ({"unit": "celsius"}, {}, True),
        ({"unit": "Fahrenheit"}, {}, False),
        ({"x": 1, "why": "so"}, {"x": 1}, False),
        ({"x": 1, "why": "so"}, {"x": 1, "why": "So."}, True),
    ],
)
def test_a_given_default_is_as_good_as_left_out_and_unknown_arguments_keep_calls_apart(one, other, same):
    offer = tool(x=WHOLE, unit=UNIT)
    assert (form(one, offer) == form(other, offer)) is same


def test_dots_and_underscores_in_names_are_alike():
    assert form({"x": 1}, tool("math.f", x=WHOLE), name="math_f") == form(
        {"x": "1"}, tool("math_f", x=WHOLE), name="math.f"
    )


def test_the_user_may_say_that_the_order_of_lists_does_not_matter():
    said = calling({"x": ["a", "b"]}), calling({"x": ["b", "a"]})
    assert members(observed(*said, tools=(tool(x=TAGS),)), "tool_calls_unordered") == [("a", "b")]
    assert members(observed(*said, tools=(tool(x=TAGS),))) == [("a",), ("b",)]


def test_parallel_calls_are_a_multiset():
    twice, once = calling({"x": 1}, {"x": 1}), calling({"x": 1})
    turned = calling({"x": 2}, {"x": 1}), calling({"x": 1}, {"x": 2})
    assert members(observed(twice, once, tools=(tool(x=WHOLE),))) == [("a",), ("b",)]
    assert members(observed(*turned, tools=(tool(x=WHOLE),))) == [("a", "b")]


def test_words_are_a_class_of_their_own_and_beside_calls_do_not_count():
    seen = observed(
        calling({"x": 1}, text="Let me see."),
        calling({"x": 1}),
        Answer(text="No tool fits."),
        tools=(tool(x=WHOLE),),
    )
    assert members(seen) == [("a", "b"), ("c",)]


class TestBadInput:
    @pytest.mark.parametrize("arguments", ["{x", "[1]", "null", "7", "[" * 100_000, "x" * 30_000])
    def test_arguments_that_are_no_object_never_win(self, arguments):
        seen = observed(calling(arguments), calling(arguments), calling({"x": 1}), tools=(tool(x=WHOLE),))
        assert members(seen) == [("c",)]
        assert AgreementRouter().assess(seen).chosen == 2

    def test_nothing_stands_where_no_call_can_be_read(self):
        assert (
            AgreementRouter().assess(observed(calling("{x"), calling("{x"), tools=(tool(x=WHOLE),))).chosen
            is None
        )

    def test_errors_never_win(self):
        seen = observed(Failure(kind="E"), Failure(kind="E"), calling({"x": 1}), tools=(tool(x=WHOLE),))
        assert AgreementRouter().assess(seen).chosen == 2

    def test_a_call_of_a_tool_that_is_not_on_offer_is_a_call_apart(self):
        seen = observed(calling({"x": 1}, name="g"), calling({"x": 1}), tools=(tool(x=WHOLE),))
        assert members(seen) == [("a",), ("b",)]

    def test_duplicate_calls_are_not_one_call(self):
        assert members(observed(calling({"x": 1}, {"x": 1}), calling({"x": 1}), tools=(tool(x=WHOLE),))) == [
            ("a",),
            ("b",),
        ]

    def test_100_parallel_calls_are_compared(self):
        many = [{"x": n} for n in range(100)]
        seen = observed(calling(*many), calling(*reversed(many)), calling(*many[1:]), tools=(tool(x=WHOLE),))
        assert members(seen) == [("a", "b"), ("c",)]

    @pytest.mark.parametrize(
        "parameters",
        [
            None,
            {},
            [],
            {"type": "object"},
            {"type": "object", "properties": None},
            {"type": "object", "properties": {"x": None}, "required": None},
            {"properties": {"x": {"$ref": "#/nowhere"}}},
            {"properties": {"x": {"$ref": "https://example.com/schema"}}},
            {"$defs": {"x": {"$ref": "#/$defs/x"}}, "properties": {"x": {"$ref": "#/$defs/x"}}},
            {"$defs": {"n": {"properties": {"x": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"},
            {"anyOf": [{"properties": {"x": WHOLE}}, {"properties": {"y": TEXT}}]},
            {"allOf": [{"properties": {"x": WHOLE}}, {"required": ["x"]}]},
            {"properties": {"x": {"anyOf": []}}},
            {"properties": {"x": {"type": ["integer", "null"]}}},
            {"properties": {"x": {"type": 7, "enum": 7, "items": 7}}},
        ],
        ids=repr,
    )
    def test_any_schema_is_borne(self, parameters):
        offer = raw_tool(parameters)
        assert form({"x": 1}, offer) == form({"x": 1.0}, offer)
        assert members(observed(calling({"x": 1}), calling({"x": 1}), tools=(offer,))) == [("a", "b")]

    def test_a_recursive_schema_is_followed_as_deep_as_the_value(self):
        node = {"type": "object", "properties": {"n": WHOLE, "next": {"$ref": "#/$defs/node"}}}
        offer = raw_tool({"properties": {"x": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}})
        one, other = (
            {"n": "1", "next": {"n": "2", "next": {"n": "3"}}},
            {"n": 1, "next": {"n": 2, "next": {"n": 3}}},
        )
        assert form({"x": one}, offer) == form({"x": other}, offer)

    @pytest.mark.parametrize("arguments", [{"x": 1}, {"y": "s"}])
    def test_two_tools_of_one_name_take_the_arguments_of_both(self, arguments):
        twins = tool(required=["x"], x=WHOLE), tool(required=["y"], y=TEXT)
        assert validity_of(call(arguments), offered(asked(*twins))["f"]).valid

    def test_a_description_of_100_kb_is_read_at_its_beginning(self):
        found = offered(asked(tool(description="x" * 100_000)))["f"]
        assert len(found.description) == 4_000

    def test_values_nested_too_deep_are_cut(self):
        deep = "leaf"
        for _ in range(200):
            deep = [deep]
        assert form({"x": deep}, tool(x={})) is not None


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        ({"x": 1}, False),
        ({"x": "1"}, False),
        ({"x": 1.0}, False),
        ({"x": 1, "unit": "Celsius"}, False),
        ({"x": 1, "unit": "Kelvin"}, True),
        ({"x": 1.5}, True),
        ({"x": "one"}, True),
        ({}, True),
        ({"x": 1, "why": "so"}, False),
        ({"x": 1, "to": {"city": 5}}, False),
        ({"x": 1, "to": {"city": []}}, True),
        ({"x": 1, "tags": ["a", {}]}, True),
        ("{x", True),
    ],
)
def test_what_a_tool_refuses(arguments, refused):
    offer = tool(required=["x"], x=WHOLE, unit=UNIT, to=PLACE, tags=TAGS)
    assert validity_of(call(arguments), offered(asked(offer))["f"]).refused is refused


def test_a_schema_that_takes_no_others_refuses_them():
    offer = raw_tool({"properties": {"x": WHOLE}, "additionalProperties": False})
    found = validity_of(call({"x": 1, "why": "so"}), offered(asked(offer))["f"])
    assert (found.invented, found.refused) == (("why",), True)


@pytest.mark.parametrize(
    ("answers", "apart"),
    [
        ([[{"x": 1}], [{"x": "1"}]], ()),
        ([[{"x": 1}], [{"x": 2}]], ("f(x)",)),
        ([[{"x": 1, "unit": "Celsius"}], [{"x": 1}]], ()),
        ([[{"x": 1, "unit": "Fahrenheit"}], [{"x": 2}]], ("f(unit)", "f(x)")),
        ([[{"x": 1}, {"x": 2}], [{"x": 2}, {"x": 1}]], ()),
        ([[{"x": 1}, {"x": 2}], [{"x": 1}]], ("f(x)",)),
    ],
)
def test_which_arguments_differ(answers, apart):
    scene = Scene(asked(tool(x=WHOLE, unit=UNIT)))
    assert differing(scene, [[call(one) for one in calls] for calls in answers]) == apart


def test_no_text_is_no_argument():
    assert arguments_of(call("")) == {}


SAID = "Find flights from New York to San Jose on March 11, 2022 for two adults, under $1,500. Pay 5%."


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("New York", 1, 1),
        ("new york", 1, 1),
        ("San José", 1, 1),
        ("San Jose, CA", 0.6, 0.99),
        ("2022-03-11", 0.99, 1),
        ("2022-03-12", 0.6, 0.7),
        ("adult", 0.8, 1),
        ("economy", 0, 0.2),
        ("1500", 1, 1),
        (1500, 1, 1),
        (2, 1, 1),
        (0.05, 0.5, 0.9),
        (1_500_000, 0.5, 0.9),
        (4321, 0, 0),
        (["New York", "economy"], 0.5, 0.6),
        ({"from": "New York", "seats": 2}, 1, 1),
    ],
)
def test_how_far_a_value_is_grounded_in_what_was_said(value, low, high):
    assert low <= conversation_of(Query(text=SAID)).ground(value) <= high


@pytest.mark.parametrize("value", [None, True, False, "", "  ", [], {}, [True]])
def test_some_values_need_no_ground(value):
    assert conversation_of(Query(text=SAID)).ground(value) is None


def test_all_messages_are_ground_and_the_last_is_what_was_asked():
    messages = (
        {"role": "user", "content": "I live in Bonn."},
        {"role": "user", "content": [{"type": "text", "text": "Weather here?"}]},
    )
    found = conversation_of(Query(text="Weather here?", messages=messages))
    assert found.ground("Bonn") == 1.0
    assert found.last == "Weather here?"


@pytest.mark.parametrize(
    ("description", "default"),
    [
        ("The unit. Default is 'cm'.", "cm"),
        ("Defaults to 2.", "2"),
        ("Optional, default to 0.00.", "0.00"),
        ("The unit (default: metric)", "metric"),
        ("Default value is 299792458 m/s.", "299792458"),
        ("The default is km/h", "km/h"),
        ("Choose one by default", None),
        ("The unit", None),
    ],
)
def test_a_default_in_words_is_read(description, default):
    assert stated_default({"description": description}) == default


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2022-03-11", "2022-03-11"),
        ("Mar 11 2022", "2022-03-11"),
        ("11 March, 2022", "2022-03-11"),
        ("05/05/2022", "2022-05-05"),
        ("2022-02-30", None),
        ("03/04/2022", None),
        ("next Friday", None),
    ],
)
def test_dates_are_read_where_they_are_plain(text, date):
    assert date_form(text) == date


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(arguments=st.dictionaries(st.text(max_size=5), JSON, max_size=4), schema=JSON)
def test_a_form_does_not_depend_on_the_order_of_arguments_or_on_their_way_through_json(arguments, schema):
    offer = raw_tool({"type": "object", "properties": dict.fromkeys(arguments, schema)})
    turned = dict(reversed(arguments.items()))
    assert form(arguments, offer) == form(turned, offer) == form(json.dumps(arguments), offer)


@given(st.text(max_size=60))
def test_the_form_of_a_text_is_its_own_form(text):
    assert written_form(written_form(text)) == written_form(text)
