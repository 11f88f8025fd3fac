import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramid_core.equivalence import STRATEGIES, classes, kind_of, voices
from pyramid_core.errors import InputError
from pyramid_core.types import Answer, Failure, Observation, Query, Reply, ToolCall

CROWD = ("a", "b", "c")
LONG = " These are further words, so that nobody takes this for a short answer."


def answer(said):
    return said if isinstance(said, Answer | Failure) else Answer(text=said)


def observed(*said, query="How many?", crowd=CROWD, oracle=None, fused=False, **asked):
    replies = [Reply(call=n, role="crowd", who=crowd[n], result=answer(one)) for n, one in enumerate(said)]
    if oracle is not None:
        replies.append(Reply(call=len(said), role="oracle", who="o", result=answer(oracle)))
    return Observation(
        query=Query(text=query, **asked), crowd=crowd, replies=tuple(replies), oracles=("o",), fused=fused
    )


def members(observation, equivalence="auto"):
    return [found.members for found in classes(observation, equivalence)]


def call(name, **arguments):
    return Answer(text="", tool_calls=(ToolCall(name=name, arguments=arguments),))


def test_equal_answers_are_one_class_with_the_calls_in_order():
    (seven, eight) = classes(observed("7", "8", "The answer is $7.00."), "numeric")
    assert (seven.calls, seven.members, seven.key, seven.votes) == ((0, 2), ("a", "c"), "7", 2)
    assert (eight.calls, eight.members, eight.key, eight.votes) == ((1,), ("b",), "8", 1)


def test_the_largest_class_comes_first_and_ties_go_to_the_crowd_s_order():
    assert members(observed("8", "7", "7"), "numeric") == [("b", "c"), ("a",)]
    assert members(observed("8", "7", "6"), "numeric") == [("a",), ("b",), ("c",)]


def test_ties_do_not_go_to_whoever_was_asked_first():
    replies = tuple(
        Reply(call=n, role="crowd", who=who, result=Answer(text=text))
        for n, (who, text) in enumerate(["c8", "a7"])
    )
    seen = Observation(query=Query(text="?"), crowd=CROWD, replies=replies)
    assert members(seen, "numeric") == [("a",), ("c",)]


@pytest.mark.parametrize(
    "silent", ["", "  \n", "I cannot say", '{"answer": "unknown"}', Failure(kind="Timeout")]
)
def test_no_final_answer_is_no_vote(silent):
    assert members(observed("7", silent, "7"), "numeric") == [("a", "c")]


def test_nobody_has_voted_where_nobody_has_answered():
    assert classes(observed()) == ()


def test_an_oracle_s_answer_stands_by_itself_unless_answers_are_fused():
    assert members(observed("7", "8", oracle="8"), "numeric") == [("a",), ("b",)]
    assert members(observed("7", "8", oracle="8", fused=True), "numeric") == [("b", "o"), ("a",)]


def test_under_fusion_ties_go_to_the_oracle():
    assert members(observed("7", "8", oracle="9", fused=True), "numeric") == [("o",), ("a",), ("b",)]


def test_an_extracted_answer_votes_where_the_text_was_not_kept():
    assert members(observed(Answer(text="", extracted="C"), "The answer is (C)."), "choice") == [("a", "b")]


def test_classes_are_worked_out_once_for_an_observation():
    seen = observed("7", "8")
    assert classes(seen) is classes(seen)
    assert voices(seen) is voices(seen)


def test_an_answer_is_read_once_for_all_observations_of_a_query():
    first = observed("7")
    later = Observation(
        query=first.query, crowd=CROWD, replies=first.replies, pending=("b",), kept=first.kept
    )
    assert voices(later)[0] is voices(first)[0]


def test_what_was_kept_of_another_answer_is_not_taken_for_this_one():
    first = observed("7")
    assert members(first, "numeric") == [("a",)]
    other = Reply(call=0, role="crowd", who="a", result=Answer(text="8"))
    later = Observation(query=Query(text="Who?"), crowd=CROWD, replies=(other,), kept=first.kept)
    assert classes(later, "numeric")[0].key == "8"


@pytest.mark.parametrize(
    ("equivalence", "one", "other", "same"),
    [
        ("numeric", "2 apples", "2.0", True),
        ("numeric", "2", "3", False),
        ("choice", "(B)", "The answer is B.", True),
        ("literal", "[1, 2]", "[1,2]", True),
        ("literal", "[1, 2]", "[1, 3]", False),
        ("literal", "'A'", "'a'", False),
        ("exact", "The Hague", "the hague.", True),
        ("exact", "Upper Canada", "Lower Canada", False),
        ("code", "```python\nx = 1\n```", "x = 1\n\n", True),
        ("code", "x = a + b", "x = a - b", False),
        ("fields", '{"a": 1, "b": "X "}', 'Here:\n{"b": "x", "a": 1.0}', True),
        ("fields", '{"a": 1}', '{"a": 2}', False),
        ("fields", '{"a": [1, 2]}', '{"a": [2, 1]}', False),
    ],
)
def test_what_a_strategy_calls_the_same(equivalence, one, other, same):
    assert (len(classes(observed(one, other), equivalence)) == 1) is same


TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "area",
            "parameters": {
                "type": "object",
                "properties": {
                    "base": {"type": "integer"},
                    "height": {"type": "number"},
                    "unit": {"type": "string", "default": "cm"},
                    "exact": {"type": "boolean"},
                    "points": {"type": "array"},
                },
            },
        },
    },
)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (call("area", base=10, height=5), call("area", height=5.0, base=10), True),
        (call("area", base="10"), call("area", base=10), True),
        (call("area", base=10), call("area", base=11), False),
        (call("area", base=10), call("volume", base=10), False),
        (call("area", base=10, unit="cm"), call("area", base=10), True),
        (call("area", base=10, unit="m"), call("area", base=10), False),
        (call("area", unit="Square  M."), call("area", unit="square m"), True),
        (call("area", unit="5"), call("area", unit=5), True),
        (call("area", exact="true"), call("area", exact=True), True),
        (call("area", exact=1), call("area", exact=True), True),
        (call("area", points="[1, 2]"), call("area", points=[1, 2]), True),
        (call("area", points=[1, 2]), call("area", points=[2, 1]), False),
        (call("other", n=1), call("other", n=1.0), True),
    ],
)
def test_tool_calls_are_compared_by_their_schema(one, other, same):
    assert (len(classes(observed(one, other, tools=TOOLS))) == 1) is same


def test_parallel_calls_are_a_multiset():
    first, second = ToolCall(name="f", arguments={"x": 1}), ToolCall(name="f", arguments={"x": 2})
    both, turned, twice = (
        Answer(text="", tool_calls=calls) for calls in [(first, second), (second, first), (first, first)]
    )
    assert members(observed(both, turned, twice)) == [("a", "b"), ("c",)]


def test_arguments_that_are_no_json_are_no_vote():
    written = [
        Answer(text="", tool_calls=(ToolCall(name="f", arguments=text),)) for text in ("{x", '{"x": 1}', "{x")
    ]
    assert members(observed(*written)) == [("b",)]


def test_arguments_in_json_text_are_parsed():
    written = Answer(text="", tool_calls=(ToolCall(name="f", arguments='{"x": 1}'),))
    assert members(observed(written, call("f", x=1))) == [("a", "b")]


def test_declining_to_call_in_words_is_an_answer_and_saying_nothing_is_none():
    seen = observed(call("area", base=1), "None of the tools fits.", "I need no tool.", tools=TOOLS)
    assert members(seen) == [("b", "c"), ("a",)]
    assert members(observed(call("area", base=1), "", tools=TOOLS)) == [("a",)]


@pytest.mark.parametrize(
    ("said", "asked", "kind"),
    [
        (["7"], {"answer_type": "choice"}, "choice"),
        (["7"], {"answer_type": "number"}, "numeric"),
        (["7"], {"answer_type": "text"}, "exact"),
        (["7"], {"answer_type": "code"}, "code"),
        (["7"], {"answer_type": "fields"}, "fields"),
        (["7"], {"answer_type": "literal"}, "literal"),
        (["7"], {"answer_type": "tool_calls"}, "tool_calls"),
        ([], {}, "exact"),
        ([""], {}, "exact"),
        (["7", "8", "$9.00"], {}, "numeric"),
        (["7", "8", "I cannot say"], {}, "numeric"),
        (
            ["so she has 9" + LONG[:6], "7 apples are left over for the other children"],
            {"query": "How many?"},
            "numeric",
        ),
        (["In 1998, a long time ago, by some of them" + LONG, "Never" + LONG], {"query": "When?"}, "exact"),
        (["Paris", "Rome"], {"query": "Where?"}, "exact"),
        (["19th century", "the 1900s in all of it"], {"query": "When?"}, "exact"),
        (["The answer is (A)", "I cannot say"], {"query": "Which?\nA. x\nB. y"}, "choice"),
        (["Paris", "Rome"], {"query": "Which?\nA. x\nB. y"}, "exact"),
        (['{"answer": "[1, 2]"}', '{"answer": "3"}'], {}, "literal"),
        (
            ['{"answer": "OOP"}', '{"answer": "oop"}'],
            {"query": "What does this print?\ndef f():\n    return 1"},
            "literal",
        ),
        (["```python\nx = 1\n```", "```\nx = 2\n```"], {}, "code"),
        (['{"name": "x", "age": 3}', '{"name": "y", "age": 3}'], {}, "fields"),
        ([call("f", x=1), "no"], {}, "tool_calls"),
        (["no", "no tool is needed"], {"tools": TOOLS, "query": "Who?"}, "exact"),
    ],
)
def test_auto_takes_the_strategy_that_fits(said, asked, kind):
    assert kind_of(observed(*said, **asked)) == kind


def test_a_strategy_by_name_is_taken_whatever_the_query_says():
    assert kind_of(observed("7", answer_type="text"), "numeric") == "numeric"


@pytest.mark.parametrize("equivalence", ["semantics", "", "number"])
def test_an_unknown_strategy_is_refused_with_those_there_are(equivalence):
    with pytest.raises(
        InputError, match=f"unknown equivalence {equivalence!r}: use auto or one of exact, numeric"
    ):
        classes(observed("7"), equivalence)


def test_an_unknown_answer_type_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="unknown answer_type 'poem': use one of number, choice"):
        classes(observed("7", answer_type="poem"))


SAID = st.sampled_from(
    [
        *("7", "8", "The answer is (A).", "", "[1, 2]", '{"answer": "7"}', "\ud800", "Paris"),
        Failure(kind="Timeout"),
        call("f", x=1),
    ]
)


@pytest.mark.parametrize("equivalence", ["auto", *STRATEGIES])
@settings(max_examples=25)
@given(said=st.lists(SAID, min_size=3, max_size=3), seed=st.integers(0, 99))
def test_classes_do_not_depend_on_who_answered_first(equivalence, said, seed):
    calls = [0, 1, 2]
    random.Random(seed).shuffle(calls)

    def seen(numbers):
        replies = [
            Reply(call=number, role="crowd", who=who, result=answer(one))
            for number, who, one in zip(numbers, CROWD, said, strict=True)
        ]
        return Observation(
            query=Query(text="How many?"),
            crowd=CROWD,
            replies=tuple(sorted(replies, key=lambda reply: reply.call)),
        )

    def named(observation):
        return [(found.key, sorted(found.members)) for found in classes(observation, equivalence)]

    assert named(seen(calls)) == named(seen([0, 1, 2]))


@pytest.mark.parametrize("equivalence", ["auto", *STRATEGIES])
@settings(max_examples=25)
@given(said=st.lists(SAID, max_size=3))
def test_classes_share_out_the_voters_among_them(equivalence, said):
    seen = observed(*said)
    found = classes(seen, equivalence)
    calls = [number for one in found for number in one.calls]
    assert len(calls) == len(set(calls))
    assert set(calls) <= {voice.call for voice in voices(seen)}
    assert [one.votes for one in found] == sorted((one.votes for one in found), reverse=True)
    assert all(list(one.calls) == sorted(one.calls) for one in found)
