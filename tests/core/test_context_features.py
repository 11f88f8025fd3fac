"""Whether what every member was given to read supports the answers."""

import math

import pytest

from pyramid_core import Answer, Pyramid, Query
from pyramid_core.evidence import ContextSimilarity
from pyramid_core.features import (
    CONTEXT,
    CONTEXT_CLASS_FEATURES,
    CONTEXT_FEATURES,
    DEFAULT_QUERY_FEATURES,
    ClassView,
    FeatureSet,
    View,
)
from pyramid_core.features.context import says_lacking
from pyramid_core.records import query_of
from pyramid_core.records.responses import query_keys
from pyramid_core.types import Observation, Reply

PASSAGES = (
    "Arla is a quiet island. 7 wells give its people water. The coast of Arla has 12 harbours.",
    "The roads of Brim cross 9 bridges. Its mayor is Ada Lind.",
)
QUESTION = "How many wells give the people of Arla water?"


def observed(*texts, question=QUESTION, context=PASSAGES, evidence=None):
    replies = [
        Reply(call=n, role="crowd", who=f"m{n}", result=Answer(text=text)) for n, text in enumerate(texts)
    ]
    return Observation(
        query=Query(text=question, context=context),
        crowd=tuple(f"m{n}" for n in range(len(texts))),
        replies=tuple(replies),
        evidence=evidence or {},
    )


def value(name, observation):
    feature = next(f for f in CONTEXT_CLASS_FEATURES if f.name == name)
    view = View(observation)
    return feature.compute(view if feature.level == "query" else ClassView(view, view.classes[0]))


class TestWords:
    def test_a_final_answer_that_stands_there(self):
        assert value("context_final", observed("The answer is 12.", "The answer is 12.")) == 1.0

    def test_one_that_does_not(self):
        assert value("context_final", observed("The answer is 13.", "The answer is 13.")) == 0.0

    def test_a_number_is_no_part_of_another(self):
        assert value("context_final", observed("The answer is 2.")) == 0.0

    def test_the_nearest_sentence_is_told_from_the_others(self):
        assert value("context_final_nearest", observed("The answer is 12.")) == 0.0
        assert value("context_final_nearest", observed("The answer is 7.")) == 1.0
        assert value("class_context_final_nearest", observed("The answer is 7.")) == 1.0

    def test_words_stand_there_as_words(self):
        question = "Who is the mayor of Brim?"
        assert value("context_final", observed("Ada Lind", question=question)) == 1.0
        assert value("context_final", observed("Ada", question=question)) == 1.0
        assert value("context_final", observed("Ida", question=question)) == 0.0

    def test_a_question_that_no_sentence_takes_up(self):
        told = value("context_question", observed("7"))
        missed = value("context_question", observed("7", context=PASSAGES[1:]))
        assert missed < told

    def test_words_of_the_question_do_not_count(self):
        assert value("context_overlap", observed("wells harbours nowhere nothing")) == pytest.approx(1 / 3)

    def test_an_answer_that_says_the_context_lacks_it(self):
        assert value("context_lacking", observed("The context does not say.", "7")) == 0.5
        assert value("class_context_lacking", observed("The context does not say.")) == 1.0

    @pytest.mark.parametrize(
        "text",
        [
            "The context does not mention any ferries.",
            "There is no information about that.",
            "It is not specified in the passage.",
            "I cannot answer this.",
            "Empty Response",
            "The provided text doesn't state how many.",
        ],
    )
    def test_ways_of_saying_so(self, text):
        assert says_lacking(text)

    @pytest.mark.parametrize("text", ["7", "It has 7 wells.", "There are no wells.", "Not seven but eight."])
    def test_ways_of_saying_something_else(self, text):
        assert not says_lacking(text)

    @pytest.mark.parametrize("feature", CONTEXT_CLASS_FEATURES, ids=lambda f: f.name)
    def test_without_a_context_nothing_is_said(self, feature):
        assert math.isnan(value(feature.name, observed("The answer is 7.", context=())))

    @pytest.mark.parametrize("context", [("",), ("...",), ("\n\n", "x" * 200_000), ("7 \ud800",)])
    def test_any_context_is_read(self, context):
        assert 0.0 <= value(
            "context_final", observed("The answer is 7.", context=context)
        ) <= 1.0 or context == ("",)


class TestMeaning:
    def embed(self, texts):
        return [[float(word in text) for word in ("well", "harbour", "bridge")] for text in texts]

    def test_the_greatest_cosine_with_a_passage(self):
        seen = observed("well", "bridge")

        class Gather:
            query = seen.query
            answers = tuple(reply.result for reply in seen.replies)

        told = ContextSimilarity(self.embed)(Gather)
        assert told == {"0": pytest.approx(0.5**0.5), "1": pytest.approx(1.0)}
        read = observed("well", "bridge", evidence={CONTEXT: told})
        assert value("context_similarity", read) == pytest.approx((1 + 0.5**0.5) / 2)
        assert value("class_context_similarity", read) == pytest.approx(0.5**0.5)

    def test_nothing_is_asked_without_passages(self):
        class Gather:
            query = Query(text="?")
            answers = (Answer(text="x"),)

        assert ContextSimilarity(lambda texts: pytest.fail("asked"))(Gather) == {}


class TestUse:
    def test_a_record_keeps_the_context(self):
        query = Query(text=QUESTION, context=PASSAGES)
        assert query_of(query_keys(query)).context == PASSAGES
        assert "context" not in query_keys(Query(text=QUESTION))

    def test_a_set_takes_them_by_name(self):
        columns = FeatureSet("query", CONTEXT_FEATURES).columns
        assert FeatureSet.named("query", columns).names[0] == "context_final"

    def test_a_pyramid_hands_the_context_to_its_members(self):
        class Reads:
            name = "m"

            def ask(self, query):
                return Answer(text=query.context[0])

        found = Pyramid(crowd=[Reads()], oracle=Reads()).ask(Query(text=QUESTION, context=PASSAGES))
        assert found.answer.text == PASSAGES[0]

    def test_a_router_is_trained_with_them_on_traces(self):
        fit = pytest.importorskip("pyramid_core.training").fit
        records = []
        for number in range(120):
            holds = number % 3 != 0
            said = number % 40 if holds else 99
            told = [{"model": name, "text": f"It has {said}.", "correct": holds} for name in ("a", "b")]
            told.append({"model": "o", "text": f"It has {number % 40}.", "correct": True})
            context = [f"Wells of place {number}: it has {number % 40}."]
            records.append(
                {"id": str(number), "query": f"How many? ({number})", "context": context, "responses": told}
            )
        features = (*DEFAULT_QUERY_FEATURES, *CONTEXT_FEATURES)
        router = fit(records, crowd=("a", "b"), oracle="o", kind="anytime", features=features)
        assert "context_final" in router.features.names
        found = Observation(
            query=Query(text="How many? (1)", context=("It has 1.",)),
            crowd=("a", "b"),
            replies=tuple(
                Reply(call=n, role="crowd", who=w, result=Answer(text="It has 99."))
                for n, w in enumerate("ab")
            ),
            oracles=("o",),
        )
        assert router.assess(found).p_fail > 0.5
