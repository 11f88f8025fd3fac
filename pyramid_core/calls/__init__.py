"""Tool calls: the tools on offer, calls in normal form, and whether a call keeps to its schema and to what was said.

Everything here is a pure function of a query and of calls; nothing is ever called.
"""

from pyramid_core.calls.differences import differing
from pyramid_core.calls.forms import (
    argument_form,
    arguments_of,
    call_form,
    calls_form,
    written_form,
)
from pyramid_core.calls.grounding import Conversation, conversation_of
from pyramid_core.calls.scene import Fit, Scene, SeenCall, scene_in
from pyramid_core.calls.schemas import Tool, offered, plain_name
from pyramid_core.calls.validity import Validity, validity_of

__all__ = [
    "Conversation",
    "Fit",
    "Scene",
    "SeenCall",
    "Tool",
    "Validity",
    "argument_form",
    "arguments_of",
    "call_form",
    "calls_form",
    "conversation_of",
    "differing",
    "offered",
    "plain_name",
    "scene_in",
    "validity_of",
    "written_form",
]
