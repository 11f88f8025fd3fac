"""The words of the project: frozen data, no behaviour beyond what can be derived from the data itself.

Everything above this floor speaks in these types. A missing signal is NaN or None, never zero; a cost that is not
fully known says so (`Cost.complete`). Times are seconds, money is USD, log-probabilities are nats.
"""

from pyramid_core.types.answers import (
    FINISH_REASONS,
    NAN,
    UNKNOWN_COST,
    Answer,
    Cost,
    Failure,
    Member,
    Priced,
    Query,
    Reply,
    Reported,
    Role,
    Streaming,
    Token,
    ToolCall,
    Usage,
)
from pyramid_core.types.judging import (
    Assessment,
    ClassScore,
    Decision,
    Foreseen,
    Observation,
    OperatingPoint,
    Options,
    Router,
    Rule,
    Verdict,
)
from pyramid_core.types.settings import (
    Context,
    Policy,
)
from pyramid_core.types.tracing import (
    CallRecord,
    CallState,
    Judgement,
    Outcome,
    Purpose,
    Trace,
)

__all__ = [
    "FINISH_REASONS",
    "NAN",
    "UNKNOWN_COST",
    "Answer",
    "Assessment",
    "CallRecord",
    "CallState",
    "ClassScore",
    "Context",
    "Cost",
    "Decision",
    "Failure",
    "Foreseen",
    "Judgement",
    "Member",
    "Observation",
    "OperatingPoint",
    "Options",
    "Outcome",
    "Policy",
    "Priced",
    "Purpose",
    "Query",
    "Reply",
    "Reported",
    "Role",
    "Router",
    "Rule",
    "Streaming",
    "Token",
    "ToolCall",
    "Trace",
    "Usage",
    "Verdict",
]
