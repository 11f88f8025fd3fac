"""What a user may write for a rule: a rule, a threshold as a number, or an operating point in the model's name."""

from __future__ import annotations

from typing import Any

from pyramid_core.decision import ThresholdRule
from pyramid_core.errors import InputError

NAME = "pyramid"


def rule_of(model: str, rule: Any) -> Any:
    """The rule as the core takes it: the user's own, or the operating point that the model's name asks for.

    Raises:
        InputError: the name or the rule cannot be used.
    """
    name, colon, point = model.partition(":")
    if name != NAME or (colon and not point):
        raise InputError(f"model must be 'pyramid' or 'pyramid:<operating point>', not {model!r}")
    if point and rule is not None:
        raise InputError(f"model={model!r} and rule={rule!r} both say when to escalate: give one of them")
    if point:
        return ThresholdRule(operating_point=point)
    if isinstance(rule, (int, float)) and not isinstance(rule, bool):
        return ThresholdRule(float(rule))
    if rule is not None and not callable(getattr(rule, "decide", None)):
        raise InputError(f"rule must be a rule or a threshold between 0 and 1, not {rule!r}")
    return rule
