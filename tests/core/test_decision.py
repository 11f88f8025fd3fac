import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_core.decision import (
    TOLERANCE,
    EscalationRule,
    ThresholdRule,
    barriers,
    escalates,
    utilities,
)
from pyramid_core.errors import InputError
from pyramid_core.prices import Price
from pyramid_core.types import Assessment, Context, OperatingPoint, Options, Usage, Verdict

NAN = math.nan
PROBABILITY = st.floats(0, 1)
ONE = Options(oracles=("big",), may_wait=False)
NONE = Options(oracles=(), may_wait=False)


def seen(p_fail, chosen=0, **p_after):
    return Assessment(chosen=chosen, p_fail=p_fail, p_after=p_after)


def router(**points):
    return SimpleNamespace(
        id="r", operating_points={name.replace("_", "-"): at for name, at in points.items()}
    )


RULES = [
    ThresholdRule(0.4),
    EscalationRule(c_esc=0.1, p_oracle=0.9),
    EscalationRule(c_esc={"big": 0.1, "huge": 0.3}),
    EscalationRule(point=OperatingPoint(threshold=0.4)),
    EscalationRule(point=OperatingPoint(threshold=0.4, barrier=-0.1), u_correct=2.0),
]


@given(PROBABILITY, PROBABILITY, st.floats(0, 10), st.floats(0.01, 100))
def test_eq_5_is_the_argmax_of_eq_4(p_fail, p_oracle, c_esc, u_correct):
    u_stop, u_esc = utilities(p_fail, p_oracle, c_esc, u_correct)
    gain = (u_esc - u_stop) / u_correct
    rounding = 1e-13 * (1 + c_esc / u_correct)
    if abs(gain - TOLERANCE) > rounding:
        assert escalates(p_fail, *barriers(p_oracle, c_esc, u_correct)) == (gain > TOLERANCE)


def test_equal_utilities_mean_stop_although_floats_say_otherwise():
    assert 0.2 > 0.1 + (1 - 0.9)
    assert not escalates(0.2, *barriers(0.9, 0.1))


def test_a_difference_above_the_tolerance_escalates():
    assert escalates(0.2 + 1e-9, *barriers(0.9, 0.1))


def test_an_unknown_p_fail_is_above_no_barrier():
    assert not escalates(NAN, 0.0, 0.0)


@given(PROBABILITY, PROBABILITY, PROBABILITY)
def test_a_threshold_is_eq_5_whose_barriers_sum_to_it(p_fail, threshold, p_after):
    decision = ThresholdRule(threshold).decide(seen(p_fail, big=p_after), ONE)
    assert decision.cost_barrier + decision.imperfection_barrier == pytest.approx(threshold, abs=1e-12)
    assert decision.imperfection_barrier == 1 - p_after
    if abs(p_fail - threshold - TOLERANCE) > 1e-14:
        assert (decision.verdict is Verdict.ESCALATE) == (p_fail > threshold + TOLERANCE)
        assert (decision.u_esc > decision.u_stop + TOLERANCE) == (decision.verdict is Verdict.ESCALATE) or (
            abs(decision.u_esc - decision.u_stop - TOLERANCE) < 1e-14
        )


@pytest.mark.parametrize("rule", RULES, ids=repr)
@given(
    p_fail=PROBABILITY | st.just(NAN),
    chosen=st.none() | st.just(0),
    p_after=st.dictionaries(st.sampled_from(["big", "huge"]), PROBABILITY | st.just(NAN)),
    oracles=st.sampled_from([(), ("big",), ("huge", "big")]),
    may_wait=st.booleans(),
)
def test_a_verdict_is_always_one_that_may_be_given(rule, p_fail, chosen, p_after, oracles, may_wait):
    options = Options(oracles=oracles, may_wait=may_wait)
    decision = rule.decide(Assessment(chosen=chosen, p_fail=p_fail, p_after=p_after), options)
    assert (decision.oracle in oracles) if decision.verdict is Verdict.ESCALATE else decision.oracle is None
    assert may_wait or decision.verdict is not Verdict.WAIT
    assert not math.isnan(decision.cost_barrier)
    assert not math.isnan(decision.imperfection_barrier)
    assert not math.isnan(decision.u_esc)
    assert math.isnan(decision.u_stop) == math.isnan(p_fail)
    assert decision.reason
    assert decision.rule == rule.name


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("chosen", [0, None])
def test_an_unknown_p_fail_waits_while_answers_may_come(rule, chosen):
    options = Options(oracles=("big",), may_wait=True)
    assert rule.decide(seen(NAN, chosen), options).verdict is Verdict.WAIT


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("chosen", [0, None])
def test_an_unknown_p_fail_escalates_when_nothing_may_come(rule, chosen):
    decision = rule.decide(seen(NAN, chosen), ONE)
    assert (decision.verdict, decision.oracle) == (Verdict.ESCALATE, "big")


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_where_no_answer_stands_the_oracle_is_asked_however_sure_the_router_is(rule):
    assert rule.decide(seen(0.0, None), ONE).verdict is Verdict.ESCALATE


def test_a_forecast_below_the_barriers_waits_for_the_crowd():
    decision = ThresholdRule(0.4).decide(seen(0.1, None), Options(oracles=("big",), may_wait=True))
    assert decision.verdict is Verdict.WAIT


def test_a_forecast_above_the_barriers_escalates_before_any_answer():
    decision = ThresholdRule(0.4).decide(seen(0.9, None), Options(oracles=("big",), may_wait=True))
    assert decision.verdict is Verdict.ESCALATE


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_without_an_open_oracle_the_answer_stands_at_any_risk(rule):
    decision = rule.decide(seen(1.0), NONE)
    assert decision.verdict is Verdict.ACCEPT
    assert decision.u_esc == -math.inf
    assert not escalates(1.0, decision.cost_barrier, decision.imperfection_barrier)


@pytest.mark.parametrize("assessment", [seen(NAN), seen(0.3, None)])
def test_without_an_open_oracle_an_unknown_waits_while_answers_may_come(assessment):
    options = Options(oracles=(), may_wait=True)
    assert ThresholdRule(0.4).decide(assessment, options).verdict is Verdict.WAIT
    assert ThresholdRule(0.4).decide(assessment, NONE).verdict is Verdict.ACCEPT


def test_escalation_weighs_the_paper_s_numbers():
    decision = EscalationRule(c_esc=0.02, u_correct=0.1, p_oracle=0.95).decide(seen(0.3), ONE)
    assert decision.verdict is Verdict.ESCALATE
    assert decision.u_stop == pytest.approx(0.07)
    assert decision.u_esc == pytest.approx(0.075)
    assert decision.cost_barrier == pytest.approx(0.2)
    assert decision.imperfection_barrier == pytest.approx(0.05)


def test_p_oracle_beats_what_the_router_says():
    assessment = seen(0.5, big=0.1)
    assert EscalationRule(c_esc=0.1).decide(assessment, ONE).verdict is Verdict.ACCEPT
    assert EscalationRule(c_esc=0.1, p_oracle=0.9).decide(assessment, ONE).verdict is Verdict.ESCALATE


@pytest.mark.parametrize("p_after", [{}, {"big": NAN}])
def test_an_oracle_that_the_router_does_not_know_is_taken_to_be_always_right(p_after):
    decision = EscalationRule(c_esc=0.1).decide(Assessment(chosen=0, p_fail=0.2, p_after=p_after), ONE)
    assert decision.imperfection_barrier == 0
    assert decision.verdict is Verdict.ESCALATE


def test_the_reason_says_that_an_oracle_was_taken_to_be_always_right():
    rule = EscalationRule(c_esc=0.1)
    assert "always right" in rule.decide(seen(0.2), ONE).reason
    assert "always right" not in rule.decide(seen(0.2, big=0.9), ONE).reason


@pytest.mark.parametrize(
    ("costs", "p_after", "asked"),
    [
        (0.1, {"big": 0.8, "huge": 0.9}, "huge"),
        ({"big": 0.1, "huge": 0.3}, {"big": 0.8, "huge": 0.9}, "big"),
        (0.1, {"big": 0.9, "huge": 0.9}, "big"),
        (0.1, {"big": 0.1 + 0.2, "huge": 0.3}, "big"),
    ],
)
def test_of_several_oracles_the_one_with_the_largest_utility_is_asked_the_first_of_equals(
    costs, p_after, asked
):
    options = Options(oracles=("big", "huge"), may_wait=False)
    decision = EscalationRule(c_esc=costs).decide(Assessment(chosen=0, p_fail=0.99, p_after=p_after), options)
    assert decision.oracle == asked


def test_a_threshold_asks_the_first_open_oracle():
    options = Options(oracles=("huge", "big"), may_wait=False)
    assert ThresholdRule(0.4).decide(seen(0.5, big=1.0, huge=0.1), options).oracle == "huge"


def test_a_shadow_price_is_added_to_the_cost():
    dear = replace(ONE, context=Context(shadow_price=0.5))
    rule = EscalationRule(c_esc=0.1, u_correct=2.0, p_oracle=1.0)
    assert rule.decide(seen(0.2), ONE).verdict is Verdict.ESCALATE
    decision = rule.decide(seen(0.2), dear)
    assert decision.verdict is Verdict.ACCEPT
    assert decision.cost_barrier == pytest.approx(0.3)


def test_an_oracle_without_a_cost_is_named():
    with pytest.raises(InputError, match="no cost for the oracle 'big', only for 'huge'"):
        EscalationRule(c_esc={"huge": 1.0}).decide(seen(0.2), ONE)


def test_a_threshold_that_is_left_open_comes_from_baseline_match():
    card = router(baseline_match=OperatingPoint(threshold=0.25), balanced=OperatingPoint(threshold=0.5))
    assert ThresholdRule().resolved(card).threshold == 0.25
    assert ThresholdRule(operating_point="balanced").resolved(card).threshold == 0.5


def test_what_the_user_gave_is_not_taken_from_the_card():
    card = router(baseline_match=OperatingPoint(threshold=0.25))
    for rule in (ThresholdRule(0.9), EscalationRule(c_esc=0.1)):
        assert rule.resolved(card) is rule


def test_a_cost_that_is_left_open_is_the_card_s_barrier_in_units_of_utility():
    card = router(baseline_match=OperatingPoint(threshold=0.25, barrier=0.05))
    decision = EscalationRule(u_correct=4.0).resolved(card).decide(seen(0.2, big=0.9), ONE)
    assert decision.cost_barrier == pytest.approx(0.05)
    assert decision.verdict is Verdict.ESCALATE


@given(PROBABILITY, PROBABILITY, PROBABILITY)
def test_where_a_card_has_no_barrier_its_threshold_implies_one(p_fail, p_after, threshold):
    card = router(baseline_match=OperatingPoint(threshold=threshold))
    by_cost = EscalationRule(u_correct=3.0).resolved(card).decide(seen(p_fail, big=p_after), ONE)
    by_threshold = ThresholdRule().resolved(card).decide(seen(p_fail, big=p_after), ONE)
    assert by_cost.cost_barrier == pytest.approx(by_threshold.cost_barrier, abs=1e-12)
    if abs(p_fail - threshold) > 1e-9:
        assert by_cost.verdict == by_threshold.verdict


@pytest.mark.parametrize(
    "rule", [ThresholdRule(operating_point="cheap"), EscalationRule(operating_point="cheap")]
)
def test_an_operating_point_that_the_card_lacks_is_named_with_those_it_has(rule):
    card = router(baseline_match=OperatingPoint(threshold=0.25), balanced=OperatingPoint(threshold=0.5))
    with pytest.raises(InputError, match="no operating point 'cheap', only 'baseline-match', 'balanced'"):
        rule.resolved(card)


@pytest.mark.parametrize("rule", [ThresholdRule(), EscalationRule()])
def test_a_rule_that_was_not_resolved_says_so(rule):
    with pytest.raises(InputError, match=r"resolved\(router\)"):
        rule.decide(seen(0.2), ONE)


@pytest.mark.parametrize("value", [-0.01, 1.01, NAN, math.inf, True, "0.5", [0.5]])
def test_a_threshold_that_is_no_probability_is_refused(value):
    with pytest.raises(InputError, match=r"threshold must be a number between 0 and 1, not "):
        ThresholdRule(value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"c_esc": -1.0}, "c_esc must be a number of at least 0, not -1.0"),
        ({"c_esc": NAN}, "c_esc must be a number of at least 0, not nan"),
        ({"c_esc": {"big": -1.0}}, "c_esc of 'big' must be a number of at least 0"),
        ({"c_esc": 0.1, "u_correct": 0}, "u_correct must be a number above 0, not 0"),
        ({"c_esc": 0.1, "u_correct": math.inf}, "u_correct must be a number above 0"),
        ({"c_esc": 0.1, "p_oracle": 1.5}, "p_oracle must be a number between 0 and 1, not 1.5"),
        ({"c_esc": "dear"}, "c_esc must be a number"),
    ],
)
def test_a_number_that_eq_5_cannot_use_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        EscalationRule(**arguments)


def test_rules_are_equal_and_hash_by_value():
    assert EscalationRule(c_esc={"a": 1.0, "b": 2.0}) == EscalationRule(c_esc={"b": 2.0, "a": 1.0})
    assert hash(EscalationRule(c_esc={"a": 1.0, "b": 2.0})) == hash(
        EscalationRule(c_esc={"b": 2.0, "a": 1.0})
    )
    assert len({ThresholdRule(0.4), ThresholdRule(0.4), ThresholdRule(0.5)}) == 2


def test_a_rule_does_not_change_with_the_mapping_it_was_given():
    costs = {"big": 0.1}
    rule = EscalationRule(c_esc=costs)
    costs["big"] = 100.0
    assert rule.decide(seen(0.5), ONE).cost_barrier == pytest.approx(0.1)


def test_rules_of_different_settings_have_different_names():
    assert len({rule.name for rule in RULES}) == len(RULES)


class TestWarmCaches:
    """C_esc is the marginal cost, which a warm prompt cache lowers."""

    COLD = Options(oracles=("big", "huge"), may_wait=False)
    WARM = replace(COLD, context=Context(warm=("big",)))

    @pytest.mark.parametrize("c_warm", [0.05, {"big": 0.05}])
    def test_a_warm_oracle_costs_what_its_next_turn_costs(self, c_warm):
        rule = EscalationRule(c_esc={"big": 0.4, "huge": 0.5}, p_oracle=1.0, c_warm=c_warm)
        assert rule.decide(seen(0.2), self.COLD).verdict is Verdict.ACCEPT
        decision = rule.decide(seen(0.2), self.WARM)
        assert (decision.verdict, decision.oracle, decision.cost_barrier) == (Verdict.ESCALATE, "big", 0.05)

    def test_another_oracle_does_not_become_cheaper(self):
        rule = EscalationRule(c_esc=0.4, p_oracle=1.0, c_warm={"huge": 0.0})
        assert rule.decide(seen(0.2), self.WARM) == rule.decide(seen(0.2), self.COLD)

    def test_the_price_list_gives_both(self):
        price = Price.per_million(input=10, output=0, cached_read=1)
        cold = price.cost(Usage(input_tokens=10_000, output_tokens=0)).usd
        warm = price.cost(Usage(input_tokens=10_000, output_tokens=0, cached_tokens=9_000)).usd
        assert (cold, warm) == pytest.approx((0.1, 0.019))

    def test_rules_that_differ_in_it_differ(self):
        rules = [EscalationRule(c_esc=0.4), EscalationRule(c_esc=0.4, c_warm=0.1)]
        assert len({hash(rule) for rule in rules}) == len(set(rules)) == 2
        assert "c_warm" not in rules[0].name
        assert "c_warm=0.1" in rules[1].name

    @pytest.mark.parametrize("c_warm", [-1.0, NAN, {"big": -1.0}])
    def test_it_is_a_number_of_zero_or_more(self, c_warm):
        with pytest.raises(InputError, match="c_warm"):
            EscalationRule(c_esc=0.4, c_warm=c_warm)
