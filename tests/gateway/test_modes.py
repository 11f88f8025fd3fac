"""Starting in production without risk: who answers in which mode, what shadow mode may spend, what is kept."""

import json
import time

import pytest

from pyramid_core.collection.sink import TraceSink, without_texts
from pyramid_core.configuration import ShadowBudget
from pyramid_core.errors import InputError
from pyramid_core.gateway import Keys, Settings
from pyramid_core.prices import Price
from pyramid_core.records import read_records, record_to_trace
from pyramid_core.routers import ConstantRouter
from pyramid_core.types import Usage
from tests.gateway.serving import Told, running, told_build

ADMIN = "the-key-of-the-operator"


class Kept(list):
    """A sink that keeps traces in memory."""

    def __call__(self, trace, **words):
        self.append((trace, words))


def members(**oracle):
    return [Told("a"), Told("b")], Told("big", text="43", **oracle)


def eventually(true):
    """Wait until `true()`; what is done behind an answer ends at no time that a client could know."""
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until
        time.sleep(0.005)


class TestModes:
    @pytest.mark.parametrize(
        ("mode", "text", "asked"),
        [
            ("pyramid", "42", (1, 0)),
            ("crowd", "42", (1, 0)),
            ("oracle", "43", (0, 1)),
            ("shadow", "43", (1, 1)),
        ],
    )
    def test_say_who_answers_and_who_is_asked(self, mode, text, asked):
        crowd, oracle = members()
        with running(told_build(*crowd, oracle=oracle), Settings(port=0, mode=mode)) as found:
            response = found.ask()
            eventually(lambda: found.gateway.idle)
        assert response.json()["choices"][0]["message"]["content"] == text
        assert response.json()["pyramid"]["mode"] == mode
        assert (len(crowd[0].asked), len(oracle.asked)) == asked

    def test_hold_for_operating_points(self):
        crowd, oracle = members()
        with running(told_build(*crowd, oracle=oracle), Settings(port=0, mode="oracle")) as found:
            assert found.ask(model="pyramid:economy").json()["choices"][0]["message"]["content"] == "43"

    def test_leave_members_who_are_asked_by_name_alone(self):
        crowd, oracle = members()
        with running(told_build(*crowd, oracle=oracle), Settings(port=0, mode="oracle")) as found:
            assert found.ask(model="b").json()["choices"][0]["message"]["content"] == "42"

    def test_the_crowd_alone_never_escalates(self):
        crowd, oracle = members()
        build = told_build(*crowd, oracle=oracle, router=ConstantRouter(0.99))
        with running(build, Settings(port=0, mode="crowd")) as found:
            assert found.ask().json()["pyramid"]["escalated"] is False
        assert oracle.asked == []

    def test_the_oracle_streams_in_shadow_mode(self):
        crowd, oracle = members()
        with running(told_build(*crowd, oracle=oracle), Settings(port=0, mode="shadow")) as found:
            response = found.ask(stream=True)
            eventually(lambda: found.gateway.idle)
        assert '"43"' in response.text
        assert len(crowd[0].asked) == 1

    def test_are_switched_by_the_operator(self):
        crowd, oracle = members()
        settings = Settings(port=0, admin_keys=Keys([ADMIN]))
        with running(told_build(*crowd, oracle=oracle), settings) as found, found.client() as client:
            headers = {"authorization": f"Bearer {ADMIN}"}
            assert client.get("/admin/mode", headers=headers).json()["mode"] == "pyramid"
            assert (
                client.post("/admin/mode", json={"mode": "oracle"}, headers=headers).json()["mode"]
                == "oracle"
            )
            assert found.ask().json()["choices"][0]["message"]["content"] == "43"
            wrong = client.post("/admin/mode", json={"mode": "best"}, headers=headers)
        assert wrong.status_code == 400
        assert wrong.json()["error"]["param"] == "mode"

    def test_are_switched_by_nobody_where_there_is_no_operator(self):
        with running(told_build(Told("a"), oracle=Told("big"))) as found, found.client() as client:
            response = client.post("/admin/mode", json={"mode": "oracle"})
        assert response.status_code == 403


class TestShadow:
    def test_traces_hold_everybodys_answer_and_can_be_trained_on(self):
        kept = Kept()
        crowd, oracle = members()
        with running(told_build(*crowd, oracle=oracle), Settings(port=0, mode="shadow"), sink=kept) as found:
            found.ask()
            eventually(lambda: found.gateway.idle)
        [(trace, words)] = kept
        assert words == {"mode": "shadow"}
        assert [(call.who, call.result.text) for call in trace.calls] == [
            ("a", "42"),
            ("b", "42"),
            ("big", "43"),
        ]
        assert trace.context.propensity == 1.0
        assert trace.judgements[0].decision.verdict == "accept"

    def test_the_oracles_answer_keeps_its_own_time_and_is_paid_once(self):
        kept = Kept()
        price, usage = Price(input=0.001, output=0.001), Usage(input_tokens=5, output_tokens=5)
        crowd, oracle = members(price=price, usage=usage)
        with running(told_build(*crowd, oracle=oracle), Settings(port=0, mode="shadow"), sink=kept) as found:
            answered = found.ask().json()
            eventually(lambda: found.gateway.idle)
            assert found.gateway.metrics.cost.value("oracle") == pytest.approx(0.01)
        [(trace, _)] = kept
        assert trace.calls[-1].result.elapsed == pytest.approx(answered["pyramid"]["seconds"])

    def test_a_crowd_that_fails_costs_the_user_nothing(self):
        crowd = [Told("a", error=ConnectionError("away")), Told("b", error=TypeError("a bug"))]
        with running(told_build(*crowd, oracle=Told("big")), Settings(port=0, mode="shadow")) as found:
            assert found.ask().status_code == 200
            eventually(lambda: found.gateway.idle)
            assert found.ask().status_code == 200

    @pytest.mark.parametrize(
        ("budget", "why", "asked"),
        [
            (ShadowBudget(share=0.0), "share", 0),
            (ShadowBudget(usd=0.015), "budget", 2),
            (ShadowBudget(usd=0.0), "budget", 0),
        ],
    )
    def test_stays_within_its_budget(self, budget, why, asked):
        price, usage = Price(input=0.001, output=0.001), Usage(input_tokens=5, output_tokens=5)
        member = Told("a", price=price, usage=usage)
        settings = Settings(port=0, mode="shadow", shadow=budget)
        with running(told_build(member, oracle=Told("big")), settings) as found:
            for _ in range(4):
                assert found.ask().status_code == 200
                eventually(lambda: found.gateway.idle)
            assert found.gateway.metrics.shadow_skipped.value(why) == 4 - asked
        assert len(member.asked) == asked

    def test_asks_no_more_crowds_at_once_than_it_may(self):
        import threading

        wait = threading.Event()
        member = Told("a", wait=wait)
        settings = Settings(port=0, mode="shadow", shadow=ShadowBudget(concurrent=2))
        with running(told_build(member, oracle=Told("big")), settings) as found:
            for _ in range(5):
                found.ask()
            eventually(lambda: len(member.asked) == 2)
            assert found.gateway.metrics.shadow_skipped.value("busy") == 3
            wait.set()


class TestExploring:
    def test_asks_the_oracle_of_accepted_queries_and_keeps_the_propensity(self):
        kept = Kept()
        crowd, oracle = members()
        build = told_build(*crowd, oracle=oracle, router=ConstantRouter(0.0), explore=1.0)
        with running(build, sink=kept) as found:
            assert found.ask().json()["choices"][0]["message"]["content"] == "42"
            eventually(lambda: kept)
        [(trace, _)] = kept
        assert trace.context.propensity == 1.0
        assert [call.purpose for call in trace.calls if call.who == "big"] == ["exploration"]

    def test_is_waited_for_when_the_server_stops(self):
        import threading

        wait, kept = threading.Event(), Kept()
        oracle = Told("big", wait=wait)
        build = told_build(Told("a"), Told("b"), oracle=oracle, router=ConstantRouter(0.0), explore=1.0)
        with running(build, sink=kept) as found:
            found.ask()
            assert oracle.started.wait(10)
            assert not found.gateway.idle
            threading.Timer(0.2, wait.set).start()
        assert [call.state for call in kept[0][0].calls if call.who == "big"] == ["done"]


class TestTraceSink:
    def sink(self, folder, **settings):
        return TraceSink(folder / "traces.jsonl", **settings)

    def served(self, sink, n=1):
        with running(told_build(Told("a"), Told("b"), oracle=Told("big")), sink=sink) as found:
            for _ in range(n):
                found.ask("my secret question")

    def test_writes_records_that_can_be_replayed(self, tmp_path):
        self.served(self.sink(tmp_path), n=3)
        records = list(read_records(tmp_path / "traces.jsonl"))
        assert [record["mode"] for record in records] == ["pyramid"] * 3
        assert record_to_trace(records[0]).end == "accept"

    def test_is_let_go_of_when_the_server_stops(self, tmp_path):
        self.served(self.sink(tmp_path))
        self.sink(tmp_path).close()

    def test_redacts_before_it_writes(self, tmp_path):
        self.served(self.sink(tmp_path, redact=without_texts))
        written = (tmp_path / "traces.jsonl").read_text()
        assert "secret" not in written
        assert '"42"' not in written
        assert record_to_trace(json.loads(written)).end == "accept"

    def test_hooks_follow_each_other_and_may_drop_a_record(self, tmp_path):
        seen = []

        def mark(record):
            return {**record, "marked": len(seen)}

        def drop_every_other(record):
            seen.append(record["marked"])
            return record if len(seen) % 2 else None

        self.served(self.sink(tmp_path, redact=[mark, drop_every_other]), n=4)
        assert [record["marked"] for record in read_records(tmp_path / "traces.jsonl")] == [0, 2]

    def test_writes_nothing_where_a_redaction_fails(self, tmp_path, caplog):
        def fails(record):
            raise KeyError("no such field")

        sink = self.sink(tmp_path, redact=fails)
        self.served(sink)
        assert not (tmp_path / "traces.jsonl").exists()
        assert (sink.written, sink.dropped) == (0, 1)
        assert "was not written" in caplog.text

    def test_begins_a_new_file_when_one_is_full_and_keeps_the_newest(self, tmp_path):
        sink = self.sink(tmp_path, max_bytes=1, keep=2)
        self.served(sink, n=5)
        full = sorted(tmp_path.glob("traces.*T*.jsonl"))
        assert len(full) == 2
        assert all(len(list(read_records(path))) == 1 for path in (*full, tmp_path / "traces.jsonl"))

    def test_drops_what_it_cannot_write_in_time_and_counts_it(self, tmp_path, caplog):
        import threading

        wait = threading.Event()

        def slow(record):
            wait.wait(10)
            return record

        sink = self.sink(tmp_path, redact=slow, pending=1)
        with running(told_build(Told("a"), Told("b"), oracle=Told("big")), sink=sink) as found:
            for _ in range(5):
                assert found.ask().status_code == 200
            wait.set()
        assert sink.written + sink.dropped == 5
        assert sink.dropped >= 2

    def test_two_do_not_write_one_file(self, tmp_path):
        first = self.sink(tmp_path)
        with pytest.raises(InputError, match="being written by"):
            self.sink(tmp_path)
        first.close()

    @pytest.mark.parametrize("settings", [{"max_bytes": 0}, {"keep": -1}, {"pending": 0}])
    def test_settings_are_checked(self, tmp_path, settings):
        with pytest.raises(InputError):
            self.sink(tmp_path, **settings)
