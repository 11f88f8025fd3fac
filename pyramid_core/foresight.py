"""What a router foresees of the complete crowd, read in two ways: is it settled, and will an oracle be asked?"""

from __future__ import annotations

from collections.abc import Mapping

from pyramid_core.types import Foreseen, Judgement, Verdict

_TOLERANCE = 1e-12


def settles(judgement: Judgement, foreseen: Mapping[Foreseen, float], needed: float) -> bool:
    """Whether the present verdict stays with at least the probability `needed`.

    "Accept another class" is a verdict of its own; for any other verdict it does not matter what stands.
    """
    decision = judgement.decision
    if decision.verdict is Verdict.WAIT:
        return False
    if decision.verdict is Verdict.ACCEPT and judgement.assessment.chosen is None:
        return False
    ways = (True,) if decision.verdict is Verdict.ACCEPT else (True, False)
    stays = sum(
        foreseen.get(Foreseen(verdict=decision.verdict, oracle=decision.oracle, same=same), 0.0)
        for same in ways
    )
    return stays >= needed - _TOLERANCE


def likeliest_oracle(foreseen: Mapping[Foreseen, float]) -> tuple[str | None, float]:
    """The oracle that will most likely be asked, and how likely; (None, 0.0) where none will."""
    chances: dict[str, float] = {}
    for outcome, p in foreseen.items():
        if outcome.verdict is Verdict.ESCALATE and outcome.oracle is not None:
            chances[outcome.oracle] = chances.get(outcome.oracle, 0.0) + p
    name = max(chances, key=lambda oracle: chances[oracle], default=None)
    return name, chances[name] if name is not None else 0.0
