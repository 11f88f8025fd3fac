"""Which answers are the same answer: the classes that members vote for.

A strategy turns one answer into a normal form; answers with equal forms are one class, and an answer without a form
(a failure, nothing said, no final answer of that kind) is in no class: no answer, no vote. Equality of forms is an
equivalence relation by construction, so classes cannot depend on who answered first.

A strategy is one function in `STRATEGIES`. `auto` takes the query's `answer_type`, else tool calls where any answer
makes one, else what the answers look like. Programs are compared by their text, or, where it was gathered what they do
(evidence `behaviour`; somebody has decided to run them), by what they return on the same inputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

from pyramid_core.calls import Scene, calls_form, offered, scene_in
from pyramid_core.errors import InputError
from pyramid_core.text import Reading, field_form
from pyramid_core.text.normal import literal_form
from pyramid_core.types import Answer, Observation, Query, Reply

EXTRACTION_VERSION = 1
"""Rises when a final answer may be extracted or normalised differently: routers trained before do not fit."""


@dataclass(frozen=True, kw_only=True)
class AnswerClass:
    """Answers that are the same answer.

    Attributes:
        calls: their calls, in call order.
        members: who gave them, in the same order.
        key: their common normal form; None where the strategy has none.
    """

    calls: tuple[int, ...]
    members: tuple[str, ...]
    key: str | None = None

    @property
    def votes(self) -> int:
        """How many answers are in it."""
        return len(self.calls)


class Voice(NamedTuple):
    """One answer that counts, as everything above reads it."""

    call: int
    member: str
    answer: Answer
    reading: Reading
    oracle: bool = False


Strategy = Callable[[Voice, Query, Mapping[str, str]], str | None]
"""(answer, query, the options it lists) -> normal form or None."""


def _exact(voice: Voice, _query: Query, _options: Mapping[str, str]) -> str | None:
    return voice.reading.plain


def _numeric(voice: Voice, _query: Query, _options: Mapping[str, str]) -> str | None:
    return voice.reading.number


def _choice(voice: Voice, _query: Query, options: Mapping[str, str]) -> str | None:
    return voice.reading.choice(options)


def _literal(voice: Voice, _query: Query, _options: Mapping[str, str]) -> str | None:
    return voice.reading.literal


def _code(voice: Voice, _query: Query, _options: Mapping[str, str]) -> str | None:
    return voice.reading.code or None


def _behaviour(voice: Voice, query: Query, options: Mapping[str, str]) -> str | None:
    """What stands in where nothing was gathered: it came late, failed, or the question gives nothing to try."""
    return _code(voice, query, options)


def _fields(voice: Voice, query: Query, options: Mapping[str, str]) -> str | None:
    if voice.answer.tool_calls:
        return _tool_calls(voice, query, options)
    found = voice.reading.fields
    return None if found is None else field_form(found)


def _tool_calls(voice: Voice, query: Query, _options: Mapping[str, str]) -> str | None:
    """Calls as a multiset; declining to call, in words, is an answer too."""
    return _calls_form(voice, query)


def _tool_calls_unordered(voice: Voice, query: Query, _options: Mapping[str, str]) -> str | None:
    """The same where the order of lists in arguments does not matter."""
    return _calls_form(voice, query, unordered=True)


def _calls_form(voice: Voice, query: Query, *, unordered: bool = False) -> str | None:
    calls = voice.answer.tool_calls
    if not calls:
        return None if voice.reading.empty else "[]"
    return calls_form(calls, offered(query), unordered=unordered)


STRATEGIES: Mapping[str, Strategy] = {
    "exact": _exact,
    "numeric": _numeric,
    "choice": _choice,
    "literal": _literal,
    "code": _code,
    "behaviour": _behaviour,
    "tool_calls": _tool_calls,
    "tool_calls_unordered": _tool_calls_unordered,
    "fields": _fields,
}

BEHAVIOUR = "behaviour"
"""The evidence, and the strategy that reads it."""

_BY_ANSWER_TYPE = {
    "number": "numeric",
    "choice": "choice",
    "literal": "literal",
    "code": "code",
    "tool_calls": "tool_calls",
    "fields": "fields",
    "text": "exact",
}


def classes(observation: Observation, equivalence: str = "auto") -> tuple[AnswerClass, ...]:
    """The classes of the answers so far: most votes first, ties by the first member's place in the crowd.

    The crowd's answers, and an oracle's only where it joins them (`observation.fused`); it then wins ties.

    Raises:
        InputError: `equivalence` or the query's `answer_type` is unknown.
    """
    return observation.shared(("classes", equivalence), lambda: _classes(observation, equivalence))


def kind_of(observation: Observation, equivalence: str = "auto") -> str:
    """The strategy that `classes` uses for this observation.

    Raises:
        InputError: `equivalence` or the query's `answer_type` is unknown.
    """
    if equivalence == "auto":
        kind = observation.shared("kind", lambda: _inferred(observation))
        return BEHAVIOUR if kind == "code" and observation.evidence.get(BEHAVIOUR) else kind
    return checked_equivalence(equivalence)


def checked_equivalence(equivalence: str) -> str:
    """`equivalence`, if there is such a strategy.

    Raises:
        InputError: there is none; names those there are.
    """
    if equivalence != "auto" and equivalence not in STRATEGIES:
        raise InputError(f"unknown equivalence {equivalence!r}: use auto or one of {', '.join(STRATEGIES)}")
    return equivalence


def scene_of(observation: Observation) -> Scene | None:
    """The tools on offer and what was said, with the calls seen before them; None where no tool is on offer."""
    return scene_in(observation.kept, observation.query)


def behaviours(observation: Observation) -> Mapping[int, Mapping[str, Any]]:
    """What the program of each answer does, by call, as `pyramid_core.evidence` told it; empty where nothing is known."""
    return observation.shared(BEHAVIOUR, lambda: _behaviours(observation))


def behaviour_key(signature: Sequence[str]) -> str | None:
    """The normal form of a program that gives these outputs; None: it gave no value, so it has no vote."""
    return json.dumps(list(signature)) if signature else None


def kind_stated(answer_type: str) -> str:
    """The strategy for a query that says what kind of answer it wants.

    Raises:
        InputError: there is none; names those there are.
    """
    try:
        return _BY_ANSWER_TYPE[answer_type]
    except (KeyError, TypeError):
        known = ", ".join(_BY_ANSWER_TYPE)
        raise InputError(
            f"unknown answer_type {answer_type!r}: use one of {known}, or None to infer it"
        ) from None


def voices(observation: Observation) -> tuple[Voice, ...]:
    """The answers that count, in the crowd's order, so that nothing depends on who answered first."""
    return observation.shared("voices", lambda: _voices(observation))


def options_listed(observation: Observation) -> Mapping[str, str]:
    """The options that the question lists, letter -> text; empty where it lists none."""
    return question_of(observation).options


def question_of(observation: Observation) -> Reading:
    """The question, read as answers are; once for all observations of a query."""
    reading = observation.kept.get("question")
    if not isinstance(reading, Reading) or reading.text is not observation.query.text:
        reading = observation.kept["question"] = Reading(observation.query.text)
    return reading


def counts(observation: Observation, reply: Reply) -> bool:
    """Whether a reply is one of those that are compared: the crowd's, and an oracle's under fusion."""
    return reply.role == "crowd" or (reply.role == "oracle" and observation.fused)


def _voices(observation: Observation) -> tuple[Voice, ...]:
    crowd = observation.crowd
    known: dict[int, Voice] = observation.kept.setdefault("voices", {})
    found: list[tuple[int, int, Voice]] = []
    for reply in observation.replies:
        answer = reply.result
        if not isinstance(answer, Answer) or not counts(observation, reply):
            continue
        call, who, oracle = reply.call, reply.who, reply.role == "oracle"
        voice = known.get(call)
        if voice is None or voice.answer is not answer or voice.oracle is not oracle:
            reading = Reading(answer.text, cut=answer.finish_reason == "length", extracted=answer.extracted)
            voice = known[call] = Voice(call, who, answer, reading, oracle)
        found.append((-1 if oracle else crowd.index(who) if who in crowd else len(crowd), call, voice))
    if len(found) > 1:
        found.sort(key=itemgetter(0, 1))
    return tuple([voice for _, _, voice in found])


def _classes(observation: Observation, equivalence: str) -> tuple[AnswerClass, ...]:
    heard = voices(observation)
    kind = kind_of(observation, equivalence)
    form_of, query = STRATEGIES[kind], observation.query
    options = options_listed(observation) if kind == "choice" else {}
    done = behaviours(observation) if kind == BEHAVIOUR else {}
    scene = scene_of(observation) if kind == "tool_calls" else None
    groups: dict[str, list[Voice]] = {}
    for voice in heard:
        if voice.reading.empty and not voice.answer.tool_calls:
            continue
        if done:
            form = behaviour_key(done[voice.call]["signature"]) if voice.call in done else None
        elif scene is not None and voice.answer.tool_calls:
            form = scene.form(voice.answer.tool_calls)
        else:
            form = form_of(voice, query, options)
        if form is not None:
            groups.setdefault(form, []).append(voice)
    ordered = list(groups.items())
    if len(ordered) > 1:
        ordered.sort(key=lambda group: len(group[1]), reverse=True)
    found = []
    for key, members in ordered:
        members.sort(key=itemgetter(0))
        calls, names = [voice[0] for voice in members], [voice[1] for voice in members]
        found.append(AnswerClass(calls=tuple(calls), members=tuple(names), key=key))
    return tuple(found)


def _behaviours(observation: Observation) -> dict[int, Mapping[str, Any]]:
    """Evidence names answers by their place among all that came, in call order."""
    told = observation.evidence.get(BEHAVIOUR) or {}
    calls = [reply.call for reply in observation.replies if isinstance(reply.result, Answer)]
    found = {call: told[str(at)] for at, call in enumerate(calls) if str(at) in told}
    return found if any(entry["signature"] for entry in found.values()) else {}


def _inferred(observation: Observation) -> str:
    """The strategy for `auto`."""
    stated = observation.query.answer_type
    if stated is not None:
        return kind_stated(stated)
    readings = []
    for voice in voices(observation):
        if voice.answer.tool_calls:
            return "tool_calls"
        if not voice.reading.empty:
            readings.append(voice.reading)
    return _inferred_from(readings, observation) if readings else "exact"


def _inferred_from(readings: list[Reading], observation: Observation) -> str:
    """What the question asks for and at least half of the answers look like."""
    half = len(readings) / 2
    question = question_of(observation)
    options = question.options
    if options and any(reading.choice(options) is not None for reading in readings):
        return "choice"
    numeric = sum([reading.states_number for reading in readings])
    if numeric == len(readings) and not question.has_code:
        return "numeric"
    unmarked = [reading for reading in readings if reading.marks.first is None]
    if len(unmarked) >= half and sum(reading.has_code for reading in unmarked) >= half:
        return "code"
    if len(readings) - len(unmarked) >= half and question.has_code:
        return "literal"
    opening = [reading for reading in readings if reading.opens_literal]
    if opening:
        if sum(reading.fields is not None for reading in unmarked) >= half:
            return "fields"
        if sum(literal_form(reading.span) is not None for reading in opening) >= half:
            return "literal"
    if numeric >= half:
        return "numeric"
    if question.asks_number and sum(reading.number is not None for reading in readings) >= half:
        return "numeric"
    return "exact"
