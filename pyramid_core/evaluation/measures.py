"""Every figure of a profile as one function of how often each query counts, so that resamples cost no sorting.

    figures(all counts 1)            the estimate
    figures(counts of a resample)    one draw of its bootstrap distribution

Accuracies, gaps, rates and savings are over the queries whose oracle is graded, weighted by inverse propensity (Horvitz
& Thompson 1952); AUROC, calibration, recall and precision over all whose standing answer is. How each figure is
defined: `pyramid_core.profiles`, `pyramid_core.calibration`, and here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pyramid_core.evaluation.judged import Judged
from pyramid_core.evaluation.sheet import Sheet
from pyramid_core.profiles import Curve, apgr, apgr_ten_point, cpt, match_rate

Floats = npt.NDArray[np.float64]
Path = tuple[str | int, ...]
Figures = dict[Path, float]

RATES = (0.05, 0.1, 0.2, 0.3, 0.5)
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
BENDS = "bends"
"""Second differences of the curve at tenths of the rate: a concave profile has none above zero."""


class Ranked:
    """Queries in blocks of equal scores, highest first: sorted once, counted as often as wanted.

    Args:
        score: [n] what queries are ordered by; NaN is above every number.
    """

    def __init__(self, score: Floats) -> None:
        values, self.block = np.unique(-np.where(np.isnan(score), np.inf, score), return_inverse=True)
        self.scores = -values

    def _sums(self, weight: Floats) -> Floats:
        sums: Floats = np.bincount(self.block, weights=weight, minlength=len(self.scores)).astype(float)
        return sums

    def curve(self, weight: Floats, stands: Floats, after: Floats) -> Curve:
        """`Curve.of` with these weights; blocks of no weight stay, and change nothing."""
        total = weight.sum()
        start = float(weight @ stands / total)
        gain = self._sums(weight * (after - stands))
        return Curve(
            scores=self.scores,
            rates=np.concatenate([[0.0], np.cumsum(self._sums(weight)) / total]),
            accuracies=np.concatenate([[start], start + np.cumsum(gain) / total]),
        )

    def auroc(self, weight: Floats, outcome: Floats) -> float:
        """`calibration.auroc` with these weights."""
        positive, negative = self._sums(weight * outcome), self._sums(weight * (1.0 - outcome))
        pairs = positive.sum() * negative.sum()
        if not pairs > 0:
            return math.nan
        below = negative.sum() - np.cumsum(negative)
        return float((positive * (below + negative / 2)).sum() / pairs)


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """One judgement, made ready to be counted.

    Attributes:
        judged: what the router said.
        sheet: of the same queries.
        by_value: whether queries are ordered by p_fail + p_after - 1.
        crowd_cost: of the whole crowd, in oracle calls.
    """

    judged: Judged
    sheet: Sheet
    by_value: bool
    crowd_cost: float

    @cached_property
    def graded(self) -> npt.NDArray[np.bool_]:
        """Whether the standing answer is graded."""
        return ~np.isnan(self.judged.right)

    @cached_property
    def profiled(self) -> npt.NDArray[np.bool_]:
        """Whether standing answer, vote and oracle are, and the weak model where one was named."""
        known = self.graded & ~np.isnan(self.judged.vote) & ~np.isnan(self.sheet.oracle_right)
        return known if self.sheet.weak_right is None else known & ~np.isnan(self.sheet.weak_right)

    @cached_property
    def _columns(self) -> dict[str, Floats]:
        found = {
            "right": self.judged.right,
            "vote": self.judged.vote,
            "oracle": self.sheet.oracle_right,
            "best": self.judged.best_member,
            "weak": self.judged.vote if self.sheet.weak_right is None else self.sheet.weak_right,
        }
        return {name: np.nan_to_num(values) for name, values in found.items()}

    @cached_property
    def score(self) -> Floats:
        """What queries are ordered by."""
        p_fail = self.judged.p_fail
        return p_fail + self.judged.p_after - 1.0 if self.by_value else p_fail

    @cached_property
    def _ranked(self) -> dict[str, Ranked]:
        column = self._columns
        return {
            "score": Ranked(self.score),
            "p_fail": Ranked(self.judged.p_fail),
            "agreement": Ranked(self.judged.disagreement),
            "query_length": Ranked(self.sheet.length),
            "perfect": Ranked(column["oracle"] - column["right"]),
        }

    @cached_property
    def _escalated(self) -> Floats:
        """[thresholds, n] whether p_fail is above each t."""
        return (self.judged.p_fail[None, :] > np.asarray(THRESHOLDS)[:, None]).astype(float)

    def figures(self, counts: Floats) -> Figures:
        """All figures, when query i counts `counts[i]` times."""
        column = self._columns
        graded = counts * self.graded
        weight = counts * self.profiled / self.sheet.propensity
        wrong = 1.0 - column["right"]
        found: Figures = {
            ("auroc",): self._ranked["p_fail"].auroc(graded, wrong),
            ("brier",): _mean((self.judged.p_fail - wrong) ** 2, graded),
            ("brier_uncalibrated",): _mean((self.judged.p_raw - wrong) ** 2, graded),
            ("crowd_accuracy_all",): _mean(column["right"], graded),
            ("vote_accuracy_all",): _mean(column["vote"], counts * ~np.isnan(self.judged.vote)),
        }
        found["brier_gain",] = found["brier_uncalibrated",] - found["brier",]
        vote_wrong, voted = 1.0 - column["vote"], counts * ~np.isnan(self.judged.vote)
        found["baselines", "agreement", "auroc"] = self._ranked["agreement"].auroc(voted, vote_wrong)
        found["baselines", "query_length", "auroc"] = self._ranked["query_length"].auroc(voted, vote_wrong)
        if self.judged.first_passing is not None:
            passing = self.judged.first_passing
            known = counts * ~np.isnan(passing)
            found["baselines", "first_that_passes", "accuracy_all"] = _mean(np.nan_to_num(passing), known)
        found["auroc_above_agreement",] = found["auroc",] - found["baselines", "agreement", "auroc"]
        if not weight.sum() > 0:
            return found
        found |= self._accuracies(weight)
        found |= self._of_the_curve(weight)
        found |= self._baselines(weight)
        found["apgr_above_agreement",] = found["apgr",] - found["baselines", "agreement", "apgr"]
        found |= self._points(counts, weight)
        found |= self._by_threshold(graded, weight)
        return found

    def _accuracies(self, weight: Floats) -> Figures:
        column = self._columns
        singles = np.nan_to_num(self.sheet.singles)
        anyone = np.maximum(singles.max(axis=1), column["oracle"])
        return {
            ("vote_accuracy",): _mean(column["vote"], weight),
            ("crowd_accuracy",): _mean(column["right"], weight),
            ("oracle_accuracy",): _mean(column["oracle"], weight),
            ("weak_accuracy",): _mean(column["weak"], weight),
            ("best_single_accuracy",): float((weight @ singles).max() / weight.sum()),
            ("ceiling_accuracy",): _mean(anyone, weight),
        }

    def _of_the_curve(self, weight: Floats) -> Figures:
        column = self._columns
        weak, oracle = _mean(column["weak"], weight), _mean(column["oracle"], weight)
        curve = self._ranked["score"].curve(weight, column["right"], column["oracle"])
        found: Figures = {
            ("apgr",): apgr(curve, weak=weak, oracle=oracle),
            ("apgr_ten_point",): apgr_ten_point(curve, weak=weak, oracle=oracle),
            ("cpt50",): cpt(curve, weak=weak, oracle=oracle, share=0.5),
            ("cpt80",): cpt(curve, weak=weak, oracle=oracle, share=0.8),
            ("match_rate",): match_rate(curve, oracle=oracle),
            ("best_accuracy",): curve.best,
        }
        found |= {("accuracy_at_rate", f"{rate:g}"): curve.at(rate) for rate in RATES}
        tenths = np.interp(np.linspace(0.0, 1.0, 11), curve.rates, curve.accuracies)
        found |= {(BENDS, place): float(bend) for place, bend in enumerate(np.diff(tenths, 2))}
        if self.judged.fused is not None:
            fused = np.nan_to_num(self.judged.fused)
            found["fused_accuracy",] = _mean(fused, weight * ~np.isnan(self.judged.fused))
            for place, asked in enumerate(self._escalated):
                right = np.where(asked > 0, fused, column["right"])
                found["fused_profile", place, "escalation_rate"] = _mean(asked, weight)
                found["fused_profile", place, "accuracy"] = _mean(right, weight)
        return found

    def _baselines(self, weight: Floats) -> Figures:
        column = self._columns
        weak, oracle = _mean(column["weak"], weight), _mean(column["oracle"], weight)
        vote = _mean(column["vote"], weight)
        gap = oracle - weak if abs(oracle - weak) > 1e-12 else math.nan
        apart = (self.judged.disagreement > 0).astype(float)
        found: Figures = {
            ("baselines", "random", "apgr"): ((vote + oracle) / 2 - weak) / gap,
            ("baselines", "unanimous", "escalation_rate"): _mean(apart, weight),
            ("baselines", "unanimous", "accuracy"): _mean(
                np.where(apart > 0, column["oracle"], column["vote"]), weight
            ),
            ("baselines", "best_model", "accuracy"): _mean(column["best"], weight),
        }
        if self.judged.first_passing is not None:
            passing = self.judged.first_passing
            found["baselines", "first_that_passes", "accuracy"] = _mean(np.nan_to_num(passing), weight)
        refusing = self.sheet.any_refusal(self.judged.vote)
        if refusing is not None:
            found["baselines", "any_refusal", "accuracy"] = _mean(np.nan_to_num(refusing), weight)
            above = _mean(column["right"], weight) - found["baselines", "any_refusal", "accuracy"]
            found["crowd_accuracy_above_any_refusal",] = above
        for name in ("agreement", "query_length", "perfect"):
            stands = column["right"] if name == "perfect" else column["vote"]
            curve = self._ranked[name].curve(weight, stands, column["oracle"])
            found["baselines", name, "apgr"] = apgr(curve, weak=weak, oracle=oracle)
            found["baselines", name, "match_rate"] = match_rate(curve, oracle=oracle)
            found["baselines", name, "best_accuracy"] = curve.best
        return found

    def _points(self, counts: Floats, weight: Floats) -> Figures:
        found: Figures = {}
        for name, asked in self.judged.asked.items():
            told = self._spent(asked.astype(float), weight)
            told["recall"] = self._recall(asked.astype(float), counts * self.graded)
            found |= {("operating_points", name, key): value for key, value in told.items()}
            found["operating_points", name, "escalation_saving"] = 1.0 - told["escalation_rate"]
        return found

    def _by_threshold(self, graded: Floats, weight: Floats) -> Figures:
        wrong = (1.0 - self._columns["right"]) * graded
        found: Figures = {}
        for place, asked in enumerate(self._escalated):
            told = self._spent(asked, weight)
            caught, flagged = float(wrong @ asked), float(graded @ asked)
            told["recall"] = caught / wrong.sum() if wrong.sum() > 0 else math.nan
            told["precision"] = caught / flagged if flagged > 0 else math.nan
            found |= {("profile", place, key): value for key, value in told.items()}
            here = weight * asked
            gain = self._columns["oracle"] - self._columns["right"]
            found["monotone", place, "gap"] = _mean(gain, here) if here.sum() > 0 else math.nan
        return found

    def _recall(self, asked: Floats, graded: Floats) -> float:
        """The share of the wrong answers that are escalated."""
        wrong = (1.0 - self._columns["right"]) * graded
        return float(wrong @ asked) / wrong.sum() if wrong.sum() > 0 else math.nan

    def _spent(self, asked: Floats, weight: Floats) -> dict[str, float]:
        """What escalating the queries `asked` brings and costs: in oracle calls, in USD where all is known."""
        right = np.where(asked > 0, self._columns["oracle"], self._columns["right"])
        rate = _mean(asked, weight)
        crowd, oracle = self._usd
        alone = float(weight @ oracle)
        spent = float(weight @ (crowd + asked * oracle))
        return {
            "accuracy": _mean(right, weight),
            "escalation_rate": rate,
            "cost": self.crowd_cost + rate,
            "usd": spent / float(weight.sum()),
            "saving": 1.0 - spent / alone if alone > 0 else math.nan,
        }

    @cached_property
    def _usd(self) -> tuple[Floats, Floats]:
        """Costs of the profiled queries; NaN everywhere where one of them is not known."""
        crowd = np.where(self.profiled, self.sheet.crowd_usd, 0.0)
        oracle = np.where(self.profiled, self.sheet.oracle_usd, 0.0)
        return crowd, oracle


def _mean(values: Floats, weight: Floats) -> float:
    total = weight.sum()
    return float(weight @ values / total) if total > 0 else math.nan
