"""What each feature is worth on answers small enough to work it out by hand."""

import math
from dataclasses import replace

import pytest

from pyramid_core.features import (
    CLASS_FEATURES,
    CONTEXT_CLASS_FEATURES,
    QUERY_FEATURES,
    ClassView,
    View,
)
from pyramid_core.text import value_form
from pyramid_core.types import Answer, Failure, Observation, Query, Reply, ToolCall, Usage
from tests.core.test_tool_features import OF_TOOLS

NAN = math.nan
CROWD = ("a", "b", "c")
EVERY = (*QUERY_FEATURES, *CLASS_FEATURES)
BY_NAME = {feature.name: feature for feature in EVERY}


def answer(said):
    return said if isinstance(said, Answer | Failure) else Answer(text=said)


def observed(*said, query="How many eggs are 3 and 4?", crowd=CROWD, oracle=None, **asked):
    replies = [Reply(call=n, role="crowd", who=crowd[n], result=answer(one)) for n, one in enumerate(said)]
    if oracle is not None:
        replies.append(Reply(call=len(said), role="oracle", who="o", result=answer(oracle)))
    return Observation(
        query=Query(text=query, **asked), crowd=crowd, replies=tuple(replies), fused=oracle is not None
    )


def value(name, *said, at=0, **asked):
    """A feature of an observation, of the class at place `at` where it is a class's."""
    view = View(observed(*said, **asked))
    feature = BY_NAME[name]
    return feature.compute(view if feature.level == "query" else ClassView(view, view.classes[at]))


def logs(text, *logprobs, **more):
    return Answer(text=text, logprobs=logprobs, **more)


def sure(text, confidence):
    return Answer(text=text, confidence=confidence)


def alone(text, mean_prob):
    return Answer(text=text, mean_prob=mean_prob)


def wrote(text, tokens):
    return Answer(text=text, usage=Usage(output_tokens=tokens))


FAILED = Failure(kind="Timeout")
SPELT = logs(
    "The answer is 42.", -1.0, -2.0, -0.1, -0.5, -0.3, token_texts=("The answer", " is", " 4", "2", ".")
)
CALL = Answer(text="", tool_calls=(ToolCall(name="f", arguments={}), ToolCall(name="g", arguments={})))
TOOL = ({"type": "function", "function": {"name": "f"}},)
TOP = logs("7", -0.1, top_logprobs=((("7", math.log(0.75)), ("8", math.log(0.25))),))

WORTH = [
    ("first_logprob", (logs("x", -1.0, -2.0), logs("x", -0.5, -4.0)), -0.75),
    ("first_logprob_chosen", (logs("x", -1.0, -2.0), logs("x", -0.5, -4.0), logs("y", -0.1)), -0.5),
    ("min_logprob_max", (logs("x", -1.0, -2.0), logs("x", -0.5, -4.0), logs("y", -0.1, -0.2)), -0.2),
    ("sum_logprob", (logs("x", -1.0, -2.0), logs("y", -0.5, -0.5)), -2.0),
    ("agreement", ("7", "7", "8"), 2 / 3),
    ("agreement", ("7", "7"), 2 / 3),
    ("agreement", (FAILED, "", FAILED), 0.0),
    ("answer_entropy", ("7", "7", "7"), 0.0),
    ("answer_entropy", ("7", "8", "9"), math.log(3)),
    ("answer_entropy", (), NAN),
    ("vote_margin", ("7", "7", "8"), 1 / 3),
    ("vote_margin", ("7", "7", FAILED), 2 / 3),
    ("class_count", ("7", "7", "8"), 2.0),
    ("vote_share", ("7", "8", ""), 2 / 3),
    ("class_agreement", ("7", "7", "8"), 2 / 3),
    ("class_margin", ("7", "7", "8"), 1 / 3),
    ("class_tied", ("7", "8", "9"), 2.0),
    ("length_mean", ("7", "777"), 2.0),
    ("length_mean", (Answer(text="", extracted="7"),), NAN),
    ("length_variance", ("7", "777"), 1.0),
    ("length_variance", ("7",), NAN),
    ("length_variation", ("7", "777"), 0.5),
    ("length_max", ("7", "777"), 3.0),
    ("length_chosen", ("7", "7.0", "88"), 2.0),
    ("tokens_mean", (wrote("7", 2), wrote("7", 4), "7"), 3.0),
    ("tokens_variation", (wrote("7", 2), wrote("7", 6)), 0.5),
    ("tokens_chosen", (wrote("7", 2), wrote("7", 4), wrote("8", 9)), 3.0),
    ("class_length", ("7", "7.0", "88"), 2.0),
    ("class_length_ratio", ("7", "7.0", "8888"), 0.5),
    ("class_length_ratio", ("7", "7"), NAN),
    ("class_tokens", (wrote("7", 2), wrote("7", 4), wrote("8", 9)), 2.0),
    ("class_tokens_ratio", (wrote("7", 2), wrote("7", 4), wrote("8", 6)), 0.5),
    ("confidence_mean", (sure("7", 0.4), sure("7", 0.8), "7"), 0.6),
    ("confidence_mean", ("The answer is 7\nConfidence: 85%",), 0.85),
    ("confidence_min", (sure("7", 0.4), sure("7", 0.8)), 0.4),
    ("confidence_spread", (sure("7", 0.4), sure("7", 0.8)), 0.4),
    ("confidence_chosen", (sure("7", 0.4), sure("7", 0.6), sure("8", 0.9)), 0.6),
    ("class_confidence", (sure("7", 0.4), sure("7", 0.6), sure("8", 0.9)), 0.6),
    ("class_confidence_mean", (sure("7", 0.4), sure("7", 0.6), sure("8", 0.9)), 0.5),
    ("class_confidence_lead", (sure("7", 0.4), sure("7", 0.6), sure("8", 0.9)), -0.3),
    ("class_confidence_lead", (sure("7", 0.4), sure("7", 0.6), "8"), NAN),
    ("avg_logprob", (logs("7", -1.0, -3.0), logs("7", 0.0), "8"), -1.0),
    ("avg_logprob", (logs("7", -math.inf),), -100.0),
    ("avg_logprob_max", (logs("7", -1.0, -3.0), logs("8", 0.0)), 0.0),
    ("avg_logprob_spread", (logs("7", -1.0, -3.0), logs("8", 0.0)), 2.0),
    ("avg_logprob_chosen", (logs("7", -3.0), logs("7", -2.0), logs("8", 0.0)), -2.0),
    ("min_logprob", (logs("7", -1.0, -3.0), logs("7", -1.0)), -2.0),
    ("min_logprob_chosen", (logs("7", -1.0, -3.0), logs("7", -2.0), logs("8", 0.0)), -2.0),
    ("min_prob", (logs("7", 0.0, math.log(0.5)), logs("7", math.log(0.25))), 0.25),
    ("sum_logprob_chosen", (logs("7", -1.0, -3.0), logs("7", -5.0), logs("8", 0.0)), -4.0),
    ("span_logprob", (SPELT,), -0.3),
    ("span_logprob", (logs("It is 7", -1.0, -2.0, answer_span=(1, 2)),), -2.0),
    ("span_logprob", (logs("It is 7", -1.0, -2.0),), NAN),
    ("span_logprob_chosen", (SPELT, logs("42", -0.2, token_texts=("42",))), -0.2),
    ("span_min_logprob_chosen", (SPELT,), -0.5),
    ("top_entropy", (TOP,), -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))),
    ("top_margin", (TOP,), 0.5),
    ("mean_prob", (alone("7", 0.8), alone("7", 0.6), "8"), 0.7),
    ("mean_prob", (logs("7", -1.0),), NAN),
    ("mean_prob_spread", (alone("7", 0.8), alone("7", 0.6)), 0.2),
    ("mean_prob_chosen", (alone("7", 0.8), alone("7", 0.6), alone("8", 0.9)), 0.8),
    ("class_avg_logprob", (logs("7", -3.0), logs("7", -2.0), logs("8", -1.0)), -2.0),
    ("class_avg_logprob_mean", (logs("7", -3.0), logs("7", -2.0), logs("8", -1.0)), -2.5),
    ("class_avg_logprob_lead", (logs("7", -3.0), logs("7", -2.0), logs("8", -1.0)), -1.0),
    ("class_min_logprob", (logs("7", -1.0, -3.0), logs("7", -2.0), logs("8", -1.0)), -2.0),
    ("class_min_logprob_lead", (logs("7", -1.0, -3.0), logs("7", -2.0), logs("8", -1.0)), -1.0),
    ("class_sum_logprob", (logs("7", -1.0, -3.0), logs("7", -5.0), logs("8", -1.0)), -4.0),
    ("class_span_logprob", (SPELT,), -0.3),
    ("class_span_min_logprob", (SPELT,), -0.5),
    ("class_mean_prob", (alone("7", 0.8), alone("7", 0.6), alone("8", 0.9)), 0.8),
    ("class_mean_prob_lead", (alone("7", 0.8), alone("7", 0.6), alone("8", 0.9)), -0.1),
    ("class_mean_prob_min", (alone("7", 0.8), alone("7", 0.6), alone("8", 0.9)), 0.6),
    ("answer_similarity", ("so it is 7", "so it is 8"), 3 / 5),
    ("answer_similarity", ("7",), NAN),
    ("answer_similarity_min", ("x y", "x y", "x z"), 1 / 3),
    ("answer_similarity_spread", ("x y", "x y", "x y"), 0.0),
    ("text_ratio", ("abcd", "abcd"), 1.0),
    ("text_ratio", ("aaaa", "bbbb"), 0.0),
    ("final_similarity", ("7", "7", "7"), 1.0),
    ("final_similarity", ("Paris", "Paris", "paris?"), 1.0),
    ("final_similarity", ("17", "18"), 0.5),
    ("final_similarity", ("7",), NAN),
    ("question_numbers_used", ("3 + 4 = 7", "3 is 7"), 0.75),
    ("question_numbers_used_chosen", ("3 + 4 = 7", "3, so 7", "4, so 8"), 1.0),
    ("numbers_shared", ("3 + 4 = 7", "3 + 5 = 8"), 1 / 5),
    ("names_shared", ("Then Janet", "Then Tom"), 1 / 3),
    ("equations_wrong", ("3 + 4 = 8", "8"), 1.0),
    ("equations_wrong", ("7", "7"), NAN),
    ("final_in_steps", ("7", "7", "First 7, then one more: 8"), 1.0),
    ("final_in_steps", ("7", "7", "7"), NAN),
    ("class_answer_similarity", ("so it is 7", "so it is 8"), 3 / 5),
    ("class_question_numbers_used", ("3 + 4 = 7", "8"), 1.0),
    ("class_final_similarity", ("17", "17", "18"), 0.5),
    ("class_final_similarity", ("17", "17"), NAN),
    ("class_equations_wrong", ("3 + 4 = 8", "8"), 1.0),
    ("class_equations", ("3 + 4 = 8", "8"), 1.0),
    ("class_final_in_steps", ("7", "7", "First 7, then one more: 8"), 1.0),
    ("class_final_in_question", ("3", "3"), 1.0),
    ("class_final_in_question", ("7", "7"), 0.0),
    ("class_final_size", ("-7", "-7"), 7.0),
    ("class_final_whole", ("7.5", "7.5"), 0.0),
    ("class_final_whole", ("7", "7"), 1.0),
    ("class_final_whole", ("Answer: nan", "Answer: inf"), NAN),
    ("answered", ("7", ""), 2 / 3),
    ("failed", ("7", FAILED), 1 / 3),
    ("empty", ("7", ""), 0.5),
    ("refused", ("I'm sorry, I can't.", "7"), 0.5),
    ("truncated", ('{"reasoning": "then', "7"), 0.5),
    ("truncated", (Answer(text="7", finish_reason="length"), "7"), 0.5),
    ("doubts", ("It cannot be determined", "7"), 0.5),
    ("doubts_chosen", ("I assume 7", "7", "8"), 0.0),
    ("called", ("7", "7"), NAN),
    ("class_doubts", ("I assume 7", "7", "8"), 0.0),
    ("class_truncated", (Answer(text="#### 7", finish_reason="length"), "7"), 0.5),
    ("class_refused", ("I'm sorry: 7", "7"), 0.5),
    ("class_has_oracle", ("7", "7"), NAN),
]


@pytest.mark.parametrize(("name", "said", "worth"), WORTH)
def test_the_worth_of_a_feature(name, said, worth):
    assert value(name, *said) == pytest.approx(worth, nan_ok=True)


ASKED = [
    ("query_length", "How many?", 9.0),
    ("query_words", "is it what it is", 3.0),
    ("query_numbers", "3 and 4 and 3", 2.0),
    ("query_sentences", "It rains. Does it? Yes.", 3.0),
    ("query_options", "Which?\nA. x\nB. y", 2.0),
    ("query_code", "What does it print?\ndef f():\n    return 1", 1.0),
    ("query_code", "What does it print?", 0.0),
    ("query_type", "How many are there?", 1.0),
    ("query_type", "Who is there?", 2.0),
    ("query_type", "How are you?", 9.0),
    ("query_type", "Say it", 0.0),
    ("query_asks_number", "How many?", 1.0),
    ("query_turns", "Who?", 1.0),
    ("query_tools", "Who?", 0.0),
]


@pytest.mark.parametrize(("name", "question", "worth"), ASKED)
def test_the_worth_of_a_feature_of_the_query_alone(name, question, worth):
    assert value(name, query=question) == worth


@pytest.mark.parametrize(
    ("name", "at", "worth"),
    [
        ("class_margin", 1, -1 / 3),
        ("class_agreement", 1, 1 / 3),
        ("class_tied", 1, 0.0),
        ("class_final_size", 1, 8.0),
    ],
)
def test_the_worth_of_a_feature_of_the_second_class(name, at, worth):
    assert value(name, "7", "7", "8", at=at) == pytest.approx(worth)


def test_words_of_an_answer_are_compared_with_those_of_the_question():
    assert value("question_similarity", "eggs are", query="how are eggs") == pytest.approx(2 / 3)
    assert value("class_question_similarity", "eggs are", query="how are eggs") == pytest.approx(2 / 3)


def test_tools_that_are_on_offer_and_asked_for_are_counted():
    assert value("called", CALL, "no", tools=TOOL) == 0.5
    assert value("class_called", CALL, tools=TOOL) == 2.0
    assert value("query_tools", tools=TOOL) == 1.0


LISTED = (
    "What is the speed of the red ball?\n\nOptions:\n"
    "A. 4 m/s\nB. 10 m/s\nC. the red ball is at rest\nD. 10 km/s"
)
OF_OPTIONS = [
    ("option_length", 0, 6.0),
    ("option_length_rank", 0, 0.25),
    ("option_likeness", 0, 0.59609),
    ("option_number_rank", 0, 1 / 3),
    ("options_numeric", 0, 0.75),
    ("options_length", 0, 10.25),
    ("class_option_place", 1, 3.0),
    ("class_option_length", 1, 7.0),
    ("class_option_length_ratio", 1, 7 / 10.25),
    ("class_option_length_rank", 1, 0.5),
    ("class_option_likeness", 1, 0.57436),
    ("class_option_nearest", 1, 12 / 13),
    ("class_option_asked", 1, 0.0),
    ("class_option_number_rank", 1, 1 / 3),
    ("class_option_number_size", 1, 0.0),
    ("class_option_number_shared", 1, 0.5),
]


@pytest.mark.parametrize(("name", "at", "worth"), OF_OPTIONS)
def test_the_worth_of_a_feature_of_the_options(name, at, worth):
    said = ("The answer is (B)", "The answer is (D)", "The answer is (B)")
    assert value(name, *said, query=LISTED, at=at) == pytest.approx(worth, abs=1e-4)


@pytest.mark.parametrize("name", [name for name, _, _ in OF_OPTIONS])
def test_a_feature_of_the_options_is_nan_where_answers_are_no_choices(name):
    assert math.isnan(value(name, "7", "8"))


OF_PHRASES = [
    ("final_overlap", 0, 7 / 9),
    ("final_overlap_chosen", 0, 2 / 3),
    ("final_words", 0, 3.0),
    ("final_has_number", 0, 0.0),
    ("final_asked", 0, 2 / 3),
    ("class_final_overlap", 1, 2 / 3),
    ("class_final_words", 1, 2.0),
    ("class_final_asked", 1, 0.5),
]


@pytest.mark.parametrize(("name", "at", "worth"), OF_PHRASES)
def test_the_worth_of_a_feature_of_answers_in_words(name, at, worth):
    said = ("New York City", "New York", "New York City")
    assert value(name, *said, query="Where in the city of New Amsterdam?", at=at) == pytest.approx(worth)


def did(*outputs, visible=None):
    return {"signature": list(outputs), "visible": visible, "ran": len(outputs)}


PROGRAMS = {
    "0": did("1", "2", "3", value_form(None), visible="passes"),
    "1": did("1", "2", "4", "error: KeyError", visible="passes"),
    "2": did("1", "2", "3", value_form(None), visible="passes"),
}
OF_PROGRAMS = [
    ("behaviour_agreement", 0, (1 + 2 * 0.5) / 3),
    ("programs_running", 0, 1.0),
    ("outputs_without_value", 0, 0.25 / 3),
    ("examples_passing", 0, 1.0),
    ("examples_passing_agreement", 0, (1 + 2 * 0.5) / 3),
    ("class_behaviour_agreement", 0, 0.5),
    ("class_outputs_without_value", 1, 0.25),
    ("class_output_variety", 0, 1.0),
    ("class_outputs_none", 0, 0.25),
    ("class_passes", 1, 1.0),
    ("class_rivals_passing", 1, 2.0),
    ("class_first_passing", 0, 1.0),
    ("class_first_passing", 1, 0.0),
]


def of_programs(name, programs, at=0):
    seen = replace(observed(*3 * ["def f(x): return x"]), evidence={"behaviour": programs})
    view, feature = View(seen, "behaviour"), BY_NAME[name]
    return feature.compute(view if feature.level == "query" else ClassView(view, view.classes[at]))


@pytest.mark.parametrize(("name", "at", "worth"), OF_PROGRAMS)
def test_the_worth_of_a_feature_of_what_programs_do(name, at, worth):
    assert of_programs(name, PROGRAMS, at) == pytest.approx(worth)


@pytest.mark.parametrize("name", sorted({name for name, _, _ in OF_PROGRAMS}))
def test_what_programs_do_is_nan_where_none_was_run(name):
    assert math.isnan(value(name, "def f(x): return x", "def f(x): return 2"))


@pytest.mark.parametrize("name", [f.name for f in EVERY if f.family == "expected-value"])
def test_without_examples_nothing_is_said_of_expected_values(name):
    assert math.isnan(of_programs(name, {place: {**did, "visible": None} for place, did in PROGRAMS.items()}))


def test_a_class_that_cannot_run_the_examples_is_told_from_one_that_fails():
    for visible, worth in (("fails", 0.0), ("cannot run", -1.0)):
        assert of_programs("class_passes", {**PROGRAMS, "1": did("7", visible=visible)}, at=1) == worth


def test_an_oracle_that_has_joined_is_seen_in_its_class():
    assert value("class_has_oracle", "7", "8", oracle="8") == 1.0
    assert value("class_has_oracle", "7", "8", oracle="8", at=1) == 0.0
    assert value("agreement", "7", "8", oracle="8") == 0.5


def test_every_feature_has_its_worth_tested():
    tested = {case[0] for case in (*WORTH, *ASKED)} | {
        "question_similarity",
        "class_question_similarity",
        "class_called",
        *(case[0] for case in (*OF_OPTIONS, *OF_PHRASES, *OF_PROGRAMS, *OF_TOOLS)),
        *(feature.name for feature in CONTEXT_CLASS_FEATURES),  # in test_context_features.py
    }
    assert tested == set(BY_NAME)


@pytest.mark.parametrize(
    "feature",
    [f for f in EVERY if f.family in {"length", "confidence", "logprob"}],
    ids=lambda f: f.name,
)
def test_a_signal_that_nobody_gave_is_nan_and_never_zero(feature):
    assert math.isnan(value(feature.name, Answer(text="", extracted="7"), Answer(text="", extracted="7")))
