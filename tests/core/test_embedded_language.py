"""The toy language: its problems, and its tokens."""

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_core.embedded import tokenizer
from pyramid_core.embedded.problems import LARGEST, SPLITS, WORDINGS, Mixture, problems, split_of

SOME = problems(1, 400, split="tune")


def calculate(left, operator, right):
    return {"+": left + right, "-": left - right, "*": left * right, "/": left / right}[operator]


def test_every_line_of_work_is_right():
    for problem in SOME:
        for line in problem.work:
            assert calculate(line.left, line.operator, line.right) == line.result


def test_the_last_line_of_work_gives_the_answer():
    assert all(problem.work[-1].result == problem.answer for problem in SOME)


def test_numbers_stay_within_the_language():
    numbers = {int(n) for problem in SOME for n in re.findall(r"\d+", problem.question)}
    results = {line.result for problem in SOME for line in problem.work}
    assert min(numbers | results) >= 0
    assert max(numbers | results) <= LARGEST


def test_problems_have_one_to_four_steps():
    assert {problem.steps for problem in SOME} == {1, 2, 3, 4}


def test_every_number_of_the_work_is_told_or_calculated():
    for problem in SOME:
        known = {int(n) for n in re.findall(r"\d+", problem.question)}
        for line in problem.work:
            assert {line.left, line.right} <= known
            known.add(line.result)


def test_equal_seeds_give_equal_problems():
    assert problems(7, 20) == problems(7, 20)


def test_other_seeds_give_fresh_problems():
    first, second = ({p.question for p in problems(seed, 1000)} for seed in (7, 8))
    assert len(first & second) <= 5


def test_the_problems_of_one_call_are_distinct():
    assert len({problem.question for problem in problems(3, 1000)}) == 1000


@pytest.mark.parametrize("split", SPLITS)
def test_a_problem_belongs_to_the_split_it_was_drawn_for(split):
    assert {split_of(problem.question) for problem in problems(5, 50, split=split)} == {split}


def test_the_split_depends_on_the_question_alone():
    problem = SOME[0]
    other = dataclasses.replace(problem, answer=0, steps=9, work=())
    assert other.split == problem.split == "tune"


def test_splits_are_disjoint_whatever_mixture_drew_them():
    skewed = Mixture(kinds={**dict.fromkeys(WORDINGS, 0.0), "add": 1.0}, lengths=(1, 0, 0, 0), largest=10)
    train = {problem.question for problem in problems(1, 2000, split="train", mixture=skewed)}
    test = {problem.question for problem in problems(1, 400, split="test", mixture=skewed)}
    assert train.isdisjoint(test)


def test_a_mixture_limits_lengths_and_numbers():
    drawn = problems(1, 100, mixture=Mixture(lengths=(0, 1, 0, 0), largest=30))
    assert {problem.steps for problem in drawn} == {2}
    assert max(line.result for problem in drawn for line in problem.work) <= 30


def test_a_mixture_weighs_the_kinds_of_steps():
    only_add = Mixture(kinds={**dict.fromkeys(WORDINGS, 0.0), "add": 1.0}, lengths=(1, 0, 0, 0))
    operators = [line.operator for problem in problems(1, 100, mixture=only_add) for line in problem.work]
    # Where nothing can be added, another kind steps in.
    assert operators.count("+") >= 95


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="unknown split 'validation': choose one of train"):
        problems(1, 1, split="validation")


def test_a_negative_number_of_problems_is_refused():
    with pytest.raises(ValueError, match="cannot draw -1 problems"):
        problems(1, -1)


def test_questions_need_no_bytes():
    tokens = {token for problem in SOME for token in tokenizer.encode(problem.question)}
    assert not tokens & {token for byte in range(256) for token in tokenizer.encode(chr(byte)) if token < 259}


def test_a_number_is_one_token():
    assert [len(tokenizer.encode(str(n))) for n in range(LARGEST + 1)] == [1] * (LARGEST + 1)


def test_larger_numbers_are_spelled():
    assert len(tokenizer.encode("121")) == 3


PIECES = [
    "Ann",
    "eggs",
    "24",
    "007",
    "121",
    ".",
    ",",
    " ",
    "  ",
    "\n",
    "é",
    "漢",
    "\x00",
    "x",
    "=",
    "😀",
    "?",
]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_known_words_in_any_surroundings_survive_the_round_trip(text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_the_round_trip(text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_lone_surrogate_becomes_a_question_mark():
    assert tokenizer.decode(tokenizer.encode("Ann \ud800 has")) == "Ann ? has"


@given(st.lists(st.integers(0, tokenizer.VOCABULARY_SIZE - 1)))
def test_any_tokens_decode_to_text_that_utf8_can_carry(tokens):
    text = tokenizer.decode(tokens)
    assert text.encode().decode() == text


@given(st.lists(st.integers(0, tokenizer.VOCABULARY_SIZE - 1)))
def test_decoding_piece_by_piece_gives_the_whole(tokens):
    decoder = tokenizer.Decoder()
    pieces = [decoder.feed(token) for token in tokens]
    assert "".join(pieces) + decoder.finish() == tokenizer.decode(tokens)


def test_special_tokens_have_no_text():
    assert tokenizer.decode([tokenizer.PAD, tokenizer.ANSWER, tokenizer.END]) == ""
