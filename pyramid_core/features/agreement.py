"""Agreement: how the votes lie over the classes of equivalent answers, the paper's first family of features.

Shares are of the crowd's size, so that a member that has not answered, failed or gave no final answer counts
against agreement: two of two is not two of three.
"""

from __future__ import annotations

import math

from pyramid_core.features.view import NAN, ClassView, View, features_of


def agreement(view: View) -> float:
    """Votes of the largest class over the crowd's size (self-consistency; Wang et al., 2023), 0 to 1."""
    return view.classes[0].votes / view.size if view.classes else 0.0


def answer_entropy(view: View) -> float:
    """Entropy in nats of the votes over the classes (discrete semantic entropy; Kuhn et al., 2023); NaN without votes."""
    total = sum(found.votes for found in view.classes)
    if not total:
        return NAN
    return -sum(found.votes / total * math.log(found.votes / total) for found in view.classes) + 0.0


def vote_margin(view: View) -> float:
    """Votes of the largest class minus the second's, over the crowd's size, 0 to 1."""
    votes = [found.votes for found in view.classes[:2]] + [0, 0]
    return (votes[0] - votes[1]) / view.size


def class_count(view: View) -> float:
    """How many different answers there are."""
    return float(len(view.classes))


def vote_share(view: View) -> float:
    """Answers that are in some class over the crowd's size: who voted at all, 0 to 1."""
    return sum(found.votes for found in view.classes) / view.size


def class_agreement(seen: ClassView) -> float:
    """The class's votes over the crowd's size, 0 to 1."""
    return seen.answer_class.votes / seen.view.size


def class_margin(seen: ClassView) -> float:
    """The class's votes minus those of the best other class, over the crowd's size, -1 to 1."""
    best = max((found.votes for found in seen.view.classes if found is not seen.answer_class), default=0)
    return (seen.answer_class.votes - best) / seen.view.size


def class_tied(seen: ClassView) -> float:
    """How many other classes have as many votes: the vote alone cannot choose among them."""
    votes = seen.answer_class.votes
    return float(sum(found.votes == votes for found in seen.view.classes) - 1)


QUERY = features_of("agreement", "query", (agreement, answer_entropy, vote_margin, class_count, vote_share))
CLASS = features_of("agreement", "class", (class_agreement, class_margin, class_tied))
