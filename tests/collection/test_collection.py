"""A collection in memory's reach: what is asked, graded, written, paid, and asked again or not after an end of any kind."""

import asyncio
import gzip
import json
import os
import resource

import pytest

from pyramid_core.collection import acollect, collect
from pyramid_core.collection.lock import Lock
from pyramid_core.collection.run import GIVE_UP_AFTER
from pyramid_core.errors import ContractError, InputError
from pyramid_core.evaluation.labels import graded_anew
from pyramid_core.records import answer_of, query_of, read_records
from pyramid_core.types import Answer, Cost, Failure, Query, ToolCall, Usage
from tests.collection.scripted import PRICE, Blocking, Scripted, numbered, pyramid_of

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "traces.jsonl.gz"


def written(path):
    return list(read_records(path))


def grades(record):
    return {response["model"]: response.get("correct") for response in record["responses"]}


def left(path):
    """What lies beside the output."""
    return sorted(beside.name for beside in path.parent.iterdir() if beside != path)


class TestRecords:
    def test_every_member_is_asked_every_question(self, out):
        a, b = Scripted("a"), Scripted("b", "It is 5.")
        found = collect(pyramid_of(a, b), numbered(3), out)
        assert found.complete
        records = written(out)
        assert [record["id"] for record in records] == ["q0", "q1", "q2"]
        assert [r["model"] for r in records[0]["responses"]] == ["a", "b", "oracle"]
        assert [r["role"] for r in records[0]["responses"]] == ["crowd", "crowd", "oracle"]
        assert sorted(a.texts) == sorted(b.texts) == ["Question 0?", "Question 1?", "Question 2?"]

    def test_they_hold_what_the_format_names(self, out):
        answer = Answer(
            text="Let me see.",
            tool_calls=(ToolCall(name="f", arguments={"x": 1}, id="c1"),),
            logprobs=(-0.5, float("nan")),
            usage=Usage(input_tokens=7, output_tokens=3),
            finish_reason="tool_calls",
            cost=PRICE.cost(Usage(input_tokens=7, output_tokens=3)),
        )
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
        row = {"id": 1, "messages": messages, "tools": [TOOL], "split": "s", "own": {"kept": True}}
        collect(pyramid_of(Scripted("a", answer)), [row], out, grade="none")
        (record,) = written(out)
        assert record["format"] == 1
        assert {key: record[key] for key in ("id", "messages", "tools", "split", "own")} == {**row, "id": "1"}
        response = record["responses"][0]
        assert response["tool_calls"] == [{"name": "f", "arguments": {"x": 1}, "id": "c1"}]
        assert (response["tokens"], response["input_tokens"]) == (3, 7)
        assert response["logprobs"] == [-0.5, None]
        assert response["latency"] >= 0
        assert response["cost"] == pytest.approx(13e-6)
        assert "correct" not in response
        assert answer_of(response).tool_calls == answer.tool_calls
        assert query_of(record).messages == tuple(messages)

    def test_members_see_messages_and_tools(self, out):
        a = Scripted("a")
        collect(pyramid_of(a), [Query(text="Why?", tools=(TOOL,), tool_choice="auto")], out, grade="none")
        assert (a.asked[0].tools, a.asked[0].tool_choice) == ((TOOL,), "auto")

    def test_a_failure_is_recorded(self, out):
        collect(pyramid_of(Scripted("a", RuntimeError("busy"))), numbered(1), out)
        (record,) = written(out)
        assert record["responses"][0]["error"] == {"type": "RuntimeError", "message": "busy"}
        assert isinstance(answer_of(record["responses"][0]), Failure)

    def test_a_key_in_a_failure_is_not(self, out):
        collect(pyramid_of(Scripted("a", RuntimeError("bad key sk-planted0123456789"))), numbered(1), out)
        assert b"planted" not in gzip.decompress(out.read_bytes())

    def test_a_member_that_blocks_is_asked_on_a_thread(self, out):
        collect(pyramid_of(Blocking("a")), numbered(2), out)
        assert grades(written(out)[1]) == {"a": True, "oracle": True}

    def test_what_stands_behind_a_name_is_kept(self, out):
        collect(pyramid_of(Scripted("a")), numbered(1), out, served_by={"a": {"model": "m"}})
        assert written(out)[0]["responses"][0]["served_by"] == {"model": "m"}

    def test_the_order_is_the_questions_whoever_answers_first(self, out):
        slow = {"Question 0?": 5, "Question 1?": 3}

        class Slow(Scripted):
            async def aask(self, query):
                for _ in range(slow.get(query.text, 0)):
                    await asyncio.sleep(0)
                return await super().aask(query)

        collect(pyramid_of(Slow("a")), numbered(4), out, concurrency=4)
        assert [record["id"] for record in written(out)] == ["q0", "q1", "q2", "q3"]

    def test_a_plain_name_makes_a_plain_file(self, tmp_path):
        out = tmp_path / "traces.jsonl"
        collect(pyramid_of(Scripted("a")), numbered(2), out)
        assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == ["q0", "q1"]
        assert left(out) == []

    def test_the_same_questions_make_the_same_file(self, tmp_path):
        def made(name):
            collect(pyramid_of(Scripted("a")), numbered(3), tmp_path / name)
            records = written(tmp_path / name)
            for response in (r for record in records for r in record["responses"]):
                response.pop("latency")
            return records

        assert made("a.jsonl.gz") == made("b.jsonl.gz")

    async def test_asynchronously_as_well(self, out):
        found = await acollect(pyramid_of(Scripted("a")), numbered(2), out)
        assert (found.complete, found.progress.done) == (True, 2)

    async def test_synchronously_within_a_loop_it_says_what_to_do(self, out):
        with pytest.raises(InputError, match="await acollect"):
            collect(pyramid_of(Scripted("a")), numbered(2), out)

    def test_so_many_questions_at_once_and_no_more(self, out):
        a = Scripted("a")
        collect(pyramid_of(a), numbered(20), out, concurrency=3)
        assert a.most_at_once == 3

    def test_a_call_that_takes_too_long_has_failed(self, out):
        class Silent(Scripted):
            async def aask(self, query):
                await asyncio.Event().wait()

        collect(pyramid_of(Silent("a")), numbered(1), out, patience=0.01)
        assert written(out)[0]["responses"][0]["error"]["type"] == "TimeoutError"


class TestGrades:
    def test_by_the_kind_of_answer(self, out):
        collect(pyramid_of(Scripted("a", "It is 5.")), numbered(1), out)
        assert grades(written(out)[0]) == {"a": False, "oracle": True}

    @pytest.mark.parametrize(
        ("query", "reference", "right", "wrong"),
        [
            ("Why?", "4", "So it is 4.", "5"),
            ("Why?", 4, "It is 4.0.", "It is 5."),
            ("Why?", "2 + 2 = 4\n#### 4", "It must be 4.", "2"),
            ("Which?\nA) one\nB) two", "B", "B) two", "A"),
            ("Who?", "Ann Lee", "ann lee", "Ben"),
            ("Who?", ["Ann Lee", "Lee"], "Lee", "Ben"),
        ],
    )
    def test_the_kind_is_what_the_reference_plainly_is(self, out, query, reference, right, wrong):
        pyramid = pyramid_of(Scripted("a", right), Scripted("b", right), oracle=Scripted("o", wrong))
        collect(pyramid, [{"query": query, "reference": reference}], out)
        assert grades(written(out)[0]) == {"a": True, "b": True, "o": False}

    def test_as_the_grader_would_grade_them_later(self, out):
        collect(pyramid_of(Scripted("a", "It is 5.")), numbered(1), out)
        for record in written(out):
            (again,) = graded_anew([record])
            assert [r["grades"] for r in again["responses"]] == [r["grades"] for r in record["responses"]]

    def test_by_a_kind_that_is_named(self, out):
        row = {"query": "Which? A) one B) two", "reference": "B"}
        collect(pyramid_of(Scripted("a", "B"), oracle=Scripted("o", "(A)")), [row], out, grade="choice")
        (record,) = written(out)
        assert grades(record) == {"a": True, "o": False}
        assert record["responses"][0]["grades"] == {"choice": True}

    def test_without_a_reference_there_is_none(self, out):
        collect(pyramid_of(Scripted("a")), ["Why?"], out)
        assert grades(written(out)[0]) == {"a": None, "oracle": None}

    def test_a_failure_has_none(self, out):
        collect(pyramid_of(Scripted("a", RuntimeError("x"))), numbered(1), out)
        assert grades(written(out)[0]) == {"a": None, "oracle": True}

    def test_by_ones_own_function(self, out):
        def mine(answer, reference, query):
            return reference in answer.text and query.text == "Question 0?"

        collect(pyramid_of(Scripted("a", "five")), numbered(1), out, grade=mine)
        assert written(out)[0]["responses"][0]["grades"] == {"mine": False}

    def test_by_programs_that_run(self, out):
        row = {"query": "Write f.", "reference": "assert f(2) == 4", "answer_type": "code"}
        good, bad = "```python\ndef f(x): return x * 2\n```", "```python\ndef f(x): return x\n```"
        collect(pyramid_of(Scripted("a", good), oracle=Scripted("o", bad)), [row], out, run_code=True)
        assert grades(written(out)[0]) == {"a": True, "o": False}

    def test_programs_do_not_run_unasked(self, out):
        row = {"query": "Write f.", "reference": "assert f(2) == 4", "answer_type": "code"}
        collect(pyramid_of(Scripted("a", "def f(x): return 1")), [row], out)
        assert grades(written(out)[0]) == {"a": None, "oracle": None}

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"grade": "numbers"}, "grade must be one of auto, none, number"),
            ({"grade": "judge"}, "there is none: describe it under"),
            ({"grade": "code"}, "your decision: pass run_code=True"),
        ],
    )
    def test_what_cannot_grade_is_refused_before_anybody_is_asked(self, out, settings, words):
        a = Scripted("a")
        with pytest.raises(InputError, match=words):
            collect(pyramid_of(a), numbered(1), out, **settings)
        assert a.asked == []
        assert not out.exists()


class TestJudge:
    def say(self, prompt):
        return "Thinking.\nYes" if "It is 4." in prompt else "no"

    def test_is_asked_about_each_different_answer_once(self, out):
        judge = Scripted("j", self.say)
        pyramid = pyramid_of(Scripted("a"), Scripted("b"), Scripted("c", "It is 5."), oracle=Scripted("o"))
        collect(pyramid, numbered(1), out, grade="judge", judge=judge)
        (record,) = written(out)
        assert grades(record) == {"a": True, "b": True, "c": False, "o": True}
        assert len(judge.asked) == 2
        assert "Question 0?" in judge.texts[0]
        assert "Reference answer:\n4" in judge.texts[0]

    def test_is_paid_for_once(self, out):
        judge = Scripted("j", self.say)
        found = collect(
            pyramid_of(Scripted("a"), oracle=Scripted("o")), numbered(1), out, grade="judge", judge=judge
        )
        assert found.progress.cost.usd == pytest.approx(3 * 120e-6)
        assert found.progress.cost.complete
        judged = [response["judged"]["cost"] for response in written(out)[0]["responses"]]
        assert judged == [pytest.approx(120e-6), 0.0]

    def test_that_says_neither_yes_nor_no_gives_no_grade(self, out):
        collect(pyramid_of(Scripted("a")), ["Why?"], out, grade="judge", judge=Scripted("j", "Perhaps."))
        assert grades(written(out)[0]) == {"a": None, "oracle": None}

    def test_that_fails_is_asked_again_and_nobody_else_is(self, out):
        a, broken, judge = Scripted("a"), Scripted("j", RuntimeError("x")), Scripted("j", self.say)
        collect(pyramid_of(a), numbered(1), out, grade="judge", judge=broken)
        assert written(out)[0]["responses"][0]["judged"]["error"]["type"] == "RuntimeError"
        assert "correct" not in written(out)[0]["responses"][0]
        collect(pyramid_of(a), numbered(1), out, grade="judge", judge=judge)
        assert grades(written(out)[0])["a"] is True
        assert len(a.asked) == 1


class TestGoingOn:
    def test_a_made_output_is_left_alone(self, out):
        a = Scripted("a")
        collect(pyramid_of(a), numbered(3), out)
        before = out.read_bytes(), out.stat().st_mtime_ns
        found = collect(pyramid_of(a), numbered(3), out)
        assert found.complete
        assert (found.progress.found, found.progress.asked) == (3, 0)
        assert (out.read_bytes(), out.stat().st_mtime_ns) == before
        assert left(out) == []

    def test_more_questions_are_added(self, out):
        a = Scripted("a")
        collect(pyramid_of(a), numbered(5), out, max_queries=2)
        assert len(written(out)) == 2
        collect(pyramid_of(a), numbered(7), out)
        assert [record["id"] for record in written(out)] == [f"q{n}" for n in range(7)]
        assert len(a.asked) == 7

    def test_only_what_failed_is_asked_again(self, out):
        a, b = Scripted("a"), Scripted("b", lambda text: RuntimeError("busy") if "1" in text else "4")
        found = collect(pyramid_of(a, b), numbered(3), out)
        assert found.failures == {"b": "RuntimeError: busy"}
        again = Scripted("b", "4")
        found = collect(pyramid_of(a, again), numbered(3), out)
        assert again.texts == ["Question 1?"]
        assert len(a.asked) == 3
        assert [grades(record)["b"] for record in written(out)] == [True, True, True]
        assert found.failures == {}

    def test_what_failed_twice_is_still_recorded(self, out):
        b = Scripted("b", RuntimeError("busy"))
        for _ in range(2):
            collect(pyramid_of(Scripted("a"), b), numbered(2), out)
        assert len(written(out)) == 2
        assert len(b.asked) == 4

    def test_a_new_member_alone_is_asked(self, out):
        a, b = Scripted("a"), Scripted("b")
        collect(pyramid_of(a), numbered(2), out)
        collect(pyramid_of(a, b), numbered(2), out)
        assert [r["model"] for r in written(out)[0]["responses"]] == ["a", "b", "oracle"]
        assert (len(a.asked), len(b.asked)) == (2, 2)

    def test_another_grade_asks_nobody(self, out):
        a = Scripted("a", "It is 5.")
        collect(pyramid_of(a), numbered(2), out, grade="none")
        collect(pyramid_of(a), numbered(2), out, grade="text")
        assert [r["grades"] for r in written(out)[0]["responses"]] == [{"text": False}, {"text": True}]
        assert len(a.asked) == 2

    def test_a_reference_that_changed_is_graded_anew(self, out):
        a = Scripted("a")
        collect(pyramid_of(a), numbered(1), out)
        collect(pyramid_of(a), [{**numbered(1)[0], "reference": "5"}], out)
        (record,) = written(out)
        assert (record["reference"], grades(record)["a"], len(a.asked)) == ("5", False, 1)

    def test_a_cut_last_line_is_cut_away(self, out):
        a = Scripted("a")
        collect(pyramid_of(a), numbered(4), out)
        part = out.with_name(f"{out.name}.part")
        lines = gzip.decompress(out.read_bytes())
        out.unlink()
        part.write_bytes(lines[:-10])
        collect(pyramid_of(a), numbered(4), out)
        assert [record["id"] for record in written(out)] == [f"q{n}" for n in range(4)]
        assert a.texts.count("Question 3?") == 2
        assert len(a.asked) == 5

    def test_a_cut_last_answer_is_cut_away(self, out):
        with pytest.raises(TypeError):
            collect(
                pyramid_of(Scripted("a"), Scripted("b", TypeError("mine"))), numbered(2), out, concurrency=2
            )
        calls = out.with_name(f"{out.name}.calls")
        lines = calls.read_bytes().splitlines(keepends=True)
        assert len(lines) == 4
        calls.write_bytes(b"".join(lines)[:-5])
        cut = json.loads(lines[-1])
        a, oracle = Scripted("a"), Scripted("oracle")
        collect(pyramid_of(a, Scripted("b"), oracle=oracle), numbered(2), out)
        assert len(a.asked) + len(oracle.asked) == 1
        again = a if cut["response"]["model"] == "a" else oracle
        assert again.texts == [f"Question {cut['id'][1:]}?"]

    def test_answers_beside_a_failure_outlive_a_second_end(self, out):
        a, b = Scripted("a"), Scripted("b", lambda text: RuntimeError("busy") if "0" in text else "It is 4.")
        assert collect(pyramid_of(a, b), numbered(3), out).complete
        with pytest.raises(TypeError):
            collect(pyramid_of(a, Scripted("b", TypeError("mine"))), numbered(3), out)
        collect(pyramid_of(a, Scripted("b")), numbered(3), out)
        assert len(a.asked) == 3
        assert [grades(record) for record in written(out)] == [{"a": True, "b": True, "oracle": True}] * 3

    def test_answers_that_are_no_longer_needed_are_taken_out_of_the_way(self, out, monkeypatch):
        sizes = []

        def told(_):
            sizes.append(out.with_name(f"{out.name}.calls").stat().st_size)

        monkeypatch.setattr("pyramid_core.collection.ledger.COMPACT_BYTES", 2000)
        collect(pyramid_of(Scripted("a")), numbered(50), out, concurrency=2, then=told)
        assert max(sizes) < 4000
        assert len(written(out)) == 50

    async def test_cancelled_it_keeps_what_was_answered(self, out):
        stuck = asyncio.Event()

        class Stuck(Scripted):
            async def aask(self, query):
                answer = await super().aask(query)
                if query.text == "Question 2?":
                    stuck.set()
                    await asyncio.Event().wait()
                return answer

        a, b = Scripted("a"), Stuck("b")
        task = asyncio.create_task(acollect(pyramid_of(a, b), numbered(6), out, concurrency=1))
        await stuck.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left(out) == [f"{out.name}.calls", f"{out.name}.part"]
        assert [record["id"] for record in written(out.with_name(f"{out.name}.part"))] == ["q0", "q1"]
        again = Scripted("b")
        await acollect(pyramid_of(a, again), numbered(6), out)
        assert sorted(a.texts) == [f"Question {n}?" for n in range(6)]
        assert sorted(again.texts) == [f"Question {n}?" for n in range(2, 6)]

    def test_a_bug_in_a_member_is_raised_and_what_was_answered_kept(self, out):
        broken = Scripted("b", lambda text: TypeError("mine") if "3" in text else "4")
        a = Scripted("a")
        with pytest.raises(TypeError, match="mine"):
            collect(pyramid_of(a, broken), numbered(5), out, concurrency=1)
        collect(pyramid_of(a, Scripted("b")), numbered(5), out)
        assert len(a.asked) == 5

    def test_a_bug_does_not_wait_for_those_who_are_still_asked(self, out):
        class Silent(Scripted):
            async def aask(self, query):
                await asyncio.Event().wait()

        with pytest.raises(TypeError, match="mine"):
            collect(pyramid_of(Silent("a"), Scripted("b", TypeError("mine"))), numbered(3), out)

    def test_a_member_that_returns_no_answer_is_a_bug(self, out):
        class Wrong(Scripted):
            async def aask(self, query):
                return "4"

        with pytest.raises(ContractError, match="member 'a' returned str"):
            collect(pyramid_of(Wrong("a")), numbered(1), out)


class TestEnding:
    def test_a_member_that_only_fails_ends_the_run(self, out):
        a, b = Scripted("a"), Scripted("b", RuntimeError("no key"))
        found = collect(pyramid_of(a, b), numbered(50), out, concurrency=2)
        assert not found.complete
        assert found.stopped == (
            f"{GIVE_UP_AFTER} calls in a row failed, the last one was of b: RuntimeError: no key"
        )
        assert GIVE_UP_AFTER <= len(b.asked) <= GIVE_UP_AFTER + 1
        assert found.out == out.with_name(f"{out.name}.part")
        assert not out.exists()
        assert len(written(found.out)) == len(b.asked)

    def test_its_failures_stay_recorded_where_a_later_run_does_not_come_to_them(self, out):
        b = Scripted("b", RuntimeError("no key"))
        found = collect(pyramid_of(Scripted("a"), b), numbered(50), out, concurrency=4)
        before = len(written(found.out))
        found = collect(pyramid_of(Scripted("a"), b), numbered(50), out, concurrency=1)
        assert len(written(found.out)) == before > GIVE_UP_AFTER

    def test_failures_that_are_not_in_a_row_do_not(self, out):
        b = Scripted("b", lambda text: "4" if text.endswith("5?") else RuntimeError("busy"))
        found = collect(pyramid_of(Scripted("a"), b), numbered(40), out, concurrency=1)
        assert (found.complete, found.progress.failed) == (True, 36)

    def test_progress_is_told(self, out):
        told = []
        collect(pyramid_of(Scripted("a")), numbered(3), out, concurrency=1, then=told.append)
        assert [at.done for at in told] == [0, 1, 2, 3]
        assert told[-1].asked == 6
        assert told[-1].cost.usd == pytest.approx(6 * 120e-6)
        assert told[-1].left == 0
        assert told[0].left is None


class TestMoney:
    EACH = 2 * 120e-6

    def test_it_stops_before_the_limit(self, out):
        a = Scripted("a")
        found = collect(pyramid_of(a), numbered(50), out, max_cost=5.5 * self.EACH)
        assert not found.complete
        assert len(a.asked) == 5
        assert found.progress.cost.usd == pytest.approx(5 * self.EACH)
        assert found.stopped.startswith("max_cost: $0.0012 of $0.00132 are spent")

    def test_the_dearest_question_so_far_must_still_fit_in(self, out):
        dear = Answer(text="4", usage=Usage(), cost=Cost(usd=0.01))
        a = Scripted("a", lambda text: dear if text == "Question 0?" else "4")
        found = collect(pyramid_of(a), numbered(9), out, max_cost=0.0215, concurrency=1)
        assert not found.complete
        assert 0.0115 < found.progress.cost.usd <= 0.0215

    def test_the_limit_is_of_the_whole_collection(self, out):
        a = Scripted("a")
        for _ in range(2):
            collect(pyramid_of(a), numbered(50), out, max_cost=5.5 * self.EACH)
        assert len(a.asked) == 5
        collect(pyramid_of(a), numbered(50), out, max_cost=8.5 * self.EACH)
        assert len(a.asked) == 8

    def test_a_price_that_is_not_known_is_refused_before_anybody_is_asked(self, out):
        a = Scripted("a", price=None)
        with pytest.raises(InputError, match="the price of a is not known, so max_cost cannot be kept"):
            collect(pyramid_of(a), numbered(5), out, max_cost=1)
        assert a.asked == []

    def test_usage_that_is_not_told_ends_the_run(self, out):
        a = Scripted("a", usage=None)
        found = collect(pyramid_of(a), numbered(5), out, max_cost=1)
        assert found.stopped == "what a costs is not known, so max_cost cannot be kept"
        assert len(a.asked) == 1

    def test_a_cost_that_is_not_known_is_a_lower_bound(self, out):
        found = collect(pyramid_of(Scripted("a", price=None)), numbered(1), out)
        assert not found.progress.cost.complete
        assert "cost" not in written(out)[0]["responses"][0]

    @pytest.mark.parametrize("limit", [0, -1, float("nan")])
    def test_a_limit_is_an_amount(self, out, limit):
        with pytest.raises(InputError, match="max_cost must be a number of USD above 0"):
            collect(pyramid_of(Scripted("a")), numbered(1), out, max_cost=limit)


class TestWrongInput:
    def refused(self, out, rows, words, **settings):
        a = Scripted("a")
        with pytest.raises(InputError, match=words):
            collect(pyramid_of(a), rows, out, **settings)
        assert a.asked == []

    def test_a_question_that_changed(self, out):
        collect(pyramid_of(Scripted("a")), numbered(2), out)
        changed = [numbered(1)[0], {"id": "q1", "query": "Another?"}]
        self.refused(out, changed, "the question 'q1' is not the one that was answered before")
        assert left(out) == []

    def test_a_question_that_changed_before_its_record_was_written(self, out):
        broken = Scripted("b", TypeError("mine"))
        with pytest.raises(TypeError):
            collect(pyramid_of(Scripted("a"), broken), numbered(1), out)
        assert out.with_name(f"{out.name}.calls").exists()
        self.refused(out, [{"id": "q0", "query": "Another?"}], "is not the one that was answered before")

    def test_questions_that_the_output_has_and_the_file_has_not(self, out):
        collect(pyramid_of(Scripted("a")), numbered(3), out)
        self.refused(out, numbered(2), "the output has a record 'q2', which the queries has not")

    def test_another_model_behind_a_name(self, out):
        collect(pyramid_of(Scripted("a")), numbered(1), out, served_by={"a": {"model": "m", "seed": 1}})
        self.refused(
            out,
            numbered(1),
            "'a' is not what answered before \\(model was 'm', is 'n'\\)",
            served_by={"a": {"model": "n", "seed": 1}},
        )

    def test_another_model_behind_a_name_whose_record_was_not_written(self, out):
        served = {"a": {"model": "m"}}
        pyramid = pyramid_of(Scripted("a"), Scripted("b", TypeError("mine")))
        with pytest.raises(TypeError):
            collect(pyramid, numbered(1), out, served_by=served)
        self.refused(out, numbered(1), "'a' is not what answered before", served_by={"a": {"model": "n"}})

    def test_an_output_that_holds_something_else(self, out):
        out.write_text("my only copy\n")
        self.refused(out, numbered(1), "is there and holds something else")
        assert out.read_text() == "my only copy\n"
        assert left(out) == []

    def test_an_output_of_other_questions(self, out):
        collect(pyramid_of(Scripted("a")), numbered(1, start=7), out)
        before = out.read_bytes()
        self.refused(out, numbered(1), "the output has a record 'q7'")
        assert out.read_bytes() == before
        assert left(out) == []

    def test_a_part_that_is_damaged(self, out):
        out.with_name(f"{out.name}.part").write_text('{"id": "q0"\n{"id": "q1"}\n')
        self.refused(out, numbered(2), "is damaged at byte 0")

    def test_an_output_that_is_a_folder(self, tmp_path):
        self.refused(tmp_path, numbered(1), "is a folder: name a file")

    def test_a_folder_that_is_not_there(self, tmp_path):
        self.refused(tmp_path / "none" / "t.jsonl.gz", numbered(1), "is not there: make it first")

    def test_a_place_that_cannot_be_written(self, out):
        out.with_name(f"{out.name}.part").mkdir()
        self.refused(out, numbered(1), "cannot be written")

    @pytest.mark.parametrize("size", [900, 1000, 1100, 1700, 1800])
    def test_a_full_disk_loses_nothing_that_was_answered(self, out, size):
        a, soft = Scripted("a"), resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, soft[1]))
        try:
            with pytest.raises(InputError, match="cannot be written any further"):
                collect(pyramid_of(a), numbered(40), out, concurrency=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, soft)
        before = len(a.asked)
        for end in ("part", "calls"):
            assert out.with_name(f"{out.name}.{end}").read_bytes().endswith(b"\n")
        collect(pyramid_of(a), numbered(40), out)
        assert len(written(out)) == 40
        assert before > 1
        assert len(a.asked) <= 41

    @pytest.mark.parametrize("name", ["concurrency", "max_queries", "patience"])
    def test_numbers_out_of_range(self, out, name):
        self.refused(out, numbered(1), f"{name} must be", **{name: 0})


class TestLock:
    def test_says_who_holds_it(self, out):
        lock = Lock(out.with_name(f"{out.name}.lock"), out)
        try:
            with pytest.raises(InputError, match=f"is being written by process {os.getpid()} on .+ since 20"):
                collect(pyramid_of(Scripted("a")), numbered(1), out)
        finally:
            lock.release()
        assert collect(pyramid_of(Scripted("a")), numbered(1), out).complete

    def test_of_a_process_that_died_does_not_matter(self, out):
        out.with_name(f"{out.name}.lock").write_text('{"process": 1, "host": "x", "since": "y"}')
        assert collect(pyramid_of(Scripted("a")), numbered(1), out).complete
        assert left(out) == []

    async def test_two_at_once_may_not_write_one_file(self, out):
        first = asyncio.create_task(acollect(pyramid_of(Scripted("a")), numbered(50), out))
        await asyncio.sleep(0)
        with pytest.raises(InputError, match="is being written by"):
            await acollect(pyramid_of(Scripted("a")), numbered(50), out)
        assert (await first).complete
