"""A record that cannot be replayed is refused in words; one that can be written is."""

import json

import pytest

from pyramid_core import Answer, Pyramid, Recorded, TraceError, write_record

PYRAMID = Pyramid(crowd=[Recorded("a")], oracle=Recorded("o"))


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ("a line", "a record is str, not an object"),
        (None, "a record is NoneType, not an object"),
        ({"query": "q", "responses": {"a": 1}}, "responses is dict, not a list"),
        ({"query": "q", "responses": ["a"]}, "a response is str, not an object"),
        (
            {"query": "q", "responses": [{"model": "a", "text": "1", "asked_at": "noon"}]},
            "asked_at is 'noon'",
        ),
        ({"query": "q", "responses": [{"model": "a", "text": "1", "latency": "long"}]}, "latency is 'long'"),
    ],
)
def test_a_malformed_record_is_a_trace_error(record, what):
    with pytest.raises(TraceError, match=what):
        PYRAMID.replay(record)


def test_a_record_is_written_whatever_objects_it_holds(tmp_path):
    path = tmp_path / "records.jsonl"
    write_record(path, {"id": "1", "extra": {"seen": Answer, "share": float("nan")}})
    assert json.loads(path.read_text())["extra"] == {"seen": str(Answer), "share": None}
