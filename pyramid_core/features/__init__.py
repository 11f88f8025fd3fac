"""Features: what a router looks at, one small documented function each.

A module is a family; `catalogue` lists them all, and the sets that routers take unless told otherwise. A missing
signal is NaN, never zero. No feature depends on who answered first, and none names a member but those that
`member_features` makes for one crowd.
"""

from pyramid_core.features.catalogue import (
    BEHAVIOUR_CLASS_FEATURES,
    BEHAVIOUR_FEATURES,
    CLASS_FEATURES,
    CONTEXT,
    CONTEXT_CLASS_FEATURES,
    CONTEXT_FEATURES,
    DEFAULT_CLASS_FEATURES,
    DEFAULT_QUERY_FEATURES,
    PROGRAM_FEATURES,
    PROGRAMS,
    QUERY_FEATURES,
    TOOL_FEATURES,
)
from pyramid_core.features.members import member_features
from pyramid_core.features.sets import FeatureSet
from pyramid_core.features.view import ClassView, Family, Feature, Level, View

__all__ = [
    "BEHAVIOUR_CLASS_FEATURES",
    "BEHAVIOUR_FEATURES",
    "CLASS_FEATURES",
    "CONTEXT",
    "CONTEXT_CLASS_FEATURES",
    "CONTEXT_FEATURES",
    "DEFAULT_CLASS_FEATURES",
    "DEFAULT_QUERY_FEATURES",
    "PROGRAMS",
    "PROGRAM_FEATURES",
    "QUERY_FEATURES",
    "TOOL_FEATURES",
    "ClassView",
    "Family",
    "Feature",
    "FeatureSet",
    "Level",
    "View",
    "member_features",
]
