"""Profiles, cards and verifications as tables and sentences; nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyramid_core.cli.terminal import new_table, readable

if TYPE_CHECKING:
    from rich.console import Console

    from pyramid_core.routers import LearnedRouter

_SHOWN = (
    ("vote_accuracy", "the crowd's vote"),
    ("crowd_accuracy", "the answer that stands"),
    ("crowd_accuracy_above_any_refusal", "above: no call where any declines"),
    ("best_single_accuracy", "best single member"),
    ("oracle_accuracy", "the oracle alone"),
    ("ceiling_accuracy", "any of them right"),
    ("best_accuracy", "best point of the curve"),
    ("fused_accuracy", "all escalated and fused"),
    ("auroc", "AUROC"),
    ("auroc_above_agreement", "AUROC above agreement"),
    ("brier", "Brier"),
    ("brier_uncalibrated", "Brier before calibration"),
    ("ece", "ECE"),
    ("apgr", "APGR"),
    ("apgr_above_agreement", "APGR above agreement"),
    ("apgr_ten_point", "APGR, ten points"),
    ("cpt50", "calls for 50 % of the gap"),
    ("cpt80", "calls for 80 % of the gap"),
    ("match_rate", "calls to match the oracle"),
)
_CROWD_COSTS = (0.0, 0.05, 0.2)


def show_profile(console: Console, told: Mapping[str, Any]) -> None:
    """The figures with their intervals, the operating points, the profile by t, the baselines."""
    console.print(
        f"{told['n']} queries ({told['n_oracle']} with the oracle's grade); router {told['router']}"
    )
    console.print(f"crowd {', '.join(told['crowd'])}; oracle {told['oracle']}")
    table = new_table("figure", numbers=("value", "95 % interval"))
    for key, words in _SHOWN:
        if told.get(key) is not None:
            table.add_row(words, _number(told[key]), _between(told.get(f"{key}_ci")))
    console.print(table)
    console.print(f"ECE of a perfectly calibrated router: up to {_number(told['ece_limit'])}\n")
    costs = tuple(f"cost, crowd at {cost:g}" for cost in _CROWD_COSTS)
    table = new_table("operating point", numbers=("accuracy", "95 % interval", "escalated", "saved", *costs))
    for name, point in (told.get("operating_points") or {}).items():
        rate = point["escalation_rate"]
        saving = "unknown" if point["saving"] is None else f"{point['saving']:.1%}"
        spent = [f"{rate + cost:.3f}" for cost in _CROWD_COSTS]
        table.add_row(
            name, _number(point["accuracy"]), _between(point["accuracy_ci"]), f"{rate:.1%}", saving, *spent
        )
    console.print(table)
    console.print(
        "costs are in oracle calls a query; thresholds were chosen without the queries they are judged on\n"
    )
    table = new_table("t", numbers=("escalated", "accuracy", "recall", "precision", "Theorem 1 gap"))
    for row, gap in zip(told.get("profile") or (), told.get("monotone") or (), strict=True):
        table.add_row(
            f"{row['threshold']:.2f}",
            f"{row['escalation_rate']:.1%}",
            *(_number(row[key]) for key in ("accuracy", "recall", "precision")),
            _number(gap["gap"]),
        )
    console.print(table)
    table = new_table(
        "baseline", numbers=("AUROC", "APGR", "accuracy", "best accuracy", "matches the oracle at")
    )
    for name, kept in told["baselines"].items():
        keys = ("auroc", "apgr", "accuracy", "best_accuracy", "match_rate")
        table.add_row(name.replace("_", " "), *(_number(kept.get(key)) for key in keys))
    console.print(table)
    console.print("intervals: 1,000 resamples of questions, the router as it was trained")
    for note in told["notes"]:
        console.print(f"note: {note}")


def show_theorem(console: Console, told: Mapping[str, Any]) -> None:
    """Table 3."""
    keys = ("p_R", "alpha_L1_R", "alpha_L2_R", "gap", "delta_accuracy")
    table = new_table("t", numbers=(*keys, "satisfied", "McNemar p"))
    for row in told["rows"]:
        cells = [f"{_number(row[key])} {_between(row[f'{key}_ci'])}".strip() for key in keys]
        said = {True: "yes", False: "no", None: "nobody escalated"}[row["satisfied"]]
        table.add_row(f"{row['threshold']:g}", *cells, said, f"{row['mcnemar_p']:.2g}")
    console.print(f"{told['file']}; router {told['router']}")
    console.print(table)
    for note in told["notes"]:
        console.print(f"note: {note}")


def show_contradictions(console: Console, told: Mapping[str, Any]) -> None:
    """One line a finding."""
    for found in told["findings"]:
        console.print(f"{readable(found['name'])}: {found['grade']}: {readable(found['what'])}")
    if not told["findings"]:
        console.print(f"{told['rows']} rows: nothing contradicts anything else")


def show_card(console: Console, router: LearnedRouter, folder: str) -> None:
    """Where a router was written, and what its held-out figures are."""
    card, metrics = router.card, router.card.metrics
    console.print(f"{folder}: {router.id}, {len(card.features)} features, {card.data.get('n')} queries")
    for key in ("vote_accuracy", "chosen_accuracy", "oracle_accuracy", "auroc", "ece", "brier", "apgr_value"):
        if metrics.get(key) is not None:
            console.print(f"  {key}: {metrics[key]:.4f} {_between(metrics.get(f'{key}_ci'))}".rstrip())
    for name, point in card.operating_points.items():
        reached = (metrics.get("operating_points") or {}).get(name, {})
        held = (
            f", held out: accuracy {_number(reached.get('accuracy'))} at {_number(reached.get('rate'))} escalated"
            if reached
            else ""
        )
        console.print(f"  {name}: p_fail above {point.threshold:.4f}{held}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _between(interval: Any) -> str:
    if interval is None:
        return ""
    low, high = interval
    return f"[{_number(low)}, {'never' if high is None else _number(high)}]"
