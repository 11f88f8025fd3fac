"""Which features matter, in two ways that disagree where features say the same.

    gain         the share of what a column's splits improved the trees' loss by, while they were grown
    permutation  how much AUROC is lost on queries that were held out, once the column is shuffled among them

Sources: Friedman (2001) for gain; Breiman (2001) and Fisher et al. (2019) for permutation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyramid_core.calibration import auroc
from pyramid_core.training.boosting import Growth, grow
from pyramid_core.training.examples import COMPLETE, Examples
from pyramid_core.training.folds import folds_of

MOST_ROWS = 4_000
REPEATS = 3


def importance(
    examples: Examples, names: Sequence[str], *, growth: Growth, folds: int, seed: int
) -> dict[str, dict[str, float]]:
    """Gain and permutation importance of each column, the largest gain first.

    Trees are grown without one fold; that fold's complete crowds, in the class with most votes, are shuffled.

    Args:
        examples: rows of graded queries.
        names: of the columns.
        growth: how trees are grown.
        folds: how many, one of which is held out.
        seed: of folds, trees and shuffles.
    """
    fold = folds_of(examples.keys, folds=folds, seed=seed)[examples.query]
    kept = fold != 0
    grown = grow(examples.rows[kept], examples.wrong[kept], growth=growth, seed=seed)
    held = np.flatnonzero(~kept & examples.leads & (examples.view == COMPLETE) & ~np.isnan(examples.wrong))
    random = np.random.default_rng(seed)
    if len(held) > MOST_ROWS:
        held = np.sort(random.choice(held, MOST_ROWS, replace=False))
    rows, wrong = examples.rows[held], examples.wrong[held]
    whole = auroc(score=grown.forest.probabilities(rows), outcome=wrong) if len(held) else np.nan
    total = grown.gains.sum()
    found = {}
    for column, name in enumerate(names):
        gain = float(grown.gains[column] / total) if total > 0 else 0.0
        lost = []
        for _ in range(REPEATS if gain > 0 and np.isfinite(whole) else 0):
            shuffled = rows.copy()
            shuffled[:, column] = random.permutation(rows[:, column])
            lost.append(whole - auroc(score=grown.forest.probabilities(shuffled), outcome=wrong))
        drop = float(np.mean(lost)) if lost else 0.0
        found[name] = {"gain": round(gain, 5), "permutation": round(drop, 5)}
    return dict(sorted(found.items(), key=lambda entry: -entry[1]["gain"]))
