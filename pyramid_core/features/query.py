"""The query: what can be said before anybody has answered, from its words alone.

Nothing here is about its topic; that belongs to routers trained on the user's own traffic.
"""

from __future__ import annotations

from pyramid_core.features.view import View, features_of
from pyramid_core.text import words_of

_TYPES = ("who", "whom", "whose", "when", "where", "why", "which", "how", "what")


def query_length(view: View) -> float:
    """Length of the question in characters."""
    return float(len(view.observation.query.text))


def query_words(view: View) -> float:
    """How many different words the question has."""
    return float(len(words_of(view.question.clipped)))


def query_numbers(view: View) -> float:
    """How many different numbers the question has."""
    return float(len(view.question.numbers))


def query_sentences(view: View) -> float:
    """How many sentences the question has, by its full stops, question and exclamation marks."""
    text = view.question.clipped
    return float(text.count(". ") + text.count("?") + text.count("!") + text.endswith("."))


def query_options(view: View) -> float:
    """How many options the question lists; 0 where it is not multiple choice."""
    return float(len(view.question.options))


def query_code(view: View) -> float:
    """1 where the question contains code, 0 where not."""
    return float(view.question.has_code)


def query_type(view: View) -> float:
    """The kind of question by its words: 0 none, 1 how many or how much, 2 who, 3 whom, 4 whose, 5 when, 6 where,
    7 why, 8 which, 9 how, 10 what; the first of these that its last 200 characters have.
    """
    words = words_of(view.question.text[-200:])
    if "how" in words and ("many" in words or "much" in words):
        return 1.0
    for code, word in enumerate(_TYPES, start=2):
        if word in words:
            return float(code)
    return 0.0


def query_asks_number(view: View) -> float:
    """1 where the question asks for a number, by its words, 0 where not."""
    return float(view.question.asks_number)


def query_turns(view: View) -> float:
    """How many messages the conversation has; 1 where there is only the question."""
    return float(max(1, len(view.observation.query.messages)))


def query_tools(view: View) -> float:
    """How many tools are on offer."""
    return float(len(view.observation.query.tools))


QUERY = features_of(
    "query",
    "query",
    (
        query_length,
        query_words,
        query_numbers,
        query_sentences,
        query_options,
        query_code,
        query_type,
        query_asks_number,
        query_turns,
        query_tools,
    ),
)
