"""From shadow traces to a router, a profile and a pyramid, without a user's answer having changed on the way."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyramid_core.cli import main
from pyramid_core.collection.sink import TraceSink
from pyramid_core.configuration import ShadowBudget
from pyramid_core.embedded.problems import problems
from pyramid_core.gateway import Settings, embedded_build
from pyramid_core.records import read_records, write_record
from pyramid_core.training.labels import agreeing_with_oracle
from tests.gateway.serving import running
from tests.gateway.test_modes import eventually

CROWD = ("tiny-times", "tiny-short", "tiny-add")
NAMED = [word for name in CROWD for word in ("--crowd", name)] + ["--oracle", "oracle"]


def run(capsys, *arguments):
    """What a command prints."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    told = capsys.readouterr()
    assert ended.value.code == 0, told.err
    return told.out


def test_shadow_traces_train_and_profile_a_router_that_then_serves(tmp_path, capsys):
    traces, graded, router = tmp_path / "traces.jsonl", tmp_path / "graded.jsonl", tmp_path / "router"
    questions = [problem.question for problem in problems(20_310_102, 120, split="router")]
    settings = Settings(port=0, mode="shadow", shadow=ShadowBudget(concurrent=1000))
    with running(embedded_build("agreement"), settings, sink=TraceSink(traces)) as server:
        with ThreadPoolExecutor(8) as pool:
            answers = [response.json() for response in pool.map(server.ask, questions)]
        eventually(lambda: server.gateway.idle)
    assert {answer["pyramid"]["answered_by"] for answer in answers} == {"oracle"}

    records = list(read_records(traces))
    assert sorted(record["query"] for record in records) == sorted(questions)
    assert all({r["model"] for r in record["responses"]} == {*CROWD, "oracle"} for record in records)

    run(capsys, "train", str(traces), *NAMED, "--label", "oracle-agreement", "-o", str(router))
    for record in agreeing_with_oracle(records, crowd=CROWD, oracle="oracle"):
        write_record(graded, record)
    told = run(
        capsys,
        "profile",
        str(graded),
        *NAMED,
        "--grade",
        "oracle-agreement",
        "--router",
        str(router),
        "--json",
    )
    assert json.loads(told)

    with running(embedded_build(f"{router}/")) as server:
        record = server.ask(questions[0]).json()["pyramid"]
    assert record["router"].startswith("value/")
    assert (
        record["router"]
        == json.loads(run(capsys, "ask", questions[0], "--router", f"{router}/", "--json"))["deliberation"][
            "router"
        ]
    )
