"""A conversation's words: what is asked, and the pieces of a stream."""

import pytest

from pyramid_core.text import pieces, question_in


def asked(*messages):
    return question_in(messages, asks=lambda m: m[0] == "user", says=lambda m: m[1])


class TestQuestion:
    def test_the_users_last_words(self):
        assert asked(("user", "first"), ("assistant", "yes"), ("user", "then"), ("assistant", "so")) == "then"

    def test_a_message_that_says_nothing_is_passed_over(self):
        assert asked(("user", "look at this"), ("user", "")) == "look at this"

    def test_everything_where_nobody_asks(self):
        assert asked(("system", "Be brief."), ("assistant", "Yes?")) == "Be brief.\nYes?"

    def test_of_nothing_nothing(self):
        assert asked() == ""

    def test_what_is_not_needed_is_not_read(self):
        read = []
        messages = ["old"] * 3 + ["new"]
        question_in(messages, asks=lambda m: True, says=lambda m: read.append(m) or m)
        assert read == ["new"]


class TestPieces:
    @pytest.mark.parametrize(
        "text",
        ["", " ", "word", "a few words, and some more of them", "x" * 100, "  spaces   " * 9, "é\n" * 40],
    )
    def test_they_are_the_text(self, text):
        assert "".join(pieces(text)) == text

    def test_they_are_short_and_not_empty(self):
        found = list(pieces("some words and a verylongwordthatdoesnotfitinanychunk" * 3))
        assert all(0 < len(piece) <= 24 for piece in found)

    def test_a_long_text_is_few(self):
        assert len(list(pieces("word " * 200_000))) < 100

    def test_they_end_at_spaces(self):
        assert list(pieces("the quick brown fox jumps over the dog")) == [
            "the quick brown fox ",
            "jumps over the dog",
        ]
