"""A profile as one page that needs nothing else: charts, tables and what they mean in words.

It follows the reader's light or dark theme and fits a telephone. Whatever comes from records is escaped: a question is
a stranger's text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pyramid_core.errors import InputError
from pyramid_core.evaluation.charts import Chart, around, bars

A, B, C, D, E = "var(--a)", "var(--b)", "var(--c)", "var(--d)", "var(--e)"
_LINES = (
    ("router", "the router", A, False),
    ("perfect router", "perfect router", C, False),
    ("agreement", "agreement alone", B, False),
    ("query length", "query length", D, True),
    ("random", "at random", E, True),
)
_FIGURES = (
    ("vote_accuracy", "the crowd's vote is right"),
    ("crowd_accuracy", "the answer that stands is right"),
    ("best_single_accuracy", "the best single member is right"),
    ("oracle_accuracy", "the oracle alone is right"),
    ("ceiling_accuracy", "any of them is right"),
    ("best_accuracy", "best point of the curve (read off afterwards)"),
    ("fused_accuracy", "all escalated, answers fused"),
    ("auroc", "AUROC of p_fail"),
    ("auroc_above_agreement", "AUROC above agreement alone"),
    ("apgr", "APGR"),
    ("apgr_above_agreement", "APGR above agreement alone"),
    ("match_rate", "share escalated to match the oracle"),
    ("ece", "calibration error (ECE)"),
    ("brier", "Brier score"),
    ("brier_uncalibrated", "Brier score before calibration"),
)
_MEANT = {
    "economy": "recovers half of what the oracle is better by",
    "balanced": "recovers four fifths of it",
    "baseline-match": "is meant to lose no answer against the oracle alone",
    "recall": "sends most wrong answers to the oracle",
}
_STYLE = """
:root{--page:#fbfaf7;--card:#fff;--ink:#1c1f24;--muted:#5d6470;--grid:#e4e2dc;--a:#1f6fb2;--b:#c8611a;--c:#2e8b57;
--d:#8a5fb0;--e:#7d828b;--bad:#b3362b}
@media (prefers-color-scheme:dark){:root{--page:#14161a;--card:#1c1f25;--ink:#e8e6e1;--muted:#a2a8b3;--grid:#343943;
--a:#6cb2ee;--b:#f0a05c;--c:#6fcf97;--d:#c3a0e6;--e:#9aa0aa;--bad:#ff8a7d}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 16px 48px}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 4px}h2{font-size:1.1rem;margin:0 0 8px}
p{margin:0 0 10px}.muted,figcaption,.key{color:var(--muted);font-size:.88rem}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:16px;margin-top:16px}
section{background:var(--card);border:1px solid var(--grid);border-radius:10px;padding:16px;min-width:0}
section.wide{grid-column:1/-1}svg{width:100%;height:auto;display:block}svg text{font-size:12px;fill:var(--muted)}
.key span{display:inline-block;margin-right:14px}.key i{display:inline-block;width:14px;height:3px;margin-right:5px;
vertical-align:middle;border-radius:2px}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{text-align:left;padding:5px 10px 5px 0;border-bottom:1px solid var(--grid);vertical-align:top}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.say{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:16px 0}
.say b{display:block;font-size:1.5rem;line-height:1.2}.say div{background:var(--card);border:1px solid var(--grid);
border-radius:10px;padding:12px 14px;font-size:.9rem;color:var(--muted)}.say b{color:var(--ink)}
.bad{color:var(--bad)}li{margin-bottom:8px}ul{padding-left:20px;margin:0}
.cells td{text-align:center;padding:22px 8px;border:2px solid var(--card)}.cells th{font-weight:400}
.cells b{font-size:1.2rem}.wrong td:first-child{max-width:520px;overflow-wrap:anywhere}
"""


def write_page(told: Mapping[str, Any], shown: Mapping[str, Any], path: Path) -> None:
    """Write the page of a profile.

    Args:
        told: the profile's figures.
        shown: `details`, and under `importance` and `most_wrong` what is known of these.
        path: the file.

    Raises:
        InputError: it cannot be written.
    """
    check_page(path)
    path.write_text(page(told, shown), "utf-8")


def check_page(path: Path) -> None:
    """Raise unless a page can be written there; asked before the work, not after it.

    Raises:
        InputError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with path.open("a", encoding="utf-8"):
            pass
        if new:
            path.unlink()
    except OSError as error:
        raise InputError(
            f"the report {path} cannot be written ({error.strerror}): name a file that can"
        ) from error


def page(told: Mapping[str, Any], shown: Mapping[str, Any]) -> str:
    """The page of a profile, as HTML."""
    crowd = ", ".join(map(str, told["crowd"]))
    parts = [
        _section("What to set", _words(told), wide=True),
        _section("Quality and cost by threshold", _profile(told)),
        _section("Quality against cost", _against_cost(told, shown.get("curves") or {})),
        _section("Is p_fail what it says?", _reliability(shown.get("reliability") or [], told)),
        _section("What a point catches", _confusion(shown.get("confusion"))),
        _section("What the router looks at", _importance(shown.get("importance"))),
        _section("The figures", _figures(told)),
        _section("What the router got most wrong", _most_wrong(shown.get("most_wrong") or {}), wide=True),
        _section("How to read this", _notes(told), wide=True),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><title>Pyramid profile</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>What this pyramid is worth</h1>"
        f'<p class="muted">{told["n"]:,} recorded queries, {told["n_oracle"]:,} of them with the oracle\'s grade. '
        f"Router: {escape(str(told['router']))}. Crowd: {escape(crowd)}. Oracle: {escape(str(told['oracle']))}.</p>"
        f'{_headline(told)}<div class="grid">{"".join(parts)}</div></main></body></html>\n'
    )


def _headline(told: Mapping[str, Any]) -> str:
    point = (told.get("operating_points") or {}).get("baseline-match") or {}
    boxes = [
        (percent(told.get("crowd_accuracy")), "right without the oracle"),
        (percent(told.get("oracle_accuracy")), "right with the oracle alone"),
        (percent(point.get("accuracy")), "right at baseline-match"),
        (percent(point.get("escalation_rate")), "of queries escalated there"),
    ]
    return f'<div class="say">{"".join(f"<div><b>{value}</b>{words}</div>" for value, words in boxes)}</div>'


def _words(told: Mapping[str, Any]) -> str:
    """The operating points in words; what a point does not reach is said first."""
    oracle, found = told.get("oracle_accuracy"), []
    for name, point in (told.get("operating_points") or {}).items():
        accuracy, between = point.get("accuracy"), point.get("accuracy_ci")
        if accuracy is None or oracle is None:
            continue
        if point["escalation_rate"] == 0:
            does = "never asks the oracle: the crowd is already there"
        else:
            does = f"asks the oracle on {percent(point['escalation_rate'])} of queries"
        saved = point.get("saving")
        money = "" if saved is None else f", and saves {percent(saved)} of the money"
        off = accuracy - oracle
        more = "more" if off > 0 else "fewer"
        than = "as many as" if abs(off) < 0.0005 else f"{100 * abs(off):.1f} points {more} than"
        short = ""
        if between and between[1] is not None and between[1] < oracle and name == "baseline-match":
            short = ' <span class="bad">It falls short of the oracle by more than chance explains.</span>'
        found.append(
            f"<li><b>{escape(name)}</b> {_MEANT.get(name, '')}: it {does}{money}; {percent(accuracy)} of answers are right "
            f"{_between(between)}, {than} with the oracle alone.{short}</li>"
        )
    if not found:
        return "<p>No operating point can be judged: no oracle's answer is graded.</p>"
    return (
        f"<ul>{''.join(found)}</ul><p class='muted'>Thresholds were chosen without the queries they are judged on. "
        f"Nobody needs to choose: baseline-match is what a pyramid does unless told otherwise.</p>"
    )


def _profile(told: Mapping[str, Any]) -> str:
    rows = told.get("profile") or []
    values = [row[key] for row in rows for key in ("accuracy",) if row.get(key) is not None]
    ends = [end for row in rows for end in (row.get("accuracy_ci") or ()) if end is not None]
    if not values:
        return "<p>Not known: no oracle's answer is graded.</p>"
    chart = Chart(
        x=(0.0, 1.0),
        y=around([*values, *ends]),
        x_label="threshold t on p_fail",
        y_label="answers right",
        title="accuracy and escalation rate by threshold",
    )
    chart.right_axis((0.0, 1.0), "queries escalated", B)
    for key, colour, second in (("escalation_rate", B, True), ("accuracy", A, False)):
        low, high = (
            [(row["threshold"], ends[at]) for row in rows if (ends := row.get(f"{key}_ci"))] for at in (0, 1)
        )
        chart.band(low, high, colour, second=second)
        chart.line(
            [(row["threshold"], row[key]) for row in rows if row[key] is not None], colour, second=second
        )
    return chart.svg() + _key([("answers right", A), ("queries escalated", B)], "bands: 95 % intervals")


def _against_cost(told: Mapping[str, Any], curves: Mapping[str, Sequence[Sequence[float]]]) -> str:
    if not curves:
        return "<p>Not known: no oracle's answer is graded.</p>"
    crowd_cost = float(told.get("crowd_cost") or 0.0)
    best = (told["baselines"].get("best_model") or {}).get("accuracy")
    every = [value for line in curves.values() for _, value in line] + ([best] if best is not None else [])
    chart = Chart(
        x=(0.0, 1.0 + crowd_cost),
        y=around(every),
        x_label="cost of a query, in oracle calls",
        y_label="answers right",
        title="accuracy against cost, with every baseline",
    )
    keys: list[tuple[str, str]] = []
    for name, words, colour, dashed in reversed(_LINES):
        if name in curves:
            chart.line([(rate + crowd_cost, value) for rate, value in curves[name]], colour, dashed=dashed)
            keys.insert(0, (words, colour))
    if best is not None:
        chart.level(best, "var(--ink)")
    chart.point(1.0, told["oracle_accuracy"], "var(--ink)", label="oracle alone")
    for name, base in told["baselines"].items():
        if name == "unanimous":
            chart.point(base["escalation_rate"] + crowd_cost, base["accuracy"], B)
    caption = (
        f"The crowd of {len(told['crowd'])} is counted as {crowd_cost:g} oracle calls. Orange dot: escalate unless "
        f"unanimous. Level dashes: the best single member ({percent(best)})."
    )
    return chart.svg() + _key(keys, caption)


def _reliability(bins: Sequence[Mapping[str, float]], told: Mapping[str, Any]) -> str:
    if not bins:
        return "<p>No answer is graded.</p>"
    chart = Chart(
        x=(0.0, 1.0), y=(0.0, 1.0), x_label="p_fail", y_label="share wrong", title="reliability diagram"
    )
    chart.line([(0.0, 0.0), (1.0, 1.0)], E, dashed=True)
    for one in bins:
        chart.point(one["p_fail"], one["wrong"], A, low=one["low"], high=one["high"])
    within = told["ece"] is not None and told["ece"] <= (told["ece_limit"] or 0)
    said = "within" if within else "above"
    return chart.svg() + (
        f"<figcaption>Ten bins of equal mass with 95 % intervals; on the dashed line p_fail is what it says. The "
        f"calibration error is {number(told['ece'])}, {said} what a perfectly calibrated router may show by chance "
        f"({number(told['ece_limit'])}).</figcaption>"
    )


def _confusion(found: Mapping[str, Any] | None) -> str:
    if not found:
        return "<p>No operating point can be judged.</p>"
    wrong, right = found["wrong_asked"] + found["wrong_kept"], found["right_asked"] + found["right_kept"]
    rows = [
        ("the crowd was wrong", found["wrong_asked"], found["wrong_kept"], wrong),
        ("the crowd was right", found["right_asked"], found["right_kept"], right),
    ]
    cells = "".join(
        f"<tr><th>{words}</th>{_cell(asked, total, A)}{_cell(kept, total, B if total == wrong else A)}</tr>"
        for words, asked, kept, total in rows
    )
    return (
        f"<div class=scroll><table class=cells><tr><th>at {escape(found['point'])}</th><th class=n>oracle asked</th>"
        f"<th class=n>crowd kept</th></tr>{cells}</table></div><figcaption>Of {wrong:,} wrong answers {found['wrong_asked']:,} "
        f"are sent to the oracle (recall {percent(found['wrong_asked'] / wrong if wrong else None)}).</figcaption>"
    )


def _cell(count: int, total: int, colour: str) -> str:
    """A cell of the matrix, the darker the larger its share of the row."""
    share = count / total if total else 0.0
    shade = f"background:color-mix(in srgb,{colour} {10 + 45 * share:.0f}%,transparent)"
    return f'<td style="{shade}"><b>{count:,}</b><br>{percent(share if total else None)}</td>'


def _importance(found: Mapping[str, Mapping[str, float]] | None) -> str:
    if not found:
        return "<p>This router was not trained, or its card does not say.</p>"
    rows = [(name, one["gain"], one["permutation"]) for name, one in list(found.items())[:12]]
    keys = [("gain: share of the trees' improvement", A), ("AUROC lost when shuffled", B)]
    return bars(rows, title="feature importance", names=("gain", "permutation")) + _key(keys, "")


def _figures(told: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{words}</td><td class=n>{number(told[key])}</td><td class=n>{_between(told.get(f'{key}_ci'), plain=True)}</td></tr>"
        for key, words in _FIGURES
        if told.get(key) is not None
    )
    return f"<div class=scroll><table><tr><th>figure</th><th class=n>value</th><th class=n>95 %</th></tr>{rows}</table></div>"


def _most_wrong(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    parts = []
    for kind, words in (("trusted", "Trusted, and wrong"), ("doubted", "Doubted, though right")):
        rows = "".join(
            f"<tr><td>{escape(one['query'])}</td><td>{'<br>'.join(escape(f'{n}: {a}') for n, a in one['answers'].items())}</td>"
            f"<td class=n>{one['p_fail']:.3f}</td></tr>"
            for one in found.get(kind) or ()
        )
        if rows:
            parts.append(
                f"<h2>{words}</h2><div class=scroll><table class=wrong><tr><th>query</th><th>crowd</th>"
                f"<th class=n>p_fail</th></tr>{rows}</table></div>"
            )
    return "".join(parts) or "<p>Nothing to show.</p>"


def _notes(told: Mapping[str, Any]) -> str:
    notes = [*told.get("notes", ()), "Measured on closed-form answers only: open-ended ones were not judged."]
    concave = {True: "is concave", False: "bends upward somewhere", None: "cannot be judged"}[
        told.get("concave")
    ]
    monotone = [row for row in told.get("monotone") or () if row.get("holds") is False]
    notes.append(f"The profile {concave} (Section 2.5 of the paper).")
    where = ", ".join(f"{row['threshold']:g}" for row in monotone)
    notes.append(
        "Theorem 1's condition holds at every threshold."
        if not monotone
        else f"Theorem 1's condition fails at t = {where}: there "
        "the escalated queries are answered no better by the oracle."
    )
    notes.append("Intervals: 1,000 resamples of questions, the router as it was trained.")
    notes.append("What is read off the curve is optimistic; operating points are not.")
    return f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"


def _section(title: str, content: str, *, wide: bool = False) -> str:
    return f"<section{' class=wide' if wide else ''}><h2>{escape(title)}</h2>{content}</section>"


def _key(keys: Sequence[tuple[str, str]], caption: str) -> str:
    spans = "".join(
        f'<span><i style="background:{colour}"></i>{escape(words)}</span>' for words, colour in keys
    )
    return f'<div class="key">{spans}</div>' + (
        f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    )


def _between(ends: Sequence[float | None] | None, *, plain: bool = False) -> str:
    if not ends:
        return ""
    low, high = (number(end) if plain else percent(end) for end in ends)
    return f"{low} to {high}" if plain else f"({low} to {high})"


def percent(value: float | None) -> str:
    """A share for a reader."""
    return "unknown" if value is None else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def number(value: float | None) -> str:
    """A figure for a reader."""
    return "never" if value is None else f"{value:.3f}"
