"""Length: models that do not know ramble, repeat themselves or stop short, and models that know agree in length.

Lengths are characters of the whole text. Where only the extraction was kept there is no length, but there may be
a token count.
"""

from __future__ import annotations

from pyramid_core.equivalence import Voice
from pyramid_core.features.view import (
    NAN,
    ClassView,
    View,
    among,
    deviation,
    each,
    features_of,
    highest,
    lowest,
    mean,
)


def length_mean(view: View) -> float:
    """Mean length of the answers, in characters."""
    return mean(view.lengths)


def length_variance(view: View) -> float:
    """Variance of the answers' lengths, in characters squared."""
    return deviation(view.lengths) ** 2


def length_variation(view: View) -> float:
    """Coefficient of variation of the answers' lengths: their standard deviation over their mean."""
    return deviation(view.lengths) / length_mean(view) if view.lengths else NAN


def length_max(view: View) -> float:
    """Length of the longest answer, in characters."""
    return float(highest(view.lengths))


def length_chosen(view: View) -> float:
    """Mean length of the answers in the largest class, in characters."""
    return mean([len(voice.reading.text) for voice in view.chosen if voice.reading.text])


def tokens_mean(view: View) -> float:
    """Mean number of tokens written."""
    return mean(each(view, tokens))


def tokens_variation(view: View) -> float:
    """Coefficient of variation of the numbers of tokens written."""
    counts = each(view, tokens)
    middle = mean(counts)
    return deviation(counts) / middle if counts and middle else NAN


def tokens_chosen(view: View) -> float:
    """Mean number of tokens written by the largest class."""
    return mean(among(view.chosen, tokens))


def class_length(seen: ClassView) -> float:
    """Mean length of the class's answers, in characters."""
    return mean([len(reading.text) for reading in seen.written])


def class_length_ratio(seen: ClassView) -> float:
    """Mean length of the class's answers over the mean of the others'."""
    others = mean([len(reading.text) for reading in seen.others_written])
    return class_length(seen) / others if seen.others_written else NAN


def class_tokens(seen: ClassView) -> float:
    """The fewest tokens written by one of the class's members."""
    return float(lowest(among(seen.own, tokens)))


def class_tokens_ratio(seen: ClassView) -> float:
    """Mean number of tokens of the class's answers over the mean of the others'."""
    others = mean(among(seen.others, tokens))
    return mean(among(seen.own, tokens)) / others if others else NAN


def tokens(voice: Voice) -> int | None:
    """Tokens of an answer, where they are known."""
    return None if voice.answer.usage is None else voice.answer.usage.output_tokens


QUERY = features_of(
    "length",
    "query",
    (
        length_mean,
        length_variance,
        length_variation,
        length_max,
        length_chosen,
        tokens_mean,
        tokens_variation,
        tokens_chosen,
    ),
)
CLASS = features_of("length", "class", (class_length, class_length_ratio, class_tokens, class_tokens_ratio))
