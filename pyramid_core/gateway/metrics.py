"""Counters, gauges and histograms in Prometheus' text format, version 0.0.4.

A label's values are the server's own names (members, modes, verdicts), never what a client sent, so that no client can
make a series. One event loop writes and reads; there are no locks.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from pyramid_core.records import routing_judgement, routing_record
from pyramid_core.types import Answer, Failure, Trace

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
PROBABILITIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

RECENT = 500
"""Queries that the live escalation rate is taken over."""

_Labels = tuple[str, ...]


class Counter:
    """A sum that only grows, by labels."""

    kind = "counter"

    def __init__(self, name: str, about: str, labels: Sequence[str] = ()) -> None:
        self.name, self.about, self._labels = name, about, tuple(labels)
        self._values: dict[_Labels, float] = {} if labels else {(): 0.0}

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Count."""
        self._values[labels] = self._values.get(labels, 0.0) + by

    def value(self, *labels: str) -> float:
        """What was counted."""
        return self._values.get(labels, 0.0)

    def total(self) -> float:
        """Over all labels."""
        return sum(self._values.values())

    def lines(self) -> Iterator[str]:
        """The samples."""
        for labels, value in self._values.items():
            yield f"{self.name}{_shown(self._labels, labels)} {_number(value)}"


class Gauge:
    """A value that is read when it is asked for; NaN where there is none."""

    kind = "gauge"

    def __init__(self, name: str, about: str, read: Callable[[], float]) -> None:
        self.name, self.about, self._read = name, about, read

    def lines(self) -> Iterator[str]:
        """The sample."""
        yield f"{self.name} {_number(self._read())}"


class Histogram:
    """How many values lie at or below each bound, by labels."""

    kind = "histogram"

    def __init__(self, name: str, about: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        self.name, self.about, self._bounds, self._labels = name, about, tuple(bounds), tuple(labels)
        self._counts: dict[_Labels, list[int]] = {}
        self._sums: dict[_Labels, float] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Count a value; one that is missing is not counted."""
        if math.isnan(value):
            return
        counts = self._counts.setdefault(labels, [0] * (len(self._bounds) + 1))
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + value

    def lines(self) -> Iterator[str]:
        """The samples."""
        names = (*self._labels, "le")
        for labels, counts in self._counts.items():
            sums = list(accumulate(counts))
            for bound, count in zip((*self._bounds, math.inf), sums, strict=True):
                yield f"{self.name}_bucket{_shown(names, (*labels, _number(bound)))} {count}"
            yield f"{self.name}_sum{_shown(self._labels, labels)} {_number(self._sums[labels])}"
            yield f"{self.name}_count{_shown(self._labels, labels)} {sums[-1]}"


class Metrics:
    """What a gateway counts.

    Args:
        in_flight: reads how many queries are being answered.
        mode: reads the mode.
        modes: all there are.
    """

    def __init__(
        self, *, in_flight: Callable[[], float], mode: Callable[[], str], modes: Sequence[str]
    ) -> None:
        self.queries = Counter(
            "pyramid_queries_total", "Queries that ended.", ("mode", "verdict", "end", "reason")
        )
        self.responses = Counter("pyramid_http_responses_total", "Responses.", ("route", "status"))
        self.latency = Histogram("pyramid_latency_seconds", "Seconds, by phase.", SECONDS, ("phase",))
        self.escalated = Counter("pyramid_escalated_total", "Queries that went to an oracle.")
        self.routed = Counter("pyramid_routed_total", "Queries that a router had a say in.")
        self.cost = Counter("pyramid_cost_usd_total", "USD, as far as prices are known.", ("role",))
        self.unpriced = Counter("pyramid_cost_unknown_total", "Calls whose cost is not known.", ("member",))
        self.failures = Counter("pyramid_member_failures_total", "Calls that failed.", ("member", "kind"))
        self.p_fail = Histogram("pyramid_p_fail", "p_fail at the verdict.", PROBABILITIES)
        self.shadow_skipped = Counter("pyramid_shadow_skipped_total", "Queries not shadowed.", ("why",))
        self.shadowed = Counter("pyramid_shadowed_total", "Queries whose crowd was asked beside the oracle.")
        self.left = Counter("pyramid_clients_left_total", "Queries whose client left before the answer.")
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._all = (
            *(value for value in vars(self).values() if isinstance(value, Counter | Histogram)),
            Gauge("pyramid_queries_in_flight", "Queries that are being answered.", in_flight),
            Gauge(
                "pyramid_escalation_rate",
                f"Share escalated of the last {RECENT} queries.",
                self.escalation_rate,
            ),
        )
        self._mode, self._modes = mode, tuple(modes)

    def escalation_rate(self) -> float:
        """The share escalated of the recent queries; NaN before the first."""
        return sum(self._recent) / len(self._recent) if self._recent else math.nan

    def finished(self, trace: Trace, mode: str) -> Mapping[str, Any]:
        """Count a trace; gives its routing record back."""
        record = routing_record(trace)
        judged = routing_judgement(trace)
        # A rule abstains in words of its own, numbers included: no label.
        reason = "abstained" if trace.end == "abstain" else trace.reason
        self.queries.add(mode, record["verdict"] or "none", trace.end or "left", reason or "none")
        if judged is not None and trace.crowd and mode != "crowd":
            escalated = bool(record["escalated"])
            if mode == "shadow":
                # The oracle has answered in any case; what counts is what the rule would have done.
                escalated = record["verdict"] == "escalate"
            self.routed.add()
            self.escalated.add(by=float(escalated))
            self._recent.append(escalated)
            self.p_fail.observe(judged.assessment.p_fail)
            self.latency.observe(judged.at, "crowd")
            if escalated and mode != "shadow":
                self.latency.observe(trace.at - judged.at, "oracle")
        self.latency.observe(trace.at, "total")
        for call in trace.calls:
            # The shadow's oracle is the answer that was counted when it was delivered.
            if call.role == "gather" or (call.role == "oracle" and mode == "shadow"):
                continue
            if isinstance(call.result, Failure):
                self.failures.add(call.who, call.result.kind)
            if isinstance(call.result, Answer):
                self.cost.add(call.role, by=call.result.cost.usd)
            if not isinstance(call.result, Answer) or not call.result.cost.complete:
                self.unpriced.add(call.who)
        return record

    def text(self) -> str:
        """Everything, as Prometheus reads it."""
        lines: list[str] = []
        for metric in self._all:
            lines += [
                f"# HELP {metric.name} {metric.about}",
                f"# TYPE {metric.name} {metric.kind}",
                *metric.lines(),
            ]
        lines += ["# HELP pyramid_mode Who answers.", "# TYPE pyramid_mode gauge"]
        lines += [f'pyramid_mode{{mode="{mode}"}} {int(mode == self._mode())}' for mode in self._modes]
        return "\n".join(lines) + "\n"


def _shown(names: _Labels, values: _Labels) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{','.join(pairs)}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if value == int(value) else repr(value)
