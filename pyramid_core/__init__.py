"""Pyramid MoA: a crowd of cheap models, and an oracle asked only where that is worth its cost."""

from pyramid_core._drive import cancel_event
from pyramid_core.commands import Offer
from pyramid_core.decision import EscalationRule, ThresholdRule
from pyramid_core.errors import (
    ContractError,
    InputError,
    MissingExtra,
    PyramidAbstained,
    PyramidError,
    PyramidFailed,
    ReplayError,
    RouterError,
    TraceError,
)
from pyramid_core.prices import Price
from pyramid_core.pyramid import Pyramid, Recorded
from pyramid_core.records import read_records, record_to_trace, routing_record, trace_to_record, write_record
from pyramid_core.routers import (
    AgreementRouter,
    ConstantRouter,
    RandomRouter,
    load_router,
)
from pyramid_core.types import (
    Answer,
    Assessment,
    Context,
    Cost,
    Decision,
    Failure,
    Member,
    Observation,
    Outcome,
    Policy,
    Query,
    Reply,
    Router,
    Rule,
    Token,
    ToolCall,
    Trace,
    Usage,
    Verdict,
)

__version__ = "0.1.0"

__all__ = [
    "AgreementRouter",
    "Answer",
    "Assessment",
    "ConstantRouter",
    "Context",
    "ContractError",
    "Cost",
    "Decision",
    "EscalationRule",
    "Failure",
    "InputError",
    "Member",
    "MissingExtra",
    "Observation",
    "Offer",
    "Outcome",
    "Policy",
    "Price",
    "Pyramid",
    "PyramidAbstained",
    "PyramidError",
    "PyramidFailed",
    "Query",
    "RandomRouter",
    "Recorded",
    "ReplayError",
    "Reply",
    "Router",
    "RouterError",
    "Rule",
    "ThresholdRule",
    "Token",
    "ToolCall",
    "Trace",
    "TraceError",
    "Usage",
    "Verdict",
    "__version__",
    "cancel_event",
    "load_router",
    "read_records",
    "record_to_trace",
    "routing_record",
    "trace_to_record",
    "write_record",
]
