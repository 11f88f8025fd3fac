"""What a router may ask to be gathered before it judges: evidence that takes I/O, time or another process.

A gatherer is a callable that is given the question and the answers and returns plain JSON, kept in the trace.
"""

from pyramid_core.evidence.behaviour import (
    CANNOT_RUN,
    FAILS,
    PASSES,
    Behaviour,
    BehaviourGatherer,
    classes_of,
    key_of,
)
from pyramid_core.evidence.cache import BehaviourCache, usual_path
from pyramid_core.evidence.context import ContextSimilarity
from pyramid_core.evidence.recorded import RecordedBehaviour, RecordedEvidence, visible_tests

__all__ = [
    "CANNOT_RUN",
    "FAILS",
    "PASSES",
    "Behaviour",
    "BehaviourCache",
    "BehaviourGatherer",
    "ContextSimilarity",
    "RecordedBehaviour",
    "RecordedEvidence",
    "classes_of",
    "key_of",
    "usual_path",
    "visible_tests",
]
