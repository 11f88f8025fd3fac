"""What each feature of tool calls is worth, on calls small enough to work it out by hand."""

import math

import pytest

from pyramid_core.features import TOOL_FEATURES, ClassView, View
from pyramid_core.features.tools import CLASS, QUERY
from pyramid_core.types import Answer, Failure, Observation, Query, Reply, ToolCall

NAN = math.nan
CROWD = ("a", "b", "c")
BY_NAME = {feature.name: feature for feature in (*QUERY, *CLASS)}
QUESTION = "Book flights to Rome and Paris. Return on Friday?"


def tool(name, description, required, **kinds):
    properties = {name: {"type": kind} if isinstance(kind, str) else kind for name, kind in kinds.items()}
    parameters = {"type": "object", "properties": properties, "required": required}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


TOOLS = (
    tool(
        "book_flight",
        "Book a flight to a city.",
        ["city"],
        city="string",
        seats={"type": "integer", "description": "How many; defaults to 1."},
        food="string",
        direct="boolean",
    ),
    tool("find_hotel", "Find hotels.", ["city"], city="string"),
)


def calls(*arguments, name="book_flight"):
    return Answer(text="", tool_calls=tuple(ToolCall(name=name, arguments=one) for one in arguments))


ROME, PARIS, OSLO = calls({"city": "Rome"}), calls({"city": "Paris"}), calls({"city": "Oslo"})
BOTH = calls({"city": "Rome"}, {"city": "Paris"})
FED = calls({"city": "Rome", "food": "vegan"})
FULL = calls({"city": "Rome", "seats": 1, "direct": True})
HOTEL = calls({"city": "Rome"}, name="find_hotel")
NO, WHY = Answer(text="No tool does that."), Answer(text="Which day do you mean?")
WRITTEN = Answer(text='book_flight(city="Rome")')


def observed(*said, tools=TOOLS):
    query = Query(text=QUESTION, tools=tools)
    replies = tuple(Reply(call=n, role="crowd", who=CROWD[n], result=one) for n, one in enumerate(said))
    return Observation(query=query, crowd=CROWD, replies=replies)


def value(name, *said, at=0, **more):
    view = View(observed(*said, **more), "tool_calls")
    feature = BY_NAME[name]
    return feature.compute(view if feature.level == "query" else ClassView(view, view.classes[at]))


OF_TOOLS = [
    ("tools_offered", (ROME,), 2.0),
    ("tools_calling", (ROME, NO, Failure(kind="E")), 1 / 3),
    ("tools_declining", (ROME, NO, WHY), 2 / 3),
    ("tools_name_agreement", (ROME, PARIS, HOTEL), 2 / 3),
    ("tools_argument_agreement", (ROME, PARIS), 1 / 3),
    ("tools_argument_agreement", (ROME, NO), NAN),
    # The stems of the question: book, flight, rom, par, return, friday; of the tool's name: book, flight.
    ("tools_fit", (ROME,), (1.0 + 2 / 6) / 2),
    ("tools_requests", (ROME,), 4.0),
    ("tools_calls", (ROME, BOTH, NO), 1.0),
    ("tools_grounded", (ROME, OSLO), 0.5),
    ("tools_grounded_least", (ROME, OSLO), 0.0),
    ("tools_grounded_least", (NO,), NAN),
    ("tools_asking", (NO, WHY, ROME), 0.5),
    ("class_calls", (BOTH,), 2.0),
    ("class_calls", (NO,), 0.0),
    ("class_side", (ROME, PARIS, NO), 2 / 3),
    ("class_names", (ROME, BOTH, NO), 1 / 3),
    ("class_support", (ROME, PARIS, NO), (1 + 1 / 3) / 3),
    ("class_support", (NO, WHY, ROME), 2 / 3),
    ("class_near", (ROME, BOTH, PARIS), 0.5),
    ("class_invalid", (calls({"city": "Rome"}, {"town": "Rome"}),), 0.5),
    ("class_invalid", (calls({"city": "Rome"}, name="fly"),), 1.0),
    ("class_invented", (calls({"city": "Rome", "why": "so"}),), 1.0),
    ("class_grounded", (FED,), 0.5),
    ("class_grounded_required", (FED,), 1.0),
    ("class_grounded_least", (calls({"city": "Rome"}, {"city": "Oslo"}),), 0.0),
    ("class_grounded_optional", (FED,), 0.0),
    ("class_nowhere", (FED,), 1.0),
    ("class_nowhere_optional", (FED,), 1.0),
    ("class_optional", (FULL,), 2.0),
    ("class_defaults", (FULL,), 1.0),
    ("class_flags", (FULL,), 1.0),
    ("class_arguments", (FULL,), 3.0),
    ("class_fit", (ROME,), (1.0 + 2 / 6) / 2),
    ("class_fit_lead", (ROME,), (1.0 + 2 / 6) / 2 - 0.0),
    ("class_covered", (ROME,), 3 / 6),
    ("class_names_used", (ROME,), 1 / 3),
    ("class_calls_by_request", (BOTH,), 0.5),
    ("class_calls_more", (BOTH, ROME), 1.0),
    ("class_duplicates", (calls({"city": "Rome"}, {"city": "rome"}),), 1.0),
    ("class_asks", (WHY, NO), 0.5),
    ("class_written", (WRITTEN,), 1.0),
    ("class_written", (ROME,), NAN),
]


@pytest.mark.parametrize(("name", "said", "worth"), OF_TOOLS)
def test_worth(name, said, worth):
    found = value(name, *said)
    assert found == pytest.approx(worth, nan_ok=True)


@pytest.mark.parametrize("name", BY_NAME)
def test_nothing_is_said_where_no_tool_is_on_offer(name):
    assert math.isnan(value(name, ROME, NO, tools=()))


def test_no_column_of_a_tools_router_names_a_member_or_depends_on_a_model_s_units():
    families = {feature.family for feature in TOOL_FEATURES}
    assert families <= {"agreement", "crowd", "query", "tools"}
