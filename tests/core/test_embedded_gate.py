"""The gate: a crowd that is worth voting, and an oracle that is worth asking, on problems that no training saw."""

import pytest

from pyramid_core.embedded import embedded_crowd, embedded_oracle
from pyramid_core.embedded.members import CROWD, ORACLE
from pyramid_core.embedded.problems import problems
from pyramid_core.types import Answer, Query


@pytest.fixture(scope="module")
def graded():
    """For 300 router problems: each model's final answers, and the true ones."""
    some = problems(21, 300, split="router")
    models = (*embedded_crowd(), embedded_oracle())
    said = {model.name: [final(model.ask(Query(text=p.question))) for p in some] for model in models}
    return said, [p.answer for p in some]


def final(answer: Answer):
    if answer.answer_span is None:
        return None
    return int("".join(answer.token_texts[slice(*answer.answer_span)]))


def accuracy(said, truth):
    return sum(a == b for a, b in zip(said, truth, strict=True)) / len(truth)


@pytest.mark.parametrize("name", CROWD)
def test_each_member_is_right_on_50_to_80_percent(graded, name):
    said, truth = graded
    assert 0.5 <= accuracy(said[name], truth) <= 0.8


def test_the_vote_is_right_on_65_to_88_percent(graded):
    said, truth = graded
    votes = zip(*(said[name] for name in CROWD), strict=True)
    vote = [max(some, key=lambda answer: (some.count(answer), -some.index(answer))) for some in votes]
    assert 0.65 <= accuracy(vote, truth) <= 0.88
    assert accuracy(vote, truth) > max(accuracy(said[name], truth) for name in CROWD)


def test_the_oracle_is_right_on_95_percent_but_not_always(graded):
    said, truth = graded
    assert 0.95 <= accuracy(said[ORACLE], truth) < 1
