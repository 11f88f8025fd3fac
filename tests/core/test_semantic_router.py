"""Classes of texts that mean the same: complete linkage over the cosines that were gathered."""

import math

import pytest

from pyramid_core.equivalence import AnswerClass
from pyramid_core.errors import InputError
from pyramid_core.routers import SemanticRouter
from pyramid_core.routers.semantic import merged
from pyramid_core.types import Answer, Failure, Observation, Query, Reply

TEXTS = ("I would go by train.", "Rail is best.", "Better take a plane.")


def observed(texts, cosines=None, crowd=None):
    results = [t if isinstance(t, Failure) else Answer(text=t) for t in texts]
    replies = tuple(
        Reply(call=n, role="crowd", who=f"m{n}", result=result) for n, result in enumerate(results)
    )
    names = tuple(f"m{n}" for n in range(crowd or len(texts)))
    evidence = {} if cosines is None else {"similarity": {"cosines": cosines}}
    return Observation(query=Query(text="How should I go?"), crowd=names, replies=replies, evidence=evidence)


def rows(n, **pairs):
    found = [[1.0 if a == b else 0.0 for b in range(n)] for a in range(n)]
    for pair, value in pairs.items():
        a, b = int(pair[1]), int(pair[2])
        found[a][b] = found[b][a] = value
    return found


class TestAssess:
    def test_alike_texts_are_one_class(self):
        told = SemanticRouter().assess(observed(TEXTS, rows(3, p01=0.9)))
        assert (told.chosen, told.p_fail) == (0, pytest.approx(1 / 3))

    def test_a_failed_member_has_no_row(self):
        texts = (TEXTS[0], Failure(kind="E"), TEXTS[1])
        told = SemanticRouter().assess(observed(texts, rows(2, p01=0.9)))
        assert told.p_fail == pytest.approx(1 / 3)

    @pytest.mark.parametrize("cosines", [None, rows(2, p01=1.0)])
    def test_evidence_that_is_missing_or_does_not_fit_joins_nothing_and_is_noted(self, cosines):
        told = SemanticRouter().assess(observed(TEXTS, cosines))
        assert told.p_fail == pytest.approx(2 / 3)
        assert "not known" in told.notes[0]

    def test_numbers_are_compared_as_ever(self):
        told = SemanticRouter().assess(observed(("4", "5"), rows(2, p01=1.0)))
        assert told.p_fail == 0.5

    def test_before_the_first_reply_nothing_is_said(self):
        assert math.isnan(SemanticRouter().assess(observed((), crowd=3)).p_fail)

    def test_the_threshold_is_part_of_its_name(self):
        assert SemanticRouter(0.5).id == "semantic/0.5"

    @pytest.mark.parametrize("threshold", [-2, 1.1, float("nan"), "0.5"])
    def test_a_threshold_that_is_no_cosine_is_refused(self, threshold):
        with pytest.raises(InputError, match="threshold must be a number between -1 and 1"):
            SemanticRouter(threshold)


class TestMerged:
    def test_a_chain_of_small_steps_joins_no_opposites(self):
        groups = [AnswerClass(calls=(n,), members=(f"m{n}",)) for n in range(3)]
        near = {(0, 1), (1, 0), (1, 2), (2, 1)}
        found = merged(groups, lambda a, b: (a, b) in near)
        assert [group.calls for group in found] == [(0, 1), (2,)]

    def test_the_largest_comes_first(self):
        groups = [AnswerClass(calls=(n,), members=(f"m{n}",)) for n in range(3)]
        found = merged(groups, lambda a, b: {a, b} == {1, 2})
        assert [group.calls for group in found] == [(1, 2), (0,)]
