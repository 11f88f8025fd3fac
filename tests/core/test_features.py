import gc
import math
import random
import time
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramid_core.equivalence import classes, voices
from pyramid_core.errors import InputError
from pyramid_core.features import (
    CLASS_FEATURES,
    DEFAULT_CLASS_FEATURES,
    DEFAULT_QUERY_FEATURES,
    QUERY_FEATURES,
    Feature,
    FeatureSet,
    member_features,
)
from pyramid_core.types import Answer, Failure, Observation, Query, Reply, ToolCall, Usage

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


FAILED = Failure(kind="Timeout")
CALLS = (ToolCall(name="f", arguments={}), ToolCall(name="g", arguments={}))


SIGNALS = ("confidence_of", "mean_prob_of", "avg_logprob_of", "min_logprob_of", "size_of")


def test_signals_of_single_members_are_read_from_their_own_answers():
    said = Answer(
        text="7 it is", logprobs=(-1.0, -3.0), confidence=0.9, mean_prob=0.5, usage=Usage(output_tokens=4)
    )
    made = FeatureSet("class", member_features(("a", "b"), "class", signals=True))
    (row,) = (
        dict(zip(made.names, row, strict=True)) for row in made.rows(observed(said, FAILED, crowd=("a", "b")))
    )
    assert [row[f"{name}[a]"] for name in SIGNALS] == [0.9, 0.5, -2.0, -3.0, 4.0]
    assert all(math.isnan(row[f"{name}[b]"]) for name in SIGNALS)
    assert FeatureSet.named("query", [[f"{name}[a]", 1] for name in SIGNALS]).families == (
        "confidence",
        "logprob",
        "length",
    )


def test_no_two_features_share_a_name():
    assert len(BY_NAME) == len(EVERY)


@pytest.mark.parametrize("feature", EVERY, ids=lambda feature: feature.name)
def test_a_feature_says_what_it_is_in_a_function_of_its_own(feature):
    assert feature.name == feature.compute.__name__
    assert feature.compute.__doc__.strip().endswith((".", ")"))


LOGPROBS = st.none() | st.lists(
    st.floats(-20, 0) | st.just(-math.inf) | st.just(math.nan), min_size=1, max_size=5
).map(tuple)
ANSWERS = st.builds(
    Answer,
    text=st.sampled_from(
        [
            *(
                "7",
                "The answer is 8.",
                "3 + 4 = 7, so 7",
                "3 * 4 = 13\n#### 13",
                "(A)",
                "",
                "\ud800 \x00",
                "[1, 2]",
                "-0.0",
            ),
            *(
                "I'm sorry, I can't.",
                "It is Paris. Confidence: 85%",
                '{"reasoning": "x',
                "1e5",
                "9" * 400,
                "é" * 30,
            ),
        ]
    ),
    logprobs=LOGPROBS,
    confidence=st.none() | st.floats(0, 1),
    mean_prob=st.none() | st.floats(0, 1),
    finish_reason=st.sampled_from([None, "stop", "length"]),
    usage=st.none() | st.builds(Usage, output_tokens=st.none() | st.integers(0, 500)),
    tool_calls=st.sampled_from([(), (), (), CALLS]),
)
REPLIES = st.lists(ANSWERS | st.just(FAILED), min_size=3, max_size=3)
QUESTIONS = st.sampled_from(["How many eggs are 3 and 4?", "Which?\nA. x\nB. y", "", "Who?", "\ud800"])


def same(rows, others):
    assert len(rows) == len(others)
    for row, other in zip(rows, others, strict=True):
        assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(row, other, strict=True))


@settings(max_examples=60)
@given(said=REPLIES, question=QUESTIONS, seed=st.integers(0, 99))
def test_no_feature_depends_on_who_answered_first(said, question, seed):
    calls = [0, 1, 2]
    random.Random(seed).shuffle(calls)
    replies = [
        Reply(call=number, role="crowd", who=who, result=one)
        for number, who, one in zip(calls, CROWD, said, strict=True)
    ]
    turned = Observation(
        query=Query(text=question), crowd=CROWD, replies=tuple(sorted(replies, key=lambda reply: reply.call))
    )
    every = FeatureSet("class", EVERY)
    same(every.rows(turned), every.rows(observed(*said, query=question)))


@settings(max_examples=60)
@given(said=REPLIES, question=QUESTIONS)
def test_features_do_not_change_when_a_member_has_another_name(said, question):
    every = FeatureSet("class", EVERY)
    same(
        every.rows(observed(*said, query=question, crowd=("x", "y", "z"))),
        every.rows(observed(*said, query=question)),
    )


@settings(max_examples=60)
@given(said=REPLIES, question=QUESTIONS, oracle=st.none() | ANSWERS)
def test_a_feature_is_finite_or_nan_on_any_answers(said, question, oracle):
    seen = observed(*said, query=question, oracle=oracle)
    rows = FeatureSet("class", EVERY).rows(seen) + FeatureSet("query", QUERY_FEATURES).rows(seen)
    assert not any(math.isinf(number) for row in rows for number in row)
    assert all(isinstance(number, float) for row in rows for number in row)


@settings(max_examples=30)
@given(said=REPLIES, question=QUESTIONS)
def test_what_was_kept_of_a_partial_crowd_changes_no_feature_of_the_complete_one(said, question):
    every = FeatureSet("class", EVERY)
    complete = observed(*said, query=question)
    partial = Observation(
        query=complete.query, crowd=CROWD, replies=complete.replies[:2], pending=("c",), kept=complete.kept
    )
    every.rows(partial)
    same(every.rows(complete), every.rows(observed(*said, query=question)))


QUERY_SET = FeatureSet("query", DEFAULT_QUERY_FEATURES)
CLASS_SET = FeatureSet("class", DEFAULT_CLASS_FEATURES)


def test_a_query_s_set_makes_one_row():
    (row,) = QUERY_SET.rows(observed("7", "8"))
    assert len(row) == len(QUERY_SET.names)
    assert row[QUERY_SET.names.index("agreement")] == 1 / 3


def test_a_class_s_set_makes_a_row_for_each_class_in_their_order():
    seen = observed("8", "7", "7")
    rows = CLASS_SET.rows(seen)
    column = CLASS_SET.names.index("class_final_size")
    assert [row[column] for row in rows] == [float(found.key) for found in classes(seen)] == [7.0, 8.0]


def test_the_query_s_features_are_repeated_in_every_class_s_row():
    rows = CLASS_SET.rows(observed("8", "7", "7"))
    column = CLASS_SET.names.index("agreement")
    assert [row[column] for row in rows] == [2 / 3, 2 / 3]


def test_where_nobody_has_voted_there_is_a_query_s_row_and_none_of_a_class():
    assert CLASS_SET.rows(observed("", FAILED)) == []
    assert len(QUERY_SET.rows(observed("", FAILED))) == 1
    assert len(QUERY_SET.rows(observed())) == 1


def test_a_set_uses_its_own_equivalence():
    seen = observed("7 apples", "7")
    names = [("query", "numeric", 2 / 3), ("query", "exact", 1 / 3)]
    for level, equivalence, worth in names:
        assert FeatureSet(level, DEFAULT_QUERY_FEATURES, equivalence).rows(seen)[0][0] == worth


def test_an_observation_is_freed_without_the_collector():
    seen = observed("7", "7", "8")
    CLASS_SET.rows(seen)
    text = weakref.ref(voices(seen)[0].reading)
    gc.disable()
    try:
        del seen
        assert text() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "made",
    [
        QUERY_SET,
        CLASS_SET,
        FeatureSet("class", (*CLASS_FEATURES, *member_features(CROWD, "class")), "numeric"),
    ],
)
def test_a_card_s_columns_make_the_same_set_again(made):
    again = FeatureSet.named(made.level, made.columns, made.equivalence)
    assert again.names == made.names
    assert again.fingerprint() == made.fingerprint()
    seen = observed("7", "8")
    same(again.rows(seen), made.rows(seen))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([["agreement", 1], ["wisdom", 1]], "unknown feature 'wisdom'"),
        ([["agreement", 2]], "'agreement' is of version 1 here, not 2"),
        ([["agreement"]], r"a column is \[name, version\], not \['agreement'\]"),
        (["agreement"], r"a column is \[name, version\], not 'agreement'"),
        ([[1, "agreement"]], r"a column is \[name, version\]"),
        ([["agreement", 1], ["agreement", 1]], "'agreement' occurs twice"),
        ([["class_agreement", 1]], "'class_agreement' is of a class"),
        ([["hated_by[a]", 1]], r"unknown feature 'hated_by\[a\]'"),
    ],
)
def test_columns_that_are_not_known_here_are_refused_by_name(columns, message):
    with pytest.raises(InputError, match=message):
        FeatureSet.named("query", columns)


def test_an_unknown_level_is_refused():
    with pytest.raises(InputError, match="level must be 'query' or 'class', not 'answer'"):
        FeatureSet("answer", DEFAULT_QUERY_FEATURES)


def test_a_family_can_be_left_out():
    without = QUERY_SET.without("logprob")
    assert "logprob" not in without.families
    assert set(QUERY_SET.families) - set(without.families) == {"logprob"}


def test_a_family_that_is_not_there_cannot_be_left_out():
    with pytest.raises(InputError, match="no feature is of the family 'weather', only of agreement"):
        QUERY_SET.without("weather")


def test_a_fingerprint_tells_columns_order_versions_and_equivalence_apart():
    newer = Feature(name="agreement", version=2, level="query", family="agreement", compute=lambda view: 0.0)
    sets = [
        QUERY_SET,
        QUERY_SET.without("text"),
        FeatureSet("query", DEFAULT_QUERY_FEATURES[::-1]),
        FeatureSet("query", DEFAULT_QUERY_FEATURES, "numeric"),
        FeatureSet("query", (newer, *DEFAULT_QUERY_FEATURES[1:])),
    ]
    assert len({made.fingerprint() for made in sets}) == len(sets)


def test_features_that_name_members_exist_for_a_crowd_alone():
    made = FeatureSet("class", member_features(CROWD, "class"))
    assert made.names == ("class_by[a]", "class_by[b]", "class_by[c]")
    assert made.rows(observed("7", "7", "8")) == [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    (first, *_) = made.rows(observed("7", "", FAILED))
    assert first[0] == 1.0
    assert all(map(math.isnan, first[1:]))


def test_a_query_s_features_name_who_gave_the_chosen_answer_and_who_voted():
    made = FeatureSet("query", member_features(CROWD))
    row = dict(zip(made.names, made.rows(observed("7", "8", "7"))[0], strict=True))
    assert [row[f"chosen_by[{name}]"] for name in CROWD] == [1.0, 0.0, 1.0]
    assert [row[f"answered_by[{name}]"] for name in CROWD] == [1.0, 1.0, 1.0]


def test_no_default_feature_names_a_member():
    assert not {feature.family for feature in (*DEFAULT_QUERY_FEATURES, *DEFAULT_CLASS_FEATURES)} & {"member"}


def test_a_name_with_brackets_is_a_member_s_too():
    (feature, *_) = member_features(["gpt-4 [mini]"], "class")
    assert FeatureSet.named("class", [[feature.name, 1]]).names == ("class_by[gpt-4 [mini]]",)


def test_three_answers_of_a_megabyte_cost_at_most_50_ms():
    texts = [
        f"Step {n}: 3 * {n} = {3 * n}, so we go on. " * 31_000 + f"The answer is {n}." for n in (7, 7, 8)
    ]
    assert min(map(len, texts)) > 1_000_000
    every, fastest = FeatureSet("class", EVERY), 1.0
    for _ in range(3):
        replies = tuple(
            Reply(call=n, role="crowd", who="abc"[n], result=Answer(text=text))
            for n, text in enumerate(texts)
        )
        seen = Observation(query=Query(text="How many?"), crowd=("a", "b", "c"), replies=replies)
        start = time.thread_time()
        classes(seen)
        every.rows(seen)
        fastest = min(fastest, time.thread_time() - start)
    assert fastest < 0.05
