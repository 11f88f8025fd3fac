"""The routing record: what a caller gets to see of a trace, in plain JSON types without NaN or infinities.

Verdict, p_fail and the barriers are those of the decision that routed the query: the last one taken before an oracle
spoke. What the rule says afterwards ("nothing is left to ask: accept") routes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pyramid_core.records.responses import FORMAT
from pyramid_core.text.words import is_clipped
from pyramid_core.types import (
    UNKNOWN_COST,
    Answer,
    CallRecord,
    Cost,
    Failure,
    Judgement,
    Trace,
    Usage,
    Verdict,
)

_CACHE = ("cached_tokens", "cache_write_tokens")


def routing_record(trace: Trace, *, oracle_alone: Cost | None = None) -> dict[str, Any]:
    """What happened, for `response_metadata["pyramid"]` and the like; `json.dumps(..., allow_nan=False)` takes it.

    Args:
        trace: of one query.
        oracle_alone: what the oracle alone would have cost, where the caller can work it out; by default it is
            known only where an oracle has answered.

    Returns:
        `format`, `end`, `ended` (decided, deadline, fallback, ...), `verdict`, `reason` (the rule's words),
        `answered_by`, `escalated` (an oracle was asked because of a verdict), `p_fail`, `p_after`, `cost_barrier`,
        `imperfection_barrier`, `u_stop`, `u_esc`, `router`, `rule`, `crowd`, `oracles`, `calls`, `usage` by model,
        `cost` (USD; `complete` False: a lower bound), `oracle_alone` (USD) and `saving` (a share of it; None where
        either side is not completely known), `clipped`, `notes`, `seconds`.
    """
    judged = routing_judgement(trace)
    seen, decided = (judged.assessment, judged.decision) if judged else (None, None)
    asked = [call for call in trace.calls if call.role != "gather"]
    answered = next((call.who for call in asked if call.call == trace.answered), None)
    crowd, oracle = (_cost([c for c in asked if c.role == role]) for role in ("crowd", "oracle"))
    whole = crowd + oracle
    alone = oracle_alone or _counterfactual(asked)
    return {
        "format": FORMAT,
        "end": trace.end,
        "ended": trace.reason,
        "verdict": str(decided.verdict) if decided else None,
        "reason": decided.reason if decided else "",
        "answered_by": answered,
        "escalated": _escalated(trace, judged),
        "p_fail": _finite(seen.p_fail) if seen else None,
        "p_after": {name: _finite(value) for name, value in seen.p_after.items()} if seen else {},
        "cost_barrier": _finite(decided.cost_barrier) if decided else None,
        "imperfection_barrier": _finite(decided.imperfection_barrier) if decided else None,
        "u_stop": _finite(decided.u_stop) if decided else None,
        "u_esc": _finite(decided.u_esc) if decided else None,
        "router": trace.router,
        "rule": decided.rule if decided else "",
        "crowd": list(trace.crowd),
        "oracles": list(trace.oracles),
        "calls": [_told(call) for call in asked],
        "usage": _usage(asked),
        "cost": {**_amount(whole), "crowd": _amount(crowd), "oracle": _amount(oracle)},
        "oracle_alone": _finite(alone.usd) if alone and alone.complete else None,
        "saving": _saving(whole, alone),
        "clipped": _clipped(trace),
        "notes": list(seen.notes) if seen else [],
        "seconds": _finite(trace.at),
    }


def routing_judgement(trace: Trace) -> Judgement | None:
    """The judgement that routed the query: the last one taken before an oracle that it asked for had spoken."""
    return next((j for j in reversed(trace.judgements) if not j.after_oracle), None)


def total_of(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What several queries came to.

    Returns:
        `queries`; `escalated`, how many of them; `usage` in tokens by member, None where one is not known; `cost`
        in USD, a lower bound where `complete` is False.
    """
    usage: dict[str, dict[str, int | None]] = {}
    for record in records:
        for member, counts in record["usage"].items():
            sums = usage.setdefault(member, dict.fromkeys(counts, 0))
            for name, count in counts.items():
                before = sums[name]
                sums[name] = None if before is None or count is None else before + count
    return {
        "queries": len(records),
        "escalated": sum(bool(record["escalated"]) for record in records),
        "usage": usage,
        "cost": {
            "usd": sum(record["cost"]["usd"] for record in records),
            "complete": all(record["cost"]["complete"] for record in records),
        },
    }


def _escalated(trace: Trace, judged: Judgement | None) -> bool:
    oracles = [call for call in trace.calls if call.role == "oracle"]
    if any(call.purpose == "policy" or call.call == trace.answered for call in oracles):
        return True
    return bool(oracles) and judged is not None and judged.decision.verdict is Verdict.ESCALATE


def _told(call: CallRecord) -> dict[str, Any]:
    until = call.ended_at
    return {
        "call": call.call,
        "member": call.who,
        "role": call.role,
        "purpose": call.purpose,
        "state": call.state,
        "latency": None if until is None else _finite(until - call.asked_at),
        **_priced(call.result),
        "error": {"type": call.result.kind, "message": call.result.message}
        if isinstance(call.result, Failure)
        else None,
    }


def _usage(calls: list[CallRecord]) -> dict[str, Any]:
    """Tokens by model, summed over its calls; None where one of them is not known."""
    sums: dict[str, tuple[int, Usage]] = {}
    for call in calls:
        usage = (call.result.usage if isinstance(call.result, Answer) else None) or Usage()
        before = sums.get(call.who)
        sums[call.who] = (1, usage) if before is None else (before[0] + 1, before[1] + usage)
    return {
        who: {
            "calls": count,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            **{name: value for name in _CACHE if (value := getattr(usage, name)) is not None},
        }
        for who, (count, usage) in sums.items()
    }


def _priced(result: Any) -> dict[str, Any]:
    """Where the price of an answer came from, for those that were looked up."""
    priced = result.priced if isinstance(result, Answer) else None
    return {} if priced is None else {"priced": asdict(priced)}


def _cost(calls: list[CallRecord]) -> Cost:
    costs = [call.result.cost if isinstance(call.result, Answer) else UNKNOWN_COST for call in calls]
    return Cost(usd=sum([cost.usd for cost in costs], 0.0), complete=all(cost.complete for cost in costs))


def _counterfactual(calls: list[CallRecord]) -> Cost | None:
    """What the oracle alone would have cost: known where one has answered this very query."""
    costs = [c.result.cost for c in calls if c.role == "oracle" and isinstance(c.result, Answer)]
    return costs[0] if costs else None


def _saving(total: Cost, alone: Cost | None) -> float | None:
    if alone is None or not (alone.complete and total.complete) or not alone.usd > 0:
        return None
    return _finite(1 - total.usd / alone.usd)


def _amount(cost: Cost) -> dict[str, Any]:
    return {"usd": _finite(cost.usd), "complete": cost.complete}


def _clipped(trace: Trace) -> bool:
    texts = [trace.query.text, *(c.result.text for c in trace.calls if isinstance(c.result, Answer))]
    return any(map(is_clipped, texts))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
