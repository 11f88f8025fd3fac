"""Token log-probabilities, the family that the paper's AnytimeRouter puts first.

All values are in nats, probabilities from 0 to 1. Scales differ by model (some endpoints give them after top-p, so
that many are exactly 0), so differences between members carry more than levels do. A mean token probability that a
source gives alone feeds the `mean_prob` features and no others. Impossible tokens count as `FLOOR`.

Sources: avg_logprob and min_prob as in the paper, after Malinin & Gales, Uncertainty estimation in autoregressive
structured prediction (2021), and Manakul et al., SelfCheckGPT (2023); margin after Scheffer et al. (2001).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pyramid_core.equivalence import Voice
from pyramid_core.features.view import (
    NAN,
    ClassView,
    View,
    among,
    each,
    features_of,
    highest,
    lead,
    lowest,
    mean,
    spread,
)
from pyramid_core.text import first_sentence

FLOOR = -100.0
"""The lowest log-probability that is told apart."""

SPAN_TOKENS = 80
"""How far from an answer's end its final answer is looked for, in tokens."""


def avg_logprob(view: View) -> float:
    """Mean over the members of each answer's mean token log-probability."""
    return mean(each(view, average))


def avg_logprob_max(view: View) -> float:
    """The mean token log-probability of the surest member."""
    return highest(each(view, average))


def avg_logprob_spread(view: View) -> float:
    """How far the members' mean token log-probabilities lie apart."""
    return spread(each(view, average))


def avg_logprob_chosen(view: View) -> float:
    """The mean token log-probability of the surest member of the largest class."""
    return highest(among(view.chosen, average))


def min_logprob(view: View) -> float:
    """Mean over the members of each answer's least likely token."""
    return mean(each(view, least))


def min_logprob_chosen(view: View) -> float:
    """The least likely token of the member of the largest class whose least likely token is likeliest."""
    return highest(among(view.chosen, least))


def min_prob(view: View) -> float:
    """The paper's min_prob: probability of the least likely token of all answers."""
    found = each(view, least)
    return math.exp(min(found)) if found else NAN


def first_logprob(view: View) -> float:
    """Mean over the members of the log-probability of each answer's first token."""
    return mean(each(view, _first))


def first_logprob_chosen(view: View) -> float:
    """The log-probability of the likeliest first token in the largest class."""
    return highest(among(view.chosen, _first))


def min_logprob_max(view: View) -> float:
    """The likeliest of the members' least likely tokens."""
    return highest(each(view, least))


def sum_logprob(view: View) -> float:
    """Mean over the members of the log-probability of each whole answer."""
    return mean(each(view, _sum))


def sum_logprob_chosen(view: View) -> float:
    """Log-probability of a whole answer, of the likeliest in the largest class."""
    return highest(among(view.chosen, _sum))


def span_logprob(view: View) -> float:
    """Mean over the members of the mean token log-probability of the final answer alone."""
    return mean(each(view, _span_average))


def span_logprob_chosen(view: View) -> float:
    """The mean token log-probability of the final answer alone, of the surest member of the largest class."""
    return highest(among(view.chosen, _span_average))


def span_min_logprob_chosen(view: View) -> float:
    """The least likely token of the final answer alone, of the surest member of the largest class."""
    return highest(among(view.chosen, _span_least))


def top_entropy(view: View) -> float:
    """Mean over members and tokens of the entropy of the top alternatives, renormalised; in nats. Dear: reads them all."""
    return mean(each(view, _top_entropy))


def top_margin(view: View) -> float:
    """Mean over members and tokens of the likeliest alternative's probability minus the second's."""
    return mean(each(view, _top_margin))


def mean_prob(view: View) -> float:
    """Mean over the members of the mean token probability, where a source gives only that."""
    return mean(each(view, mean_probability))


def mean_prob_spread(view: View) -> float:
    """How far the members' mean token probabilities lie apart."""
    return spread(each(view, mean_probability))


def mean_prob_chosen(view: View) -> float:
    """The highest mean token probability in the largest class."""
    return highest(among(view.chosen, mean_probability))


def class_avg_logprob(seen: ClassView) -> float:
    """The mean token log-probability of the surest member of the class."""
    return highest(among(seen.own, average))


def class_avg_logprob_mean(seen: ClassView) -> float:
    """Mean over the class of each answer's mean token log-probability."""
    return mean(among(seen.own, average))


def class_avg_logprob_lead(seen: ClassView) -> float:
    """The surest member of the class against the surest outside it, by mean token log-probability."""
    return lead(among(seen.own, average), among(seen.others, average))


def class_min_logprob(seen: ClassView) -> float:
    """The likeliest, among the class, of the answers' least likely tokens."""
    return highest(among(seen.own, least))


def class_min_logprob_lead(seen: ClassView) -> float:
    """`class_min_logprob` minus the same of the answers outside the class."""
    return lead(among(seen.own, least), among(seen.others, least))


def class_sum_logprob(seen: ClassView) -> float:
    """Log-probability of a whole answer, of the likeliest in the class."""
    return highest(among(seen.own, _sum))


def class_span_logprob(seen: ClassView) -> float:
    """The mean token log-probability of the final answer alone, of the surest member of the class."""
    return highest(among(seen.own, _span_average))


def class_span_min_logprob(seen: ClassView) -> float:
    """The likeliest, among the class, of the final answers' least likely tokens."""
    return highest(among(seen.own, _span_least))


def class_mean_prob(seen: ClassView) -> float:
    """The highest mean token probability in the class, where a source gives only that."""
    return highest(among(seen.own, mean_probability))


def class_mean_prob_lead(seen: ClassView) -> float:
    """The highest mean token probability in the class minus the highest outside it."""
    return lead(among(seen.own, mean_probability), among(seen.others, mean_probability))


def class_mean_prob_min(seen: ClassView) -> float:
    """The lowest mean token probability in the class."""
    return lowest(among(seen.own, mean_probability))


def answer_tokens(voice: Voice) -> tuple[int, int] | None:
    """The tokens [start, end) of the final answer: as the source gives them, else by its marked span's text.

    The span is looked for among the last `SPAN_TOKENS` tokens, whose texts must spell the end of the answer. A short
    answer without marks is its own final answer. None where it cannot be told.
    """
    answer = voice.answer
    if answer.answer_span is not None:
        return answer.answer_span
    texts, text = answer.token_texts, answer.text
    if not texts or answer.logprobs is None or len(texts) != len(answer.logprobs):
        return None
    span = next(iter(voice.reading.marks), "" if len(text) > 40 else text)
    span = first_sentence(span).strip()
    first = text.rfind(span) if span else -1
    if first < 0:
        return None
    last, at, end = first + len(span), len(text), len(texts)
    for token in range(len(texts) - 1, max(-1, len(texts) - 1 - SPAN_TOKENS), -1):
        at -= len(texts[token])
        if at < 0 or not text.startswith(texts[token], at):
            return None
        if at >= last:
            end = token
        if at <= first:
            return token, end
    return None


def average(voice: Voice) -> float:
    """The mean log-probability of an answer's tokens."""
    values = voice.answer.logprobs
    return max(sum(values) / len(values), FLOOR) if values else NAN


def least(voice: Voice) -> float:
    """The lowest log-probability of an answer's tokens."""
    return max(min(values), FLOOR) if (values := voice.answer.logprobs) else NAN


def _first(voice: Voice) -> float:
    return max(values[0], FLOOR) if (values := voice.answer.logprobs) else NAN


def _sum(voice: Voice) -> float:
    return max(sum(values), 100 * FLOOR) if (values := voice.answer.logprobs) else NAN


def _span(voice: Voice) -> Sequence[float]:
    if not voice.answer.logprobs:
        return ()
    span = answer_tokens(voice)
    return voice.answer.logprobs[span[0] : span[1]] if span else ()


def _span_average(voice: Voice) -> float:
    values = _span(voice)
    return max(sum(values) / len(values), FLOOR) if values else NAN


def _span_least(voice: Voice) -> float:
    values = _span(voice)
    return max(min(values), FLOOR) if values else NAN


def _top_entropy(voice: Voice) -> float:
    total, count = 0.0, 0
    for alternatives in voice.answer.top_logprobs or ():
        weights = [math.exp(logprob) for _, logprob in alternatives]
        mass = sum(weights)
        if mass > 0:
            total -= sum(weight / mass * math.log(weight / mass) for weight in weights if weight > 0)
            count += 1
    return total / count if count else NAN


def _top_margin(voice: Voice) -> float:
    total, count = 0.0, 0
    for alternatives in voice.answer.top_logprobs or ():
        if len(alternatives) > 1:
            first, second = sorted((logprob for _, logprob in alternatives), reverse=True)[:2]
            total += math.exp(first) - math.exp(second)
            count += 1
    return total / count if count else NAN


def mean_probability(voice: Voice) -> float | None:
    """The mean token probability, where a source gives only that."""
    return voice.answer.mean_prob


QUERY = features_of(
    "logprob",
    "query",
    (
        avg_logprob,
        avg_logprob_max,
        avg_logprob_spread,
        avg_logprob_chosen,
        min_logprob,
        min_logprob_chosen,
        min_prob,
        first_logprob,
        first_logprob_chosen,
        min_logprob_max,
        sum_logprob,
        sum_logprob_chosen,
        span_logprob,
        span_logprob_chosen,
        span_min_logprob_chosen,
        top_entropy,
        top_margin,
        mean_prob,
        mean_prob_spread,
        mean_prob_chosen,
    ),
)
CLASS = features_of(
    "logprob",
    "class",
    (
        class_avg_logprob,
        class_avg_logprob_mean,
        class_avg_logprob_lead,
        class_min_logprob,
        class_min_logprob_lead,
        class_sum_logprob,
        class_span_logprob,
        class_span_min_logprob,
        class_mean_prob,
        class_mean_prob_lead,
        class_mean_prob_min,
    ),
)
