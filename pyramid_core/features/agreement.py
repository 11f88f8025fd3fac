"""Agreement: how the votes lie over the classes of equivalent answers, the paper's first family of features.

Shares are of the crowd's size, so that a member that has not answered, failed or gave no final answer counts
against agreement: two of two is not two of three.
"""

from __future__ import annotations

import math

from pyramid_core.features.view import NAN, ClassView, View, features_of


def agreement(view: View) -> float:
    """Votes of the largest class over the crowd's size (self-consistency; Wang et al., 2023), 0 to 1."""
    return view.votes[0] / view.size if view.votes else 0.0


def answer_entropy(view: View) -> float:
    """Entropy in nats of the votes over the classes (discrete semantic entropy; Kuhn et al., 2023); NaN without votes."""
    total = sum(view.votes)
    if len(view.votes) < 2:
        return 0.0 if total else NAN
    return math.log(total) - sum([votes * math.log(votes) for votes in view.votes]) / total


def vote_margin(view: View) -> float:
    """Votes of the largest class minus the second's, over the crowd's size, 0 to 1."""
    votes = view.votes
    return (votes[0] - (votes[1] if len(votes) > 1 else 0)) / view.size if votes else 0.0


def class_count(view: View) -> float:
    """How many different answers there are."""
    return float(len(view.votes))


def vote_share(view: View) -> float:
    """Answers that are in some class over the crowd's size: who voted at all, 0 to 1."""
    return sum(view.votes) / view.size


def class_agreement(seen: ClassView) -> float:
    """The class's votes over the crowd's size, 0 to 1."""
    return seen.answer_class.votes / seen.view.size


def class_margin(seen: ClassView) -> float:
    """The class's votes minus those of the best other class, over the crowd's size, -1 to 1."""
    classes, votes = seen.view.classes, seen.view.votes
    rival = votes[0] if seen.answer_class is not classes[0] else votes[1] if len(votes) > 1 else 0
    return (seen.answer_class.votes - rival) / seen.view.size


def class_tied(seen: ClassView) -> float:
    """How many other classes have as many votes: the vote alone cannot choose among them."""
    return float(seen.view.votes.count(seen.answer_class.votes) - 1)


QUERY = features_of("agreement", "query", (agreement, answer_entropy, vote_margin, class_count, vote_share))
CLASS = features_of("agreement", "class", (class_agreement, class_margin, class_tied))
