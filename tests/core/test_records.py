from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyramid_core.errors import InputError, ReplayError, TraceError
from pyramid_core.records import (
    answer_of,
    query_of,
    read_records,
    record_to_trace,
    response_of,
    routing_judgement,
    routing_record,
    trace_to_record,
    write_record,
)
from pyramid_core.types import (
    NAN,
    UNKNOWN_COST,
    Answer,
    Assessment,
    CallRecord,
    ClassScore,
    Context,
    Cost,
    Decision,
    Failure,
    Judgement,
    Policy,
    Query,
    ToolCall,
    Trace,
    Usage,
    Verdict,
)

numbers = st.one_of(st.just(NAN), st.floats(allow_nan=False))
times = st.floats(0, 1e6)
words = st.text(max_size=12)
plain_json = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), words
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=6,
)
objects = st.dictionaries(words, plain_json, max_size=3)
maybe = lambda strategy: st.one_of(st.none(), strategy)
several = lambda strategy, most=3: st.lists(strategy, max_size=most).map(tuple)

tool_calls = st.builds(ToolCall, name=words, arguments=st.one_of(objects, words), id=maybe(words))
answers = st.builds(
    Answer,
    text=words,
    member=words,
    tool_calls=several(tool_calls, 2),
    extracted=maybe(words),
    logprobs=maybe(several(numbers)),
    token_texts=maybe(several(words)),
    top_logprobs=maybe(several(several(st.tuples(words, numbers), 2))),
    answer_span=maybe(st.tuples(st.integers(0, 9), st.integers(0, 9))),
    mean_prob=maybe(st.floats(0, 1)),
    confidence=maybe(st.floats(0, 1)),
    finish_reason=maybe(words),
    usage=maybe(
        st.builds(Usage, input_tokens=maybe(st.integers(0, 99)), output_tokens=maybe(st.integers(0, 99)))
    ),
    cost=st.one_of(
        st.just(UNKNOWN_COST),
        st.builds(Cost, usd=st.floats(0, 9), complete=st.booleans()).filter(lambda c: c.usd > 0),
    ),
    elapsed=numbers,
)
failures = st.builds(Failure, kind=words, message=words, member=words, elapsed=numbers, exception=st.none())
assessments = st.builds(
    Assessment,
    chosen=maybe(st.integers(0, 5)),
    p_fail=numbers,
    p_right=several(st.builds(ClassScore, calls=several(st.integers(0, 5)), p_right=numbers)),
    p_after=st.dictionaries(words, numbers, max_size=2),
    features=st.dictionaries(words, numbers, max_size=3),
    router=words,
    notes=several(words),
)
decisions = st.builds(
    Decision,
    verdict=st.sampled_from(Verdict),
    oracle=maybe(words),
    u_stop=numbers,
    u_esc=numbers,
    cost_barrier=numbers,
    imperfection_barrier=numbers,
    reason=words,
    rule=words,
)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    calls = []
    for number in range(draw(st.integers(0, 4))):
        role = draw(st.sampled_from(["crowd", "oracle", "gather"]))
        state = draw(st.sampled_from(["running", "done", "cancelled", "abandoned"]))
        came = st.one_of(failures, plain_json if role == "gather" else answers)
        calls.append(
            CallRecord(
                call=number,
                role=role,
                who=draw(st.sampled_from(["a", "b", "a#2"])),
                purpose=draw(st.sampled_from(["policy", "speculation", "exploration"])),
                state=state,
                result=draw(came if state == "done" else st.one_of(st.none(), came)),
                asked_at=draw(times),
                first_token_at=draw(maybe(times)),
                ended_at=draw(maybe(times)),
                over=draw(several(st.integers(0, 9))),
            )
        )
    return Trace(
        query=draw(
            st.builds(
                Query,
                text=words,
                messages=several(objects, 2),
                tools=several(objects, 2),
                tool_choice=plain_json,
                answer_type=maybe(words),
                id=words,
            )
        ),
        crowd=draw(several(words)),
        oracles=draw(several(words)),
        router=draw(words),
        policy=draw(
            st.builds(
                Policy, width=maybe(st.integers(1, 5)), early_stop=maybe(st.floats(0, 1)), fuse=st.booleans()
            )
        ),
        context=draw(
            st.builds(
                Context, deadline=maybe(st.floats(1e-6, 99)), warm=several(words), explore=st.booleans()
            )
        ),
        calls=tuple(calls),
        judgements=draw(
            several(st.builds(Judgement, at=times, assessment=assessments, decision=decisions), 2)
        ),
        end=draw(words),
        reason=draw(words),
        answered=draw(maybe(st.integers(0, 5))),
        at=draw(numbers),
        settled=draw(st.booleans()),
        began=draw(maybe(st.integers(0, 5))),
    )


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(traces())
def test_a_trace_comes_back_exactly_from_its_json(trace: Trace) -> None:
    text = json.dumps(trace_to_record(trace), allow_nan=False)
    # By repr: NaN differs from itself, and 1 equals 1.0.
    assert repr(record_to_trace(json.loads(text))) == repr(trace)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(traces())
def test_a_routing_record_is_plain_finite_json(trace: Trace) -> None:
    record = routing_record(trace)
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_models_are_unique_in_a_record_of_several_samples() -> None:
    calls = tuple(
        CallRecord(
            call=n,
            role="crowd",
            who=who,
            purpose="policy",
            state="done",
            result=Answer(text="x", member=who),
            asked_at=0.0,
        )
        for n, who in enumerate(["m", "m", "m#2"])
    )
    record = trace_to_record(trace_of(*calls))
    assert len({response["model"] for response in record["responses"]}) == 3


def trace_of(*calls: CallRecord, judgements: tuple[Judgement, ...] = (), **changes: Any) -> Trace:
    settings = {"end": "accept", "reason": "decided", "answered": 0, "at": 1.0, **changes}
    return Trace(
        query=Query(text="q"),
        crowd=("a", "b"),
        oracles=("o",),
        router="agreement",
        policy=Policy(),
        context=Context(),
        calls=calls,
        judgements=judgements,
        **settings,
    )


def call(number: int, who: str, result: Any = None, **changes: Any) -> CallRecord:
    settings = {
        "role": "oracle" if who == "o" else "crowd",
        "purpose": "policy",
        "state": "done",
        "asked_at": 0.0,
    }
    return CallRecord(call=number, who=who, result=result, **{**settings, "ended_at": 0.5, **changes})


def judged(
    at: float, verdict: Verdict, *, chosen: int, p_fail: float = 0.25, oracle: str | None = None
) -> Judgement:
    return Judgement(
        at=at,
        assessment=Assessment(chosen=chosen, p_fail=p_fail, p_after={"o": 0.75}),
        decision=Decision(verdict=verdict, oracle=oracle, cost_barrier=0.125, u_esc=-math.inf, reason="why"),
    )


def said(text: str, usd: float | None = None, tokens: int | None = None) -> Answer:
    cost = UNKNOWN_COST if usd is None else Cost(usd=usd)
    return Answer(
        text=text, cost=cost, usage=None if tokens is None else Usage(input_tokens=tokens, output_tokens=1)
    )


ESCALATED = trace_of(
    call(0, "a", said("1", 0.25, 3)),
    call(1, "b", said("2", 0.25, 4)),
    call(2, "o", said("3", 1.0, 5), asked_at=0.5, ended_at=1.0),
    judgements=(
        judged(0.5, Verdict.ESCALATE, chosen=0, p_fail=0.5, oracle="o"),
        replace(judged(1.0, Verdict.ACCEPT, chosen=2, p_fail=0.125), after_oracle=True),
    ),
    answered=2,
)


class TestRoutingRecord:
    def test_tells_the_decision_that_routed_the_query_not_the_one_after_the_oracle(self) -> None:
        record = routing_record(ESCALATED)
        assert (record["verdict"], record["p_fail"]) == ("escalate", 0.5)

    def test_names_who_answered(self) -> None:
        assert routing_record(ESCALATED)["answered_by"] == "o"

    def test_counts_the_cost_of_crowd_and_oracle(self) -> None:
        assert routing_record(ESCALATED)["cost"] == {
            "usd": 1.5,
            "complete": True,
            "crowd": {"usd": 0.5, "complete": True},
            "oracle": {"usd": 1.0, "complete": True},
        }

    def test_takes_the_oracle_alone_from_its_own_answer(self) -> None:
        record = routing_record(ESCALATED)
        assert (record["oracle_alone"], record["saving"]) == (1.0, -0.5)

    def test_saving_is_unknown_where_the_oracle_was_not_asked(self) -> None:
        record = routing_record(trace_of(call(0, "a", said("1", 0.25))))
        assert (record["oracle_alone"], record["saving"]) == (None, None)

    def test_saving_is_against_a_counterfactual_that_the_caller_gives(self) -> None:
        record = routing_record(trace_of(call(0, "a", said("1", 0.25))), oracle_alone=Cost(usd=1.0))
        assert (record["oracle_alone"], record["saving"]) == (1.0, 0.75)

    def test_an_unknown_price_makes_the_cost_a_lower_bound_and_saving_unknown(self) -> None:
        record = routing_record(
            trace_of(call(0, "a", said("1", 0.25)), call(1, "b", said("1"))), oracle_alone=Cost(usd=1.0)
        )
        assert (record["cost"]["usd"], record["cost"]["complete"], record["saving"]) == (0.25, False, None)

    def test_a_cancelled_call_makes_the_cost_a_lower_bound(self) -> None:
        record = routing_record(trace_of(call(0, "a", said("1", 0.25)), call(1, "b", state="cancelled")))
        assert record["cost"]["complete"] is False

    def test_usage_is_by_model_and_unknown_where_a_call_has_none(self) -> None:
        record = routing_record(trace_of(call(0, "a", said("1", tokens=3)), call(1, "b", said("2"))))
        assert record["usage"] == {
            "a": {"calls": 1, "input_tokens": 3, "output_tokens": 1},
            "b": {"calls": 1, "input_tokens": None, "output_tokens": None},
        }

    def test_an_infinite_utility_is_told_as_none(self) -> None:
        assert routing_record(ESCALATED)["u_esc"] is None

    def test_a_failure_is_told_with_its_call(self) -> None:
        record = routing_record(trace_of(call(0, "a", Failure(kind="TimeoutError", message="late"))))
        assert record["calls"][0]["error"] == {"type": "TimeoutError", "message": "late"}

    def test_an_explored_oracle_is_no_escalation(self) -> None:
        explored = trace_of(
            call(0, "a", said("1")),
            call(1, "o", said("2"), purpose="exploration"),
            judgements=(judged(0.5, Verdict.ACCEPT, chosen=0),),
        )
        assert routing_record(explored)["escalated"] is False

    @pytest.mark.parametrize(("length", "clipped"), [(8000, False), (8001, True)])
    def test_says_where_texts_were_clipped(self, length: int, clipped: bool) -> None:
        assert routing_record(trace_of(call(0, "a", said("x" * length))))["clipped"] is clipped

    def test_without_judgements_there_is_no_verdict(self) -> None:
        assert routing_record(trace_of(end="fail", answered=None))["verdict"] is None


class TestRoutingJudgement:
    def test_is_the_last_word_before_an_oracle_spoke(self) -> None:
        trace = trace_of(
            judgements=(
                judged(0.25, Verdict.WAIT, chosen=0),
                judged(0.5, Verdict.ESCALATE, chosen=0, oracle="o"),
                replace(judged(0.75, Verdict.ACCEPT, chosen=0), after_oracle=True),
            ),
        )
        assert routing_judgement(trace) == trace.judgements[1]

    def test_is_none_where_the_rule_was_asked_only_afterwards(self) -> None:
        assert (
            routing_judgement(
                trace_of(judgements=(replace(judged(1, Verdict.ACCEPT, chosen=0), after_oracle=True),))
            )
            is None
        )


class TestFiles:
    LINES = (b'{"id": 1, "query": "x"}\n', b'{"id": 2, "query": "y"}\n')

    def test_records_are_read_in_order(self, tmp_path: Path) -> None:
        path = tmp_path / "records.jsonl"
        path.write_bytes(b"\n".join(self.LINES))
        assert [record["id"] for record in read_records(path)] == [1, 2]

    def test_gzip_is_told_by_its_content(self, tmp_path: Path) -> None:
        path = tmp_path / "records"
        path.write_bytes(gzip.compress(b"".join(self.LINES)))
        assert [record["id"] for record in read_records(path)] == [1, 2]

    def test_unknown_keys_are_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "records.jsonl"
        write_record(path, {"query": "x", "mine": {"a": [1]}})
        assert next(read_records(path)) == {"query": "x", "mine": {"a": [1]}}

    def test_of_a_file_cut_in_the_middle_the_good_lines_load_and_the_bad_one_is_named(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "cut.jsonl"
        path.write_bytes(b"".join(self.LINES) + b'{"id": 3, "que')
        loaded: list[int] = []
        with pytest.raises(TraceError, match=r"cut\.jsonl, line 3") as caught:
            loaded.extend(record["id"] for record in read_records(path))
        assert (loaded, caught.value.path, caught.value.line) == ([1, 2], str(path), 3)

    def test_a_part_that_is_being_written_has_its_last_line_when_that_has_an_end(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "traces.jsonl.gz.part"
        path.write_bytes(b'{"id": "a"}\n{"id": "b"}')
        assert [record["id"] for record in read_records(path)] == ["a"]
        path.write_bytes(b'{"id": "a"}\n{"id": "b"}\n{"i')
        assert [record["id"] for record in read_records(path)] == ["a", "b"]

    def test_in_a_part_too_a_bad_line_with_an_end_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "traces.jsonl.gz.part"
        path.write_bytes(b'{"id": "a"\n{"id": "b"}\n')
        with pytest.raises(TraceError, match="line 1"):
            list(read_records(path))

    def test_of_a_gzip_file_cut_in_the_middle_too(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.jsonl.gz"
        # Not compressible, so that the cut falls behind the second line.
        lines = b"".join(self.LINES) + b'{"id": 3, "query": "' + bytes(range(48, 91)) * 50 + b'"}\n'
        whole = gzip.compress(lines, compresslevel=0)
        path.write_bytes(whole[:200])
        loaded: list[int] = []
        with pytest.raises(TraceError, match=r"line 3.*cut off") as caught:
            loaded.extend(record["id"] for record in read_records(path))
        assert (loaded, caught.value.line) == ([1, 2], 3)

    def test_collecting_reads_on_behind_a_bad_line(self, tmp_path: Path) -> None:
        path = tmp_path / "bad.jsonl"
        path.write_bytes(self.LINES[0] + b"{nonsense}\n" + self.LINES[1])
        records = read_records(path, errors="collect")
        assert [record["id"] for record in records] == [1, 2]
        assert [error.line for error in records.errors] == [2]

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (b"[1]", "JSON object"),
            (b'{"format": 2}', "format 2"),
            (b'"\xff"', "line 1"),
            (b"[" * 100_000, "line 1"),
        ],
    )
    def test_a_line_that_is_no_record_is_named(self, line: bytes, said: str, tmp_path: Path) -> None:
        path = tmp_path / "bad.jsonl"
        path.write_bytes(line + b"\n")
        with pytest.raises(TraceError, match=said):
            next(read_records(path))

    def test_nan_is_written_as_null(self, tmp_path: Path) -> None:
        path = tmp_path / "records.jsonl"
        write_record(path, {"query": "x", "logprobs": [NAN, -1.0, -math.inf]})
        assert json.loads(path.read_bytes())["logprobs"] == [None, -1.0, "-inf"]

    def test_nan_of_another_writer_is_read_as_none(self, tmp_path: Path) -> None:
        path = tmp_path / "records.jsonl"
        path.write_bytes(b'{"query": "x", "score": NaN}\n')
        assert next(read_records(path))["score"] is None

    def test_an_unfinished_line_spoils_no_other(self, tmp_path: Path) -> None:
        path = tmp_path / "records.jsonl"
        path.write_bytes(b'{"id": 1, "que')
        write_record(path, {"id": 2, "query": "y"})
        assert [record["id"] for record in read_records(path, errors="collect")] == [2]

    @pytest.mark.parametrize("name", ["records.jsonl", "records.jsonl.gz"])
    def test_records_are_appended(self, name: str, tmp_path: Path) -> None:
        for number in range(3):
            write_record(tmp_path / name, {"id": number})
        assert [record["id"] for record in read_records(tmp_path / name)] == [0, 1, 2]

    def test_control_and_surrogate_characters_survive(self, tmp_path: Path) -> None:
        text = "a\x00b\ud800c\u2028\n"
        write_record(tmp_path / "records.jsonl", {"query": text})
        assert next(read_records(tmp_path / "records.jsonl"))["query"] == text

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(TraceError, match=r"none\.jsonl is not a file"):
            read_records(tmp_path / "none.jsonl")

    def test_another_way_with_errors_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="'ignore'"):
            read_records(tmp_path, errors="ignore")  # type: ignore[arg-type]


class TestQueries:
    def test_the_last_message_of_the_user_is_the_text(self) -> None:
        messages = [
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "no"},
            {"role": "user", "content": [{"type": "text", "text": "sec"}, {"type": "image"}, "ond"]},
            {"role": "tool", "content": "42"},
        ]
        assert query_of({"messages": messages}).text == "sec\nond"

    def test_without_query_and_messages_there_is_nothing_to_ask(self) -> None:
        with pytest.raises(TraceError, match="neither query nor messages"):
            query_of({"id": 7, "responses": []})

    def test_an_empty_query_is_a_query(self) -> None:
        assert query_of({"query": "", "messages": [{"role": "user", "content": "x"}]}).text == ""


class TestAnswers:
    def test_an_extracted_answer_counts_only_where_the_text_is_null(self) -> None:
        assert answer_of({"model": "m", "text": "so 5", "answer": "5"}) == Answer(member="m", text="so 5")

    def test_an_extracted_answer_stands_in_for_a_text_that_was_not_kept(self) -> None:
        assert answer_of({"model": "m", "text": None, "answer": 5}) == Answer(
            member="m", text="", extracted="5"
        )

    def test_neither_text_nor_answer_is_an_empty_answer(self) -> None:
        assert answer_of({"model": "m", "text": None, "answer": None}) == Answer(member="m", text="")

    def test_an_error_is_a_failure_without_its_key(self) -> None:
        found = answer_of(
            {"model": "m", "error": {"type": "AuthError", "message": "bad key sk-abcdef123456"}}
        )
        assert found == Failure(member="m", kind="AuthError", message="bad key [redacted]")

    def test_a_cancelled_answer_cannot_be_replayed(self) -> None:
        with pytest.raises(ReplayError, match="'m'"):
            answer_of({"model": "m", "cancelled": True})

    def test_log_probabilities_of_the_answer_are_found_in_the_whole(self) -> None:
        response = {
            "model": "m",
            "text": "x",
            "logprobs": [-1.0, -2.0, -3.0],
            "answer_logprobs": [-2.0, -3.0],
        }
        found = answer_of(response)
        assert isinstance(found, Answer)
        assert found.answer_span == (1, 3)

    def test_log_probabilities_from_elsewhere_have_no_span(self) -> None:
        found = answer_of({"model": "m", "text": "x", "logprobs": [-1.0], "answer_logprobs": [-2.0]})
        assert isinstance(found, Answer)
        assert found.answer_span is None

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("text", 5),
            ("logprobs", "none"),
            ("logprobs", ["x"]),
            ("tokens", 1.5),
            ("confidence", "high"),
            ("tool_calls", [3]),
            ("answer_span", [1]),
            ("top_logprobs", [[["a"]]]),
        ],
    )
    def test_a_malformed_value_is_named(self, key: str, value: Any) -> None:
        with pytest.raises(
            TraceError, match=key.rstrip("s").replace("_", ".").replace("token", "token count")
        ):
            answer_of({"model": "m", "text": "x", key: value})

    @given(st.one_of(answers, failures))
    def test_a_response_gives_back_what_it_was_made_of(self, result: Any) -> None:
        assert repr(answer_of(json.loads(json.dumps(response_of(result, model="m"))))) == repr(result)


def test_a_record_without_deliberation_is_no_trace() -> None:
    with pytest.raises(TraceError, match="no deliberation"):
        record_to_trace({"query": "x", "responses": []})


def test_an_incomplete_trace_names_what_is_missing() -> None:
    record = trace_to_record(ESCALATED)
    del record["deliberation"]["context"]
    with pytest.raises(TraceError, match="'context' is missing"):
        record_to_trace(record)


def test_an_impossible_policy_in_a_trace_is_an_error_of_the_trace() -> None:
    record = trace_to_record(ESCALATED)
    record["deliberation"]["policy"]["width"] = 0
    with pytest.raises(TraceError, match="width"):
        record_to_trace(record)


def test_evidence_is_kept_with_its_latency() -> None:
    gathered = call(2, "cosine", [0.5, NAN], role="gather", asked_at=0.25, ended_at=0.75, over=(0, 1))
    record = trace_to_record(replace(ESCALATED, calls=(gathered,)))
    evidence = record["deliberation"]["evidence"][0]
    assert (evidence["kind"], evidence["value"], evidence["latency"]) == ("cosine", [0.5, None], 0.5)
