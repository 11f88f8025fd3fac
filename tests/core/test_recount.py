"""A slice of the recorded answers, counted again in plain Python from the source's own extractions and grades."""

import re
from collections import Counter
from itertools import islice

import pytest

from pyramid_core.evaluation.profile import Plan, profile
from pyramid_core.evaluation.sheet import Wanted
from pyramid_core.routers import AgreementRouter
from tests.core.recorded import records

CROWD = ("gemma-2-9b-it", "Meta-Llama-3.1-8B-Instruct", "Qwen2-7B-Instruct")
ORACLE = "Meta-Llama-3.1-70B-Instruct"
SLICE = 300


def recount():
    """(votes of the chosen answer, whether it is right, whether the oracle is) of each question; ties to the first named."""
    rows = []
    for record in islice(records("gsm8k_zeroeval"), SLICE):
        given = {response["model"]: response for response in record["responses"]}
        numbers = [re.findall(r"-?\d[\d,]*\.?\d*", given[name]["answer"] or "") for name in CROWD]
        said = [float(found[0].replace(",", "")) if found else None for found in numbers]
        votes = Counter(answer for answer in said if answer is not None)
        chosen = max(votes, key=lambda answer: (votes[answer], -said.index(answer)))
        right = given[CROWD[said.index(chosen)]]["correct"]
        rows.append((votes[chosen], int(right), int(given[ORACLE]["correct"])))
    return rows


def area(rows):
    """The mean of (accuracy - vote) / (oracle - vote) over the rate, escalating the fewest votes first."""
    n, vote = len(rows), sum(right for _, right, _ in rows)
    gap = sum(oracle for _, _, oracle in rows) - vote
    total, gained = 0.0, 0
    for level in (1, 2, 3):
        block = [(right, oracle) for votes, right, oracle in rows if votes == level]
        gain = sum(oracle - right for right, oracle in block)
        total += len(block) / n * (gained + gain / 2) / gap
        gained += gain
    return total


@pytest.fixture(scope="module")
def told():
    plan = Plan(
        wanted=Wanted(crowd=CROWD, oracle=ORACLE), kind=None, router=AgreementRouter("numeric"), resamples=2
    )
    return profile(lambda: islice(records("gsm8k_zeroeval"), SLICE), plan)


def test_accuracies_are_those_of_a_plain_count(told):
    rows = recount()
    assert told["vote_accuracy"] == pytest.approx(sum(right for _, right, _ in rows) / SLICE, abs=1e-6)
    assert told["oracle_accuracy"] == pytest.approx(sum(oracle for _, _, oracle in rows) / SLICE, abs=1e-6)
    apart = [votes < 3 for votes, _, _ in rows]
    assert told["baselines"]["unanimous"]["escalation_rate"] == pytest.approx(sum(apart) / SLICE, abs=1e-6)


def test_auroc_is_the_share_of_pairs_in_order(told):
    rows = recount()
    wrong = [votes for votes, right, _ in rows if not right]
    right = [votes for votes, right, _ in rows if right]
    pairs = sum((a < b) + (a == b) / 2 for a in wrong for b in right)
    assert told["auroc"] == pytest.approx(pairs / (len(wrong) * len(right)), abs=1e-6)


def test_apgr_is_the_area_under_the_curve_block_by_block(told):
    assert told["apgr"] == pytest.approx(area(recount()), abs=1e-6)
