"""Routers that need no training, and what every router has in common."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_core.decision import ThresholdRule
from pyramid_core.errors import InputError
from pyramid_core.routers import AgreementRouter, ConstantRouter, RandomRouter, load_router
from pyramid_core.types import (
    Answer,
    Assessment,
    Decision,
    Failure,
    Foreseen,
    Observation,
    Options,
    Query,
    Reply,
    Verdict,
)

NAMES = ("a", "b", "c", "d", "e")
FAILED = "!"


def seen(
    *said: tuple[str, str],
    crowd: str = "abc",
    oracles: Sequence[str] = ("o",),
    text: str = "how many?",
    **more: Any,
) -> Observation:
    """An observation of (member, answer) pairs in call order; the answer "!" is a failure."""
    replies = tuple(
        Reply(
            call=number,
            role="oracle" if who in oracles else "crowd",
            who=who,
            result=Failure(kind="E") if what == FAILED else Answer(text=what),
        )
        for number, (who, what) in enumerate(said)
    )
    heard = {who for who, _ in said}
    return Observation(
        query=Query(text=text, answer_type="number"),
        crowd=tuple(crowd),
        replies=replies,
        pending=tuple(name for name in crowd if name not in heard),
        oracles=tuple(oracles),
        **more,
    )


def decider(threshold: float = 0.0, oracles: tuple[str, ...] = ("o",)) -> Any:
    rule = ThresholdRule(threshold)
    return lambda assessment: rule.decide(assessment, Options(oracles=oracles, may_wait=False))


class TestAgreement:
    @pytest.mark.parametrize(
        ("said", "chosen", "p_fail"),
        [
            ([("a", "1"), ("b", "1"), ("c", "1")], 0, 0.0),
            ([("a", "1"), ("b", "2"), ("c", "2")], 1, 1 / 3),
            ([("a", "1"), ("b", "2"), ("c", "3")], 0, 2 / 3),
            ([("a", "1"), ("b", FAILED), ("c", "1")], 0, 1 / 3),
            ([("a", "1"), ("b", ""), ("c", "1")], 0, 1 / 3),
            ([("a", FAILED), ("b", FAILED), ("c", FAILED)], None, 1.0),
            ([("a", ""), ("b", ""), ("c", "")], None, 1.0),
            ([("a", "1")], 0, 2 / 3),
        ],
    )
    def test_counts_votes_over_the_whole_crowd(self, said, chosen, p_fail) -> None:
        found = AgreementRouter().assess(seen(*said))
        assert found.chosen == chosen
        assert found.p_fail == pytest.approx(p_fail)

    def test_a_tie_goes_to_the_first_of_the_crowd_whoever_answered_first(self) -> None:
        found = AgreementRouter().assess(seen(("c", "3"), ("b", "2"), ("a", "1")))
        assert found.chosen == 2

    def test_the_class_speaks_through_the_first_of_the_crowd(self) -> None:
        assert AgreementRouter().assess(seen(("c", "1"), ("a", "1"), ("b", "2"))).chosen == 1

    def test_says_nothing_before_the_first_reply(self) -> None:
        found = AgreementRouter().assess(seen())
        assert math.isnan(found.p_fail)
        assert found.chosen is None

    def test_after_an_oracle_its_answer_stands(self) -> None:
        found = AgreementRouter().assess(seen(("a", "1"), ("b", "2"), ("c", "3"), ("o", "4")))
        assert (found.chosen, found.p_fail) == (3, 0.0)

    def test_after_an_oracle_it_is_wrong_as_often_as_was_said(self) -> None:
        router = AgreementRouter(oracle_accuracy={"o": 0.75})
        assert router.assess(seen(("a", "1"), ("o", "4"))).p_fail == pytest.approx(0.25)

    def test_after_an_oracle_failed_the_crowd_stands(self) -> None:
        found = AgreementRouter().assess(seen(("a", "1"), ("b", "1"), ("c", "2"), ("o", FAILED)))
        assert (found.chosen, found.p_fail) == (0, pytest.approx(1 / 3))

    def test_tells_only_of_oracles_it_was_told_of(self) -> None:
        router = AgreementRouter(oracle_accuracy={"o": 0.9, "elsewhere": 0.1})
        assert router.assess(seen(("a", "1"), oracles=("o", "p"))).p_after == {"o": 0.9}

    def test_escalates_unless_unanimous_at_every_operating_point(self) -> None:
        assert {point.threshold for point in AgreementRouter().operating_points.values()} == {0.0}

    @pytest.mark.parametrize("accuracy", [-0.1, 1.1, math.nan, "0.9", {"o": 2}])
    def test_an_impossible_accuracy_is_refused(self, accuracy) -> None:
        with pytest.raises(InputError, match="oracle_accuracy"):
            AgreementRouter(oracle_accuracy=accuracy)


def endings(observation: Observation) -> Iterator[Observation]:
    """Every complete crowd that may follow, up to renaming of answers that nobody has given yet."""
    given_answers = sorted(
        {r.result.text for r in observation.replies if isinstance(r.result, Answer) and r.result.text}
    )
    fresh = [str(90 + n) for n in range(len(observation.pending))]
    for coming in itertools.product([*given_answers, *fresh, FAILED], repeat=len(observation.pending)):
        said = [
            (r.who, r.result.text if isinstance(r.result, Answer) else FAILED) for r in observation.replies
        ]
        yield seen(*said, *zip(observation.pending, coming, strict=True), crowd="".join(observation.crowd))


def foreseen_by(observation: Observation, now: Assessment, ending: Observation, decide: Any) -> Foreseen:
    """The verdict on `ending`, told as `foresee` tells it."""
    router = AgreementRouter()
    final = router.assess(ending)
    decision: Decision = decide(final)
    who = {reply.call: reply.result.text for reply in ending.replies if isinstance(reply.result, Answer)}
    stays = now.chosen is not None and final.chosen is not None and who[final.chosen] == who.get(now.chosen)
    same = stays or decision.verdict is not Verdict.ACCEPT
    return Foreseen(verdict=decision.verdict, oracle=decision.oracle, same=same)


partial_crowds = st.integers(1, 5).flatmap(
    lambda size: st.permutations(NAMES[:size]).flatmap(
        lambda order: st.lists(st.sampled_from(["1", "2", "3", "", FAILED]), max_size=size).map(
            lambda said: seen(*zip(order, said, strict=False), crowd="".join(NAMES[:size]))
        )
    )
)


class TestForesight:
    @given(partial_crowds, st.sampled_from([0.0, 0.3, 0.5, 0.7]))
    def test_names_every_verdict_that_a_complete_crowd_can_bring(self, observation, threshold) -> None:
        decide = decider(threshold)
        router = AgreementRouter()
        foreseen = router.foresee(observation, decide)
        now = router.assess(observation)
        possible = {foreseen_by(observation, now, ending, decide) for ending in endings(observation)}
        assert possible <= {outcome for outcome, chance in foreseen.items() if chance > 0}

    def test_a_class_of_fewer_votes_settles_no_tie(self) -> None:
        observation = seen(*zip("bcdea", ["2", "2", "3", "3", "1"], strict=True), crowd="abcde")
        foreseen = AgreementRouter().foresee(observation, decider(0.7))
        assert {outcome.same for outcome, chance in foreseen.items() if chance > 0} == {True}

    @given(partial_crowds, st.sampled_from([0.0, 0.5]))
    def test_is_a_distribution(self, observation, threshold) -> None:
        assert sum(AgreementRouter().foresee(observation, decider(threshold)).values()) == pytest.approx(1.0)

    def test_a_first_disagreement_settles_unless_unanimous(self) -> None:
        foreseen = AgreementRouter().foresee(seen(("a", "1"), ("b", "2")), decider(0.0))
        assert foreseen == {Foreseen(verdict=Verdict.ESCALATE, oracle="o"): pytest.approx(1.0)}

    def test_two_of_three_settle_a_majority(self) -> None:
        foreseen = AgreementRouter().foresee(seen(("a", "1"), ("b", "1")), decider(0.5))
        assert foreseen == {Foreseen(verdict=Verdict.ACCEPT): pytest.approx(1.0)}

    def test_one_answer_of_three_settles_nothing(self) -> None:
        foreseen = AgreementRouter().foresee(seen(("a", "1")), decider(0.0))
        assert {outcome.verdict for outcome in foreseen} == {Verdict.ACCEPT, Verdict.ESCALATE}

    def test_agreement_so_far_makes_agreement_likelier(self) -> None:
        chance = [
            AgreementRouter().foresee(seen(*said, crowd="abcd"), decider(0.0))[
                Foreseen(verdict=Verdict.ACCEPT)
            ]
            for said in ([("a", "1")], [("a", "1"), ("b", "1")], [("a", "1"), ("b", "1"), ("c", "1")])
        ]
        assert chance == sorted(chance)

    def test_a_constant_router_knows_the_verdict_before_anybody_answers(self) -> None:
        foreseen = ConstantRouter(0.9).foresee(seen(), decider(0.5))
        assert foreseen == {Foreseen(verdict=Verdict.ESCALATE, oracle="o"): pytest.approx(1.0)}


class TestBaselines:
    def test_a_constant_router_accepts_the_vote(self) -> None:
        found = ConstantRouter(0.25).assess(seen(("a", "1"), ("b", "2"), ("c", "2")))
        assert (found.chosen, found.p_fail) == (1, 0.25)

    def test_a_random_router_says_the_same_of_the_same_query(self) -> None:
        said = [("a", "1"), ("b", "2"), ("c", "2")]
        first, second = (RandomRouter(3).assess(seen(*said[:n])).p_fail for n in (1, 3))
        assert first == second

    def test_a_random_router_is_uniform_over_queries(self) -> None:
        drawn = [RandomRouter(0).assess(seen(text=f"q{n}")).p_fail for n in range(400)]
        assert sum(drawn) / 400 == pytest.approx(0.5, abs=0.05)
        assert sum(p < 0.25 for p in drawn) / 400 == pytest.approx(0.25, abs=0.07)

    def test_another_seed_is_another_draw(self) -> None:
        assert RandomRouter(0).assess(seen()).p_fail != RandomRouter(1).assess(seen()).p_fail

    def test_a_query_with_surrogates_is_drawn_too(self) -> None:
        assert 0 <= RandomRouter(0).assess(seen(text="\ud800")).p_fail < 1

    @pytest.mark.parametrize("p_fail", [-0.1, 1.5, math.nan, None, True])
    def test_an_impossible_constant_is_refused(self, p_fail) -> None:
        with pytest.raises(InputError, match="p_fail"):
            ConstantRouter(p_fail)


class TestEveryRouter:
    ROUTERS = (AgreementRouter(), ConstantRouter(0.5), RandomRouter(1))

    @pytest.mark.parametrize("router", ROUTERS, ids=lambda router: router.id)
    def test_has_the_three_operating_points(self, router) -> None:
        assert set(router.operating_points) == {"economy", "balanced", "baseline-match"}

    @pytest.mark.parametrize("router", ROUTERS, ids=lambda router: router.id)
    def test_keeps_the_oracle_once_it_has_answered(self, router) -> None:
        assert router.assess(seen(("a", "1"), ("o", "9"))).chosen == 1

    @pytest.mark.parametrize("router", ROUTERS, ids=lambda router: router.id)
    @given(order=st.permutations([("a", "1"), ("b", "2"), ("c", "2")]))
    def test_does_not_depend_on_who_answered_first(self, router, order) -> None:
        in_order = seen(("a", "1"), ("b", "2"), ("c", "2"))
        mixed = seen(*order)
        one, other = router.assess(in_order), router.assess(mixed)
        said = {reply.call: reply.who for reply in mixed.replies}
        assert (said[other.chosen or 0], other.p_fail) == (in_order.crowd[one.chosen or 0], one.p_fail)


def test_agreement_is_loaded_by_name() -> None:
    assert isinstance(load_router("agreement"), AgreementRouter)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(InputError, match=r"'agreemnt'.*agreement.*\./agreemnt"):
        load_router("agreemnt")
