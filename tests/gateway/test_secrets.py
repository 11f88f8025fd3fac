"""Planted keys: in the environment, a configuration and the server, and afterwards nowhere that anybody could look."""

import logging
import traceback

import pytest

from pyramid_core.collection.sink import TraceSink
from pyramid_core.configuration import load_configuration
from pyramid_core.gateway import Keys, Settings
from tests.endpoints.server import serving
from tests.gateway.serving import running

# Of no known form, so that no pattern helps to hide them.
UPSTREAM = "plantedUpstream5f0e1d2c3b4a"
SERVER = "plantedServer9a8b7c6d5e4f"
ADMIN = "plantedAdmin1122334455667788"
PLANTED = (UPSTREAM, SERVER, ADMIN)


async def echoes_the_key(server, asked, writer):
    """What some servers do: quote the key that they refuse."""
    words = (
        f'{{"error": {{"message": "Incorrect API key provided: {asked.headers["authorization"]}"}}}}'.encode()
    )
    head = b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % len(words) + words)
    await writer.drain()


@pytest.fixture
def written(tmp_path, monkeypatch, caplog):
    """Everything that a server with planted keys has written, shown and raised, by where that was."""
    monkeypatch.setenv("UPSTREAM_KEY", UPSTREAM)
    monkeypatch.setenv("PYRAMID_SERVER_KEY", SERVER)
    monkeypatch.setenv("PYRAMID_ADMIN_KEY", ADMIN)
    caplog.set_level(logging.DEBUG)
    found = {}
    with serving(echoes_the_key) as upstream:
        member = f'base_url = "{upstream.url}"\nmodel = "m"\napi_key_env = "UPSTREAM_KEY"\n'
        path = tmp_path / "pyramid.toml"
        path.write_text(
            f'[[crowd]]\nname = "a"\n{member}[[crowd]]\nname = "b"\n{member}[[oracle]]\nname = "o"\n{member}'
        )
        configuration = load_configuration(path)
        settings = Settings.read(configuration.server, port=0)
        sink = TraceSink(tmp_path / "traces.jsonl")
        with running(configuration.pyramid, settings, sink=sink) as server:
            assert len(upstream.asked) == 0
            headers = {"authorization": f"Bearer {SERVER}"}
            responses = [
                server.ask(headers=headers),
                server.ask(headers=headers, stream=True),
                server.ask(headers=headers, model="a"),
                server.ask(headers={"authorization": f"Bearer {SERVER}x"}),
            ]
            with server.client(headers=headers) as client:
                paths = ("/", "/metrics", "/v1/models", "/v1/status", "/nothing")
                responses += [client.get(path) for path in paths]
                admin = {"authorization": f"Bearer {ADMIN}"}
                responses.append(client.post("/admin/mode", json={"mode": "shadow"}, headers=admin))
            assert upstream.asked[0].headers["authorization"] == f"Bearer {UPSTREAM}"
            found["repr"] = repr((settings, server.gateway, configuration, vars(server.gateway)))
            try:
                configuration.pyramid().ask("six times seven?")
            except Exception as error:
                found["traceback"] = "".join(traceback.format_exception(error))
    found["responses"] = "".join(f"{one.status_code} {one.headers} {one.text}" for one in responses)
    found["log"] = caplog.text
    found["files"] = "".join(
        file.read_text(errors="replace") for file in tmp_path.iterdir() if file.suffix != ".toml"
    )
    return found


@pytest.mark.parametrize("where", ["responses", "log", "files", "repr", "traceback"])
def test_keys_are_nowhere(written, where):
    assert written[where]
    assert [key for key in PLANTED if key in written[where]] == []


def test_the_search_would_have_found_one(written):
    # What the server was told to say about the key did arrive, without the key.
    assert "Incorrect API key provided" in written["responses"]
    assert "Incorrect API key provided" in written["files"]


def test_server_keys_are_not_kept():
    assert SERVER not in repr(vars(Keys([SERVER])))
