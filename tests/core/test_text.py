import math
import re
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramid_core.text import (
    EXTRACTION_CHARS,
    FEATURE_CHARS,
    Marks,
    Reading,
    asks_number,
    clip,
    code_of,
    doubts,
    equations_of,
    first_sentence,
    is_clipped,
    lazy,
    literal_form,
    looks_like_code,
    names_of,
    number_form,
    numbers_of,
    options_of,
    plainly_number,
    refuses,
    stated_confidence,
    text_form,
    value_form,
)

FRAGMENTS = [
    *(
        "nswer",
        "The answer is ",
        '"answer": "',
        "#### ",
        "\\boxed{",
        "Answer: (C)",
        "\nA: ",
        "Guess: ",
        "Probability: ",
    ),
    *(
        "1,200",
        "3 * 8 = 24",
        "$-5",
        "1/2",
        "\\frac{1}{0}",
        "1e999",
        "9" * 400,
        "-" * 50,
        "[1, (2,",
        "{'a': 1}",
        "\\x",
    ),
    *(
        "\x00",
        "\ud800",
        "é",
        "İ",
        "```json\n{",
        "```",
        "\n",
        " ",
        "def f(x):\n",
        "Options:\nA. x\nB. y",
        "=",
        "%",
        "'",
        '"',
    ),
]
ANY_TEXT = st.lists(st.sampled_from(FRAGMENTS) | st.text(st.characters(), max_size=8), max_size=20).map(
    "".join
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("18", "18"),
        ("The answer is 18.", "18"),
        ('{"reasoning": "16 - 3", "answer": "18"}', "18"),
        ('```json\n{"reasoning": "x", "answer": 18.0\n}\n```', "18"),
        ('{"answer": "$1,234.50"}', "1234.5"),
        ('"answer": "5"\n}\n\nSo the answer is:\n{"answer": "6"}', "6"),
        ('Answer: \\"answer\\": \\"500\\"', "500"),
        ("3 + 4 = 7\n#### 7", "7"),
        ("#### -15\n\n(Note: the answer is negative)", "-15"),
        ("Hence \\boxed{\\frac{1}{2}}.", "0.5"),
        ("so it costs 3/4. The answer is 3/4 of a dollar", "0.75"),
        ("#### 24 1/2", "24.5"),
        ("5 / 2 is 2.5.\nA: 2.5", "2.5"),
        ("Final Answer: Jeremy needs to replace them after 6 years.", "6"),
        ("The answer is 3 * 4 = 12 apples.", "12"),
        ("**Answer:** 25 students", "25"),
        ("ANSWER IS 7", "7"),
        ("The answer is two.", "2"),
        ("He walks 3 miles, then 4: 7 miles in all", "7"),
        ("so she makes 9 * $2 = $18 every day", "18"),
        ("9 - 3 leaves 6", "6"),
        ("it fell by -6", "-6"),
        ("between 5-3", "3"),
        ("50%", "50"),
        ("2.50 dollars", "2.5"),
        ("0007", "7"),
        ("1" * 30, "1" * 30),
        ("1e3", "1000"),
        ("", None),
        ("no number here", None),
        ('{"answer": "It cannot be determined"}', None),
        ('{"reasoning": "First, 3 + 4 = 7, then 7 * ', None),
        ('```json\n{\n "reasoning": "we get 12', None),
    ],
)
def test_the_final_number_of(text, number):
    assert Reading(text).number == number


def test_a_text_that_was_cut_off_has_only_the_number_it_marked():
    assert Reading("First 3 + 4 = 7, then", cut=True).number is None
    assert Reading("The answer is 7. And further", cut=True).number == "7"


def test_an_extracted_answer_counts_only_where_there_is_no_text():
    assert Reading("", extracted="$18").number == "18"
    assert Reading("The answer is 7", extracted="18").number == "7"


OPTIONS = {"A": "Paris", "B": "Rome", "C": "the Hague", "D": "3.5 kV"}


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("C", "C"),
        ("(C)", "C"),
        ("C.", "C"),
        ("**C**", "C"),
        ("C) the Hague", "C"),
        ("The answer is (C).", "C"),
        ("The answer is C because it is.", "C"),
        ('{"reasoning": "x", "answer": "C"}', "C"),
        ("Final Answer: The final answer is $\\boxed{C}$", "C"),
        ("\\boxed{74} hence. The answer is (B).", "B"),
        ("The answer is not listed, but the closest is (B) Rome.", "B"),
        ("The answer is (A).\n\nOn reflection the answer is (D).", "D"),
        ("Answer: option B", "B"),
        ("The answer is The Hague.", "C"),
        ("Hume held that (B) is right", "B"),
        ("The answer is A man from Rome", None),
        ("The answer is (Z).", None),
        ("None of these fit", None),
        ("", None),
    ],
)
def test_the_final_letter_of(text, letter):
    assert Reading(text).choice(OPTIONS) == letter


def test_a_letter_needs_no_options_to_be_known():
    assert Reading("The answer is (H).").choice({}) == "H"


@pytest.mark.parametrize(
    ("question", "letters"),
    [
        ("Which?\nOptions:\nA. x\nB. y\nC. z", "ABC"),
        ("Which?\n(A) x\n(B) y", "AB"),
        ("Which?\nA) x\nB) y", "AB"),
        ("A. x\nC. z", ""),
        ("A. alone", ""),
        ("Who was B. Franklin?", ""),
    ],
)
def test_the_options_of_a_question(question, letters):
    assert "".join(options_of(question)) == letters


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('{"answer": "[(4, 1), (2, 3)]"}', "[(4,1,),(2,3,)]"),
        ('{"answer": [[3, 1], [2, 3]]}', "[[3,1],[2,3]]"),
        ("{\"answer\": \"{'b': 1, 'a': 2}\"}", "{'a':2,'b':1}"),
        ('{"answer": "["a", "b"]"}', "['a','b']"),
        ('{"answer": ""}', "''"),
        ('{"answer": " 4 2 "}', "' 4 2 '"),
        ('{"answer": "OOP"}', "'OOP'"),
        ('{"answer": "\'OOP\'"}', "'OOP'"),
        ('{"answer": "True"}', "1"),
        ("assert f(3) == [1, 2]", "[1,2]"),
        ("answer: [3, 1]\n}\n```", "[3,1]"),
        ("[1, 2]", "[1,2]"),
        ("", None),
        (
            "It prints the list, reversed, with all of its elements doubled and then sorted again by their length.",
            None,
        ),
    ],
)
def test_the_final_literal_of(text, form):
    assert Reading(text).literal == form


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1.0"),
        ("1", "True"),
        ("{1, 2}", "{2, 1}"),
        ("{'a': 1, 'b': 2}", "{'b': 2.0, 'a': 1}"),
        ("'a'", '"a"'),
    ],
)
def test_literals_that_python_calls_equal_have_one_form(one, other):
    assert literal_form(one) == literal_form(other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("[1]", "(1,)"),
        ("[1, 2]", "[1, 3]"),
        ("'1'", "1"),
        ("[1, [2]]", "[1, 2]"),
        ("{1}", "{1: 1}"),
        ("'a'", "'A'"),
    ],
)
def test_literals_that_python_calls_different_have_two_forms(one, other):
    assert literal_form(one) != literal_form(other)


@pytest.mark.parametrize(
    "span",
    [
        "__import__('os')",
        "f(1)",
        "1 + x",
        "[1,",
        "[" * 100 + "]" * 100,
        "'" + "a" * 20_000 + "'",
        "1if 2else 3",
    ],
)
def test_what_is_no_literal_within_bounds_has_no_form(span):
    assert literal_form(span) is None


def test_an_unknown_escape_is_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert literal_form(r"'\d\400'") == repr("\\d\\400")


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(inner, inner)
            | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_a_literal_s_form_is_that_of_its_value(value):
    written = repr(value)
    if "\\" not in written:
        assert literal_form(written) == value_form(value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Beyoncé", "beyonce."),
        ("1998", "1,998"),
        ("7.0", "7"),
        ("in 2015", "2015"),
        ("about 20 miles", "20 miles"),
        ("U.S.", "US"),
        ("one", "1"),
        ("Paris (as of 2021)", "paris"),
        ("King George's", "King George’s"),
    ],
)
def test_texts_that_say_the_same_have_one_form(one, other):
    assert text_form(one) == text_form(other)


@pytest.mark.parametrize(
    ("one", "other"), [("PHP 8.2", "PHP 82"), ("Upper Canada", "Lower Canada"), ("4.09", "409")]
)
def test_texts_that_say_something_else_have_two_forms(one, other):
    assert text_form(one) != text_form(other)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Paris", "paris"),
        ("The capital is big. The answer is Paris.", "paris"),
        ("Guess: Paris\nProbability: 0.85", "paris"),
        ("Paris\n0.85", "paris"),
        ("paris. Probability: 0.8", "paris"),
        ("The answer is Dr. Smith", "dr smith"),
        ("", None),
        ("?!", None),
    ],
)
def test_the_final_text_of(text, form):
    assert Reading(text).plain == form


@pytest.mark.parametrize("value", ["$1,000", "1000.0", "1000", "1,000.00", "+1000"])
def test_a_number_has_one_form_however_it_is_written(value):
    assert number_form(value) == "1000"


@pytest.mark.parametrize("value", ["", "x", "1.2.3", "inf", "nan", "1e999"])
def test_what_is_no_finite_number_has_no_form(value):
    assert number_form(value) is None


@pytest.mark.parametrize("span", ["18", "$18.", "18 dollars", "**18%**", "about 20 miles", "-3", "1,200 km"])
def test_a_span_that_is_plainly_a_number(span):
    assert plainly_number(span)


@pytest.mark.parametrize(
    "span", ["19th century", "August 18, 1998", "Apollo 11", "3 of the 4 that she bought in May"]
)
def test_a_span_that_is_not_plainly_a_number(span):
    assert not plainly_number(span)


@pytest.mark.parametrize(
    "question", ["How many eggs?", "How much is left?", "What is the total cost?", "Calculate x."]
)
def test_a_question_for_a_number(question):
    assert asks_number(question)


@pytest.mark.parametrize("question", ["Who sang it?", "Why is the sky blue?", "What is the capital?"])
def test_a_question_for_something_else(question):
    assert not asks_number(question)


@pytest.mark.parametrize(
    ("text", "code"),
    [("```python\nx = 1\n\ny = 2  \n```\ndone", "x = 1\ny = 2"), ("x = 1", "x = 1"), ("``` a ```", " a")],
)
def test_the_code_of(text, code):
    assert code_of(text) == code


@pytest.mark.parametrize(
    "text", ["def f(x):\n    return x", "Look:\n```\nx\n```", "see\nimport os\nos.x()", "SELECT a FROM b"]
)
def test_what_looks_like_code(text):
    assert looks_like_code(text)


@pytest.mark.parametrize(
    "text", ["Return to sender", "a class of 30\nwas there", '```json\n{"answer": 1}\n```']
)
def test_what_does_not_look_like_code(text):
    assert not looks_like_code(text)


def test_a_sentence_does_not_end_at_a_short_abbreviation():
    assert first_sentence("Dr. Smith of St. Louis. He lives") == "Dr. Smith of St. Louis"


def test_marks_come_in_order_of_trust():
    text = 'A: 4\nThe answer is 3. #### 2 \\boxed{1}\n{"answer": "0"}'
    assert list(Marks(text))[:2] == ["0", "2 \\boxed{1}"]
    assert Marks(text).first == "0"


def test_a_text_without_marks_has_none():
    assert not Marks("nothing of the kind")


def test_numbers_are_compared_without_separators_and_trailing_zeros():
    assert numbers_of("It costs $1,200.50 . Or ... 3.00 a day; 3 days.") == {"1200.5", "3"}


def test_names_are_words_with_a_capital():
    assert names_of("Then Janet met (Tom) and 3 ducks") == {"Then", "Janet", "Tom"}


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("3 * 8 = 24. 77 + 24 = 101.", (2, 0)),
        ("3 * 8 = 25", (1, 1)),
        ("$1,200 + $800 + $2400 = $4,400", (1, 0)),
        ("6 * $5 * 10% = $3", (1, 0)),
        ("10 / 3 = 3.33", (1, 0)),
        ("10 / 3 = 3.34", (1, 0)),
        ("10 / 3 = 3.5", (1, 1)),
        ("1 + 2 * 3 = 7", (1, 0)),
        ("(1 + 2) * 3 = 9", (0, 0)),
        ("5 + 5 = 2 * 5 = 10", (1, 0)),
        ("x + 2 = 5 and y = 3", (0, 0)),
        ("60 - 8 = 2(A - 4)", (0, 0)),
        ("50 + 10% = 55", (0, 0)),
        ("3 / 0 = 1", (0, 0)),
        ("no equation", (0, 0)),
    ],
)
def test_equations_and_how_many_are_wrong(text, counts):
    assert equations_of(text) == counts


@pytest.mark.parametrize(
    ("text", "confidence"),
    [
        ("Paris.\nConfidence: 85%", 0.85),
        ("Paris. Confidence (0-100): 85", 0.85),
        ("Guess: Paris\nProbability: 0.4", 0.4),
        ('"confidence": 0.9', 0.9),
        ("My confidence level is 7/10", 0.7),
        ("I am 90% sure.", 0.9),
        ("The probability is 0.4 that both are red", math.nan),
        ("A measure of 3 liters", math.nan),
        ("", math.nan),
    ],
)
def test_the_confidence_that_a_text_states(text, confidence):
    assert stated_confidence(text) == pytest.approx(confidence, nan_ok=True)


def test_declining_is_seen_at_the_beginning_alone():
    assert refuses("I'm sorry, but I can't help with that.")
    assert not refuses("x" * 200 + " I'm sorry")


def test_doubts_are_counted_by_kind():
    assert doubts("It cannot be determined, assuming nothing. It cannot be determined.") == 2


def test_features_read_both_ends_of_a_long_text():
    text = "a" * FEATURE_CHARS + "b" * 10 + "c" * FEATURE_CHARS
    assert clip(text) == "a" * FEATURE_CHARS + "c" * FEATURE_CHARS
    assert is_clipped(text)
    assert not is_clipped("a" * 2 * FEATURE_CHARS)


def test_a_final_answer_is_looked_for_at_the_end_alone():
    assert Reading("The answer is 7. " + "x " * EXTRACTION_CHARS).number is None


def test_a_lazy_property_is_computed_once():
    class Counted:
        count = 0

        @lazy
        def value(self):
            """The value."""
            Counted.count += 1
            return 7

    counted = Counted()
    assert (counted.value, counted.value, Counted.count) == (7, 7, 1)
    assert "The value" in Counted.value.__doc__


@settings(max_examples=150)
@given(ANY_TEXT, st.booleans())
def test_no_text_is_too_strange_to_read(text, cut):
    reading = Reading(text, cut=cut)
    for name in vars(Reading):
        if not name.startswith("_"):
            getattr(reading, name)
    assert reading.number is None or re.fullmatch(r"-?[\d.e+-]+", reading.number)
    assert reading.choice({}) is None or reading.choice({}).isupper()
    assert reading.choice(OPTIONS) in {None, *OPTIONS}
    assert not math.isinf(reading.stated_confidence)


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=range(len(FRAGMENTS)))
def test_reading_a_hostile_text_takes_no_longer_than_a_long_one(fragment):
    text = fragment * (1_000_000 // len(fragment))
    fastest = math.inf
    for _ in range(2):
        start = time.thread_time()
        reading = Reading(text)
        for name in vars(Reading):
            if not name.startswith("_"):
                getattr(reading, name)
        reading.choice({})
        fastest = min(fastest, time.thread_time() - start)
    assert fastest < 0.25
