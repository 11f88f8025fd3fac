"""Tool calls: whether to call at all, what the members agree on, and what a call rests on.

Where a call is due, cheap models choose it nearly as well as dear ones; where none is, they call anyway. So most is won
by two questions: does anybody decline, and are the arguments grounded in what the user said. Every value is NaN where
no tool is on offer. A class of calls is seen by its first member's answer; arguments are compared and checked by their
schemas (`pyramid_core.calls`). Shares are of the crowd's size unless they say otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from pyramid_core.calls import Scene, SeenCall, plain_name
from pyramid_core.equivalence import Voice, scene_of
from pyramid_core.features.view import NAN, ClassView, View, features_of, highest, lowest, mean

GROUNDED = 0.5
"""An argument of which less was said comes from nowhere."""


def tools_offered(view: View) -> float:
    """How many tools are on offer."""
    scene = scene_of(view.observation)
    return NAN if scene is None else float(len(scene.tools))


def tools_calling(view: View) -> float:
    """Share of the members that call anything."""
    return (
        NAN if scene_of(view.observation) is None else sum(_calls(voice) for voice in view.voices) / view.size
    )


def tools_declining(view: View) -> float:
    """Share of the members that answer in words alone."""
    return (
        NAN
        if scene_of(view.observation) is None
        else sum(_declines(voice) for voice in view.voices) / view.size
    )


def tools_name_agreement(view: View) -> float:
    """The largest share of members that call the same tools as often; declining is to call none."""
    if scene_of(view.observation) is None:
        return NAN
    shares = Counter(_names(voice) for voice in view.voices if _calls(voice) or _declines(voice))
    return max(shares.values(), default=0) / view.size


def tools_argument_agreement(view: View) -> float:
    """Mean share of equal names and arguments over all pairs of members that call."""
    scene = scene_of(view.observation)
    if scene is None:
        return NAN
    calling = [voice for voice in view.voices if _calls(voice)]
    pairs = [(one, other) for at, one in enumerate(calling) for other in calling[at + 1 :]]
    return mean([_alike(scene, one, other) for one, other in pairs])


def tools_fit(view: View) -> float:
    """The best fit of a tool on offer to the question."""
    scene = scene_of(view.observation)
    return NAN if scene is None else highest([fit.both for fit in scene.fits.values()])


def tools_requests(view: View) -> float:
    """What in the question may separate requests, counted."""
    scene = scene_of(view.observation)
    return NAN if scene is None else scene.requests


def tools_calls(view: View) -> float:
    """Mean number of calls of the members."""
    if scene_of(view.observation) is None:
        return NAN
    return mean([float(len(voice.answer.tool_calls)) for voice in view.voices])


def tools_grounded(view: View) -> float:
    """Mean ground of all arguments that the members give, 0 to 1."""
    return mean([share for call in _all(view) for share in call.grounds.values()])


def tools_grounded_least(view: View) -> float:
    """The least ground of a required argument that a member gives."""
    return lowest([share for call in _all(view) for share in _required(call)])


def tools_asking(view: View) -> float:
    """Share of the members' answers in words that ask something back; NaN where there is none."""
    if scene_of(view.observation) is None:
        return NAN
    return mean([float("?" in voice.reading.text) for voice in view.voices if _declines(voice)])


def class_calls(seen: ClassView) -> float:
    """How many calls it makes; 0 where it declines in words."""
    return NAN if scene_of(seen.view.observation) is None else float(len(seen.own[0].answer.tool_calls))


def class_side(seen: ClassView) -> float:
    """Share of the members that are on its side of the question whether to call at all."""
    if scene_of(seen.view.observation) is None:
        return NAN
    side = _calls if _calls(seen.own[0]) else _declines
    return sum(side(voice) for voice in seen.view.voices) / seen.view.size


def class_names(seen: ClassView) -> float:
    """Share of the members that call the same tools as often."""
    if scene_of(seen.view.observation) is None:
        return NAN
    own = _names(seen.own[0])
    heard = [voice for voice in seen.view.voices if _calls(voice) or _declines(voice)]
    return sum(_names(voice) == own for voice in heard) / seen.view.size


def class_support(seen: ClassView) -> float:
    """Votes of all members, each counting by how much of its call is the same; of those that decline, for declining."""
    scene = scene_of(seen.view.observation)
    if scene is None:
        return NAN
    if not _calls(seen.own[0]):
        return sum(_declines(voice) for voice in seen.view.voices) / seen.view.size
    calling = [voice for voice in seen.view.voices if _calls(voice)]
    return sum(_alike(scene, seen.own[0], voice) for voice in calling) / seen.view.size


def class_near(seen: ClassView) -> float:
    """How much of the nearest other call is the same."""
    scene = scene_of(seen.view.observation)
    if scene is None or not _calls(seen.own[0]):
        return NAN
    return highest([_alike(scene, seen.own[0], voice) for voice in seen.others if _calls(voice)])


def class_invalid(seen: ClassView) -> float:
    """Share of its calls that their schema refuses, or whose tool is not on offer."""
    return _mean(seen, lambda call: float(call.validity.refused))


def class_invented(seen: ClassView) -> float:
    """Arguments of its calls that their schema does not know."""
    return _sum(seen, lambda call: len(call.validity.invented))


def class_grounded(seen: ClassView) -> float:
    """Mean ground of its arguments."""
    return mean([share for call in _own(seen) for share in call.grounds.values()])


def class_grounded_required(seen: ClassView) -> float:
    """Mean ground of its required arguments."""
    return mean([share for call in _own(seen) for share in _required(call)])


def class_grounded_least(seen: ClassView) -> float:
    """The least ground of its required arguments."""
    return lowest([share for call in _own(seen) for share in _required(call)])


def class_grounded_optional(seen: ClassView) -> float:
    """The least ground of its optional arguments."""
    return lowest([share for call in _own(seen) for share in _optional(call)])


def class_nowhere(seen: ClassView) -> float:
    """How many of its arguments come from nowhere."""
    return _sum(seen, lambda call: sum(share < GROUNDED for share in call.grounds.values()))


def class_nowhere_optional(seen: ClassView) -> float:
    """How many of its optional arguments come from nowhere."""
    return _sum(seen, lambda call: sum(share < GROUNDED for share in _optional(call)))


def class_optional(seen: ClassView) -> float:
    """How many optional arguments its calls give."""
    return _sum(seen, lambda call: len(call.arguments.keys() - _needs(call)))


def class_defaults(seen: ClassView) -> float:
    """How many of its arguments are the default anyway."""
    return _sum(seen, lambda call: len(call.defaults))


def class_flags(seen: ClassView) -> float:
    """How many of its arguments are truth values."""
    return _sum(seen, lambda call: sum(isinstance(value, bool) for value in call.arguments.values()))


def class_arguments(seen: ClassView) -> float:
    """Mean number of arguments of its calls."""
    return _mean(seen, lambda call: float(len(call.arguments)))


def class_fit(seen: ClassView) -> float:
    """Mean fit of the tools that it calls to the question."""
    scene = scene_of(seen.view.observation)
    if scene is None:
        return NAN
    return mean([scene.fits[call.name].both for call in _own(seen) if call.name in scene.fits])


def class_fit_lead(seen: ClassView) -> float:
    """The least fit of a tool that it calls minus the best of one on offer that it does not; NaN without others."""
    scene = scene_of(seen.view.observation)
    if scene is None:
        return NAN
    called = {call.name for call in _own(seen)} & scene.fits.keys()
    rest = [fit.both for name, fit in scene.fits.items() if name not in called]
    return min(scene.fits[name].both for name in called) - max(rest) if called and rest else NAN


def class_covered(seen: ClassView) -> float:
    """Share of the question's words that its tools or its arguments take care of."""
    return _covers(seen, lambda scene: scene.said.asked, lambda call: call.covered)


def class_names_used(seen: ClassView) -> float:
    """Share of the question's names and numbers that its arguments have."""
    return _covers(seen, lambda scene: scene.said.names, lambda call: call.words)


def class_calls_by_request(seen: ClassView) -> float:
    """Its calls over what may separate requests in the question."""
    scene = scene_of(seen.view.observation)
    return NAN if scene is None or not _calls(seen.own[0]) else class_calls(seen) / scene.requests


def class_calls_more(seen: ClassView) -> float:
    """Its calls minus the mean of the other answers'; NaN where there is no other."""
    if scene_of(seen.view.observation) is None:
        return NAN
    return class_calls(seen) - mean([float(len(voice.answer.tool_calls)) for voice in seen.others])


def class_duplicates(seen: ClassView) -> float:
    """How many of its calls repeat another of them."""
    calls = _own(seen)
    if not calls:
        return NAN
    return float(len(calls) - len({(call.name, tuple(sorted(call.forms.items()))) for call in calls}))


def class_asks(seen: ClassView) -> float:
    """Share of its members' words that ask something back; NaN where it calls."""
    if scene_of(seen.view.observation) is None or _calls(seen.own[0]):
        return NAN
    return mean([float("?" in voice.reading.text) for voice in seen.own])


def class_written(seen: ClassView) -> float:
    """Share of its members' words that name a tool on offer, as where a call was written out; NaN where it calls."""
    scene = scene_of(seen.view.observation)
    if scene is None or _calls(seen.own[0]):
        return NAN
    return mean(
        [float(any(name in plain_name(voice.reading.clipped) for name in scene.tools)) for voice in seen.own]
    )


def _calls(voice: Voice) -> bool:
    return bool(voice.answer.tool_calls)


def _declines(voice: Voice) -> bool:
    return not voice.answer.tool_calls and not voice.reading.empty


def _names(voice: Voice) -> tuple[str, ...]:
    return tuple(sorted(plain_name(call.name) for call in voice.answer.tool_calls))


def _parts(scene: Scene, voice: Voice) -> Counter[tuple[str, str, str]]:
    """What a call consists of: its tool, and each argument with its value."""
    parts: Counter[tuple[str, str, str]] = Counter()
    for call in map(scene.seen, voice.answer.tool_calls):
        parts[call.name, "", ""] += 1
        parts.update((call.name, name, form) for name, form in call.forms.items())
    return parts


def _alike(scene: Scene, one: Voice, other: Voice) -> float:
    """Share of two answers' parts that are the same (Jaccard's index of multisets), 0 to 1."""
    if one.answer is other.answer:
        return 1.0
    mine, theirs = _parts(scene, one), _parts(scene, other)
    return (mine & theirs).total() / (mine | theirs).total()


def _all(view: View) -> list[SeenCall]:
    scene = scene_of(view.observation)
    if scene is None:
        return []
    return [scene.seen(call) for voice in view.voices for call in voice.answer.tool_calls]


def _own(seen: ClassView) -> list[SeenCall]:
    """The class's calls, as its first member makes them; [] where it makes none or no tool is on offer."""
    scene = scene_of(seen.view.observation)
    return [] if scene is None else [scene.seen(call) for call in seen.own[0].answer.tool_calls]


def _needs(call: SeenCall) -> frozenset[str]:
    return frozenset() if call.tool is None else call.tool.required


def _required(call: SeenCall) -> list[float]:
    return [share for name, share in call.grounds.items() if name in _needs(call)]


def _optional(call: SeenCall) -> list[float]:
    return [share for name, share in call.grounds.items() if name not in _needs(call)]


def _sum(seen: ClassView, count: Callable[[SeenCall], int]) -> float:
    calls = _own(seen)
    return float(sum(map(count, calls))) if calls else NAN


def _mean(seen: ClassView, measure: Callable[[SeenCall], float]) -> float:
    return mean([measure(call) for call in _own(seen)])


def _covers(
    seen: ClassView, asked: Callable[[Scene], frozenset[str]], has: Callable[[SeenCall], frozenset[str]]
) -> float:
    """Share of what was asked that the class's calls have; NaN where nothing was, or it makes none."""
    scene, calls = scene_of(seen.view.observation), _own(seen)
    wanted = frozenset() if scene is None else asked(scene)
    return len(wanted & frozenset().union(*map(has, calls))) / len(wanted) if calls and wanted else NAN


QUERY = features_of(
    "tools",
    "query",
    (
        tools_offered,
        tools_calling,
        tools_declining,
        tools_name_agreement,
        tools_argument_agreement,
        tools_fit,
        tools_requests,
        tools_calls,
        tools_grounded,
        tools_grounded_least,
        tools_asking,
    ),
)
CLASS = features_of(
    "tools",
    "class",
    (
        class_calls,
        class_side,
        class_names,
        class_support,
        class_near,
        class_invalid,
        class_invented,
        class_grounded,
        class_grounded_required,
        class_grounded_least,
        class_grounded_optional,
        class_nowhere,
        class_nowhere_optional,
        class_optional,
        class_defaults,
        class_flags,
        class_arguments,
        class_fit,
        class_fit_lead,
        class_covered,
        class_names_used,
        class_calls_by_request,
        class_calls_more,
        class_duplicates,
        class_asks,
        class_written,
    ),
)
