"""Real models' answers, as they were recorded: extraction, votes and "escalate unless unanimous"."""

import pytest

from pyramid_core.decision import ThresholdRule
from pyramid_core.equivalence import classes
from pyramid_core.routers import AgreementRouter
from pyramid_core.text import Reading, literal_form, number_form, options_of
from pyramid_core.types import Options, Verdict
from tests.core.recorded import correct, observation_of, records

GSM8K_CROWD = ("gemma-2-9b-it", "Meta-Llama-3.1-8B-Instruct", "Qwen2-7B-Instruct")
GSM8K_ORACLE = "Meta-Llama-3.1-70B-Instruct"


@pytest.mark.parametrize("equivalence", ["numeric", "auto"])
def test_escalating_unless_unanimous_on_gsm8k_beats_the_oracle(equivalence):
    router, options = AgreementRouter(equivalence), Options(oracles=("oracle",), may_wait=False)
    rule = ThresholdRule(0.0)
    escalated = right = total = 0
    for record in records("gsm8k_zeroeval"):
        seen = observation_of(record, GSM8K_CROWD)
        assessment = router.assess(seen)
        total += 1
        if rule.decide(assessment, options).verdict is Verdict.ESCALATE:
            escalated += 1
            right += correct(record, GSM8K_ORACLE)
        else:
            right += correct(record, GSM8K_CROWD[assessment.chosen])
    assert total == 1319
    assert abs(escalated - 401) <= 5
    assert right / total == pytest.approx(0.946, abs=0.002)


def rates(found):
    """Of (ours, the source's) answers: the share that agree, where the source has one and where both have one."""
    answered = [(ours, theirs) for ours, theirs in found if theirs is not None]
    both = [(ours, theirs) for ours, theirs in answered if ours is not None]
    return (
        sum(ours == theirs for ours, theirs in answered) / len(answered),
        sum(ours == theirs for ours, theirs in both) / len(both),
    )


def responses(name):
    return ((record, response) for record in records(name) for response in record["responses"])


def test_numbers_extracted_from_gsm8k_s_texts_are_those_that_the_source_extracted():
    found = []
    for _, response in responses("gsm8k_zeroeval"):
        source = number_form(response["answer"]) if response["answer"] else None
        found.append((Reading(response["text"] or "").number, source))
    of_answered, of_both = rates(found)
    assert of_answered > 0.998
    assert of_both > 0.998


def test_letters_extracted_from_mmlu_pro_s_texts_are_those_that_the_source_extracted():
    found = []
    for record, response in responses("mmlu_pro"):
        letter = Reading(response["text"] or "").choice(options_of(record["query"]))
        found.append((letter, response["answer"]))
    of_answered, of_both = rates(found)
    # The source takes the last capital letter of texts that choose none; such an answer is no vote here.
    assert of_answered > 0.94
    assert of_both > 0.985


def test_literals_extracted_from_cruxeval_s_texts_are_those_that_the_source_extracted():
    found = []
    for _, response in responses("cruxeval_zeroeval"):
        source = response["answer"]
        expected = (literal_form(source) or repr(source)) if source else None
        found.append((Reading(response["text"] or "").literal, expected))
    of_answered, of_both = rates(found)
    assert of_answered > 0.98
    assert of_both > 0.98


def test_tool_calls_in_one_class_are_right_or_wrong_together():
    crowd = ("open-mistral-nemo-2407-FC-Auto", "firefunction-v2-FC", "gpt-3.5-turbo-0125-FC")
    alike = shared = 0
    for record in records("bfcl_tool_calls"):
        for found in classes(observation_of(record, crowd), "tool_calls"):
            if found.votes > 1:
                shared += 1
                alike += len({correct(record, member) for member in found.members}) == 1
    assert shared > 500
    assert alike / shared > 0.99


@pytest.mark.parametrize(
    ("name", "crowd", "equivalence"),
    [
        ("gsm8k_zeroeval", GSM8K_CROWD, "numeric"),
        ("mmlu_pro", ("Meta-Llama-3.1-8B-Instruct", "mathstral-7B", "Phi-3-mini-4k-instruct"), "choice"),
        ("cruxeval_zeroeval", ("Qwen2.5-7B-Instruct", *GSM8K_CROWD[:2]), "literal"),
    ],
)
def test_what_auto_infers_votes_as_the_kind_of_question_does(name, crowd, equivalence):
    same = total = 0
    for record in records(name):
        seen = observation_of(record, crowd)
        total += 1
        same += [c.members for c in classes(seen, "auto")] == [c.members for c in classes(seen, equivalence)]
        if total == 1_000:
            break
    assert same / total > 0.99
