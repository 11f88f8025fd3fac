"""The commands of evidence: train a router, calibrate it, profile it, verify the theorem, on files of recorded answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyramid_core.cli.evidence_files import counted, digest_of, evidence_for, records_of
from pyramid_core.cli.terminal import tidy
from pyramid_core.errors import InputError

if TYPE_CHECKING:
    from pyramid_core.evaluation.profile import Plan
    from pyramid_core.routers import LearnedRouter

File = Annotated[Path, typer.Argument(help="Recorded answers: one JSON object a line, plain or gzip.")]
Crowd = Annotated[list[str], typer.Option("--crowd", help="A member of the crowd; once for each.")]
Oracle = Annotated[str, typer.Option("--oracle", help="The oracle.")]
Grade = Annotated[str, typer.Option("--grade", help="The key that says whether an answer is right.")]
Equivalence = Annotated[
    str,
    typer.Option(
        "--equivalence", help="auto, exact, numeric, choice, literal, code, behaviour, tool-calls, fields."
    ),
]
RunCode = Annotated[
    bool,
    typer.Option("--run-code", help="Run the programs that models wrote, and compare them by what they do."),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache", help="Where what programs did is kept, so that each is run once; else your cache."
    ),
]
Folds = Annotated[
    int | None, typer.Option("--cv", min=2, help="Cross-validate in so many folds, by question.")
]
Seeds = Annotated[
    int, typer.Option("--seeds", min=1, help="So many divisions into folds; the mean is reported.")
]
RouterOption = Annotated[
    str | None,
    typer.Option(
        "--router",
        help="With --cv a kind (consensus, anytime, value, tools, agreement); else a shipped router's name or a folder.",
    ),
]
Without = Annotated[list[str] | None, typer.Option("--without", help="Leave out a family of features.")]
Prior = Annotated[
    float | None,
    typer.Option("--oracle-accuracy", help="How often an oracle that the router does not know is right."),
]
Output = Annotated[Path, typer.Option("-o", "--output", help="The router's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]


def profile(
    file: File,
    *,
    crowd: Crowd,
    oracle: Oracle,
    router: RouterOption = None,
    cv: Folds = None,
    seeds: Seeds = 1,
    weak: Annotated[str | None, typer.Option(help="The model that gaps start from; else the vote.")] = None,
    equivalence: Equivalence = "auto",
    run_code: RunCode = False,
    cache: Cache = None,
    without: Without = None,
    grade: Grade = "correct",
    fusion: Annotated[bool, typer.Option("--fusion", help="Report fused answers as well.")] = False,
    crowd_cost: Annotated[float, typer.Option(help="The whole crowd's cost, in oracle calls.")] = 0.0,
    prices: Annotated[Path | None, typer.Option(help="A JSON file of prices per million tokens.")] = None,
    oracle_accuracy: Prior = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page as well: one file, charts included.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a router is worth on recorded answers: quality, cost and calibration, with intervals."""
    with tidy():
        from pyramid_core.cli.evidence_tables import show_profile
        from pyramid_core.cli.terminal import console, progress
        from pyramid_core.evaluation.page import check_page
        from pyramid_core.evaluation.sheet import Wanted, read_prices

        if html is not None:
            check_page(html)
        wanted = Wanted(
            crowd=tuple(crowd),
            oracle=oracle,
            weak=weak,
            grade=grade,
            prices=None if prices is None else read_prices(prices),
        )
        plan = _plan(
            wanted,
            router,
            cv,
            seeds=seeds,
            equivalence=equivalence.replace("-", "_"),
            without=_families(without),
            fusion=fusion,
            crowd_cost=crowd_cost,
            oracle_accuracy=oracle_accuracy,
            evidence=evidence_for(equivalence, cache, run_code=run_code),
        )
        with progress("judging", (cv or 0) * seeds) as step:
            told = _profiled(file, plan, html, step)
        if as_json:
            typer.echo(json.dumps(told, indent=2, allow_nan=False))
        else:
            show_profile(console(), told)


def train(
    file: File,
    *,
    crowd: Crowd,
    oracle: Oracle,
    output: Output,
    kind: Annotated[str, typer.Option(help="consensus, anytime, value or tools.")] = "value",
    label: Annotated[
        str, typer.Option(help="What right means: reference, grader, or oracle-agreement.")
    ] = "reference",
    any_crowd: Annotated[
        bool, typer.Option("--any-crowd", help="Name no member, so that other crowds can use it.")
    ] = False,
    equivalence: Equivalence = "auto",
    run_code: RunCode = False,
    cache: Cache = None,
    without: Without = None,
    grade: Grade = "correct",
    cv: Annotated[int, typer.Option(min=2, help="Folds, by question.")] = 5,
    seed: Annotated[int, typer.Option(help="Of folds and trees.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a router on recorded answers and write it, with its card, as a folder."""
    with tidy():
        from pyramid_core.routers.card import check_writable

        check_writable(output)
        router = _trained(
            file,
            crowd=tuple(crowd),
            oracle=oracle,
            kind=kind,
            label=label,
            any_crowd=any_crowd,
            equivalence=equivalence.replace("-", "_"),
            without=_families(without),
            grade=grade,
            folds=cv,
            seed=seed,
            evidence=evidence_for(equivalence, cache, run_code=run_code),
        )
        router.save(output)
        _tell_card(router, output, as_json=as_json)


def calibrate(
    router: Annotated[str, typer.Argument(help="A shipped router's name, or a folder.")],
    file: File,
    *,
    output: Output,
    crowd: Annotated[list[str] | None, typer.Option("--crowd", help="A member; once for each.")] = None,
    oracle: Annotated[str | None, typer.Option("--oracle", help="The oracle; else the card's.")] = None,
    grade: Grade = "correct",
    run_code: RunCode = False,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Refit a router's calibration, the oracle's prior and the thresholds on 100 recorded queries or more."""
    with tidy():
        from pyramid_core.evaluation.sheet import check_records
        from pyramid_core.routers import LearnedRouter, load_router
        from pyramid_core.routers.card import check_writable
        from pyramid_core.training.recalibration import recalibrated

        check_writable(output)
        found = load_router(router)
        if not isinstance(found, LearnedRouter):
            raise InputError(f"{router!r} has nothing to calibrate: name a learned router")
        found.for_crowd(crowd)
        named = [*(crowd or found.crowd or ()), *([oracle] if oracle else [])]
        check_records(records_of(file), named)
        fresh = recalibrated(
            found,
            records_of(file),
            crowd=crowd,
            oracle=oracle,
            grade=grade,
            data=digest_of(file),
            evidence=evidence_for(found.features.equivalence, cache, run_code=run_code),
        )
        fresh.save(output)
        _tell_card(fresh, output, as_json=as_json)


def verify(
    file: Annotated[Path | None, typer.Argument(help="Recorded answers.")] = None,
    *,
    crowd: Annotated[list[str] | None, typer.Option("--crowd", help="A member; once for each.")] = None,
    oracle: Annotated[str | None, typer.Option("--oracle", help="The oracle.")] = None,
    router: RouterOption = "agreement",
    cv: Folds = None,
    threshold: Annotated[
        list[float] | None, typer.Option("--threshold", "-t", help="On p_fail; may be repeated.")
    ] = None,
    equivalence: Equivalence = "auto",
    run_code: RunCode = False,
    cache: Cache = None,
    grade: Grade = "correct",
    published: Annotated[
        Path | None, typer.Option(help="A JSON list of published figures to check instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check Theorem 1 on recorded answers (Table 3 of the paper), or published figures by arithmetic.

    Exit code 0 also where the theorem's condition is not met or figures contradict each other: that is a finding.
    """
    with tidy():
        from pyramid_core.cli.evidence_tables import show_contradictions, show_theorem
        from pyramid_core.cli.terminal import console

        if (file is None) == (published is None):
            raise InputError("give a file of recorded answers, or --published with a file of figures")
        if published is not None:
            told = _contradictions(published)
            show: Any = show_contradictions
        else:
            if not crowd or oracle is None:
                raise InputError("name the crowd (--crowd, once for each member) and the --oracle")
            told = _verified(
                Path(str(file)),
                router,
                cv,
                crowd=tuple(crowd),
                oracle=oracle,
                thresholds=tuple(threshold or (0.4,)),
                equivalence=equivalence.replace("-", "_"),
                grade=grade,
                evidence=evidence_for(equivalence, cache, run_code=run_code),
            )
            show = show_theorem
        if as_json:
            typer.echo(json.dumps(told, indent=2, allow_nan=False))
        else:
            show(console(), told)


COMMANDS = (train, calibrate, profile, verify)


_ALSO = {"logprobs": "logprob", "lengths": "length", "members": "member"}
"""Other words for families of features."""


def _families(names: list[str] | None) -> tuple[str, ...]:
    return tuple(_ALSO.get(name, name) for name in names or ())


def _profiled(file: Path, plan: Plan, html: Path | None, step: Any) -> dict[str, Any]:
    """The figures, and the page of them where one is wanted."""
    from pyramid_core.evaluation.profile import judgements, report, tables_of

    def records() -> Iterable[Mapping[str, Any]]:
        return records_of(file)

    tables = tables_of(records, plan)
    sheet, judged = judgements(records, plan, tables=tables, step=step)
    told = report(sheet, judged, plan)
    if html is not None:
        from pyramid_core.evaluation.details import details
        from pyramid_core.evaluation.page import write_page

        write_page(told, details(records, plan, sheet, judged[0], tables), html)
    return told


def _plan(wanted: Any, router: str | None, cv: int | None, **settings: Any) -> Plan:
    from pyramid_core.evaluation.profile import Plan
    from pyramid_core.routers import load_router

    if cv is not None:
        kind = router or "value"
        if "/" in kind or "\\" in kind:
            raise InputError(
                f"--cv trains a router of a kind in each fold: {kind!r} is a folder, apply it without --cv"
            )
        return Plan(wanted=wanted, kind=kind, folds=cv, **settings)
    if router is None:
        raise InputError("name a finished router with --router, or train one in folds with --cv 5")
    if settings.get("without"):
        raise InputError("--without needs --cv: a finished router has its features")
    return Plan(wanted=wanted, kind=None, router=load_router(router, wanted.crowd), **settings)


def _trained(
    file: Path, *, crowd: tuple[str, ...], oracle: str, label: str, without: tuple[str, ...], **settings: Any
) -> LearnedRouter:
    from pyramid_core.cli.terminal import progress
    from pyramid_core.evaluation.labels import GRADER, graded_anew
    from pyramid_core.evaluation.sheet import Wanted, sheet_of
    from pyramid_core.routers.card import KINDS
    from pyramid_core.training import default_features, fit
    from pyramid_core.training.labels import ORACLE_AGREEMENT, agreeing_with_oracle

    if settings["kind"] not in KINDS:
        raise InputError(f"kind must be one of {', '.join(KINDS)}, not {settings['kind']!r}")
    grade = settings.pop("grade")
    named = None if settings["any_crowd"] else crowd
    features = default_features(settings["kind"], named, programs=settings["evidence"] is not None)
    known = {feature.family for feature in features}
    for family in without:
        if family not in known:
            raise InputError(f"there is no family {family!r} to leave out, only {', '.join(sorted(known))}")
    kept = tuple(feature for feature in features if feature.family not in without)

    def labelled() -> Iterable[Mapping[str, Any]]:
        if label == GRADER:
            return graded_anew(records_of(file))
        if label == ORACLE_AGREEMENT:
            return agreeing_with_oracle(
                records_of(file), crowd=crowd, oracle=oracle, equivalence=settings["equivalence"]
            )
        return records_of(file)

    if label not in ("reference", GRADER, ORACLE_AGREEMENT):
        raise InputError(f"--label must be reference, {GRADER} or {ORACLE_AGREEMENT}, not {label!r}")
    key = grade if label == "reference" else label
    sheet = sheet_of(labelled(), Wanted(crowd=crowd, oracle=oracle, grade=key))
    with progress("reading", len(sheet.keys)) as step:
        return fit(
            counted(labelled(), step),
            crowd=crowd,
            oracle=oracle,
            features=kept,
            grade=key,
            data={**digest_of(file), "label": label},
            **settings,
        )


def _verified(
    file: Path,
    router: str | None,
    cv: int | None,
    *,
    crowd: tuple[str, ...],
    oracle: str,
    thresholds: tuple[float, ...],
    grade: str,
    **settings: Any,
) -> dict[str, Any]:
    from pyramid_core.evaluation.profile import judgements
    from pyramid_core.evaluation.sheet import Wanted
    from pyramid_core.evaluation.theorem import table

    wanted = Wanted(crowd=crowd, oracle=oracle, grade=grade)
    plan = _plan(wanted, router, cv, **settings)
    sheet, judged = judgements(lambda: records_of(file), plan)
    return {
        "file": str(file),
        "router": plan.kind if plan.router is None else plan.router.id,
        "rows": table(sheet, judged[0], thresholds),
        "notes": list(judged[0].notes),
    }


def _contradictions(path: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from pyramid_core.evaluation.published import contradictions, read_published

    rows = read_published(path)
    return {"file": str(path), "rows": len(rows), "findings": [asdict(one) for one in contradictions(rows)]}


def _tell_card(router: LearnedRouter, folder: Path, *, as_json: bool) -> None:
    from pyramid_core.cli.evidence_tables import show_card
    from pyramid_core.cli.terminal import console

    if as_json:
        told = {"folder": str(folder), "id": router.id, "card": json.loads(router.card.as_json())}
        typer.echo(json.dumps(told, indent=2, allow_nan=False))
    else:
        show_card(console(), router, str(folder))
