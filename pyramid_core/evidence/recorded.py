"""The same evidence for recorded answers, so that routers are trained on what they will see in production.

A record may keep tests that belong to its question but do not stand in it (`reference.visible_tests`); nothing else of
the reference is looked at: hidden tests and reference solutions are the grader's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyramid_core.equivalence import BEHAVIOUR, kind_of
from pyramid_core.evidence.behaviour import BehaviourGatherer
from pyramid_core.types import Answer, Observation

RecordedEvidence = Callable[[Mapping[str, Any], Observation], Mapping[str, Any]]
"""(a record, what a router sees of its answers) -> evidence by kind."""


class RecordedBehaviour:
    """Runs the programs among a record's answers.

    Args:
        gatherer: what runs them.
        equivalence: which answers are the same; programs are run where this means code.
    """

    def __init__(self, gatherer: BehaviourGatherer, equivalence: str = "auto") -> None:
        self.gatherer = gatherer
        self.equivalence = equivalence

    def __call__(self, record: Mapping[str, Any], observation: Observation) -> dict[str, Any]:
        """The evidence `behaviour`; nothing where the answers are no programs.

        Raises:
            SandboxError: programs cannot be run here.
        """
        if kind_of(observation, self.equivalence) not in ("code", BEHAVIOUR):
            return {}
        texts = [reply.result.text for reply in observation.replies if isinstance(reply.result, Answer)]
        found = self.gatherer.behaviours(texts, observation.query.text, visible_tests(record))
        return {BEHAVIOUR: {str(at): one.as_json() for at, one in enumerate(found)}}


def visible_tests(record: Mapping[str, Any]) -> list[str]:
    """The tests that belong to a record's question."""
    reference = record.get("reference")
    told = reference.get("visible_tests") if isinstance(reference, Mapping) else None
    return [test for test in told if isinstance(test, str)] if isinstance(told, list) else []
