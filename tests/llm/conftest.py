"""Real models under llama.cpp's own server; only where `make test-llm` has fetched them and says where they are."""

import os
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

HERE = Path(__file__).parent
FOLDER = os.environ.get("PYRAMID_LLM")
READY_SECONDS = 120.0


def pytest_collection_modifyitems(items):
    if FOLDER is None:
        mark = pytest.mark.skip(reason="real models are asked by `make test-llm` only")
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(mark)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def nobody():
    """Who runs the server: not root, where that can be chosen, nor whom the sandbox counts the processes of."""
    return {"user": 65533, "group": 65533, "extra_groups": []} if os.geteuid() == 0 else {}


def started(model, slots=2):
    """The server's process and its address, once it answers."""
    folder = Path(str(FOLDER)).resolve()
    port = free_port()
    command = [folder / "server/bin/python", HERE / "serve.py", folder / f"{model}.gguf", port, model, slots]
    process = subprocess.Popen(
        [str(part) for part in command],
        env={"OMP_WAIT_POLICY": "passive", "PATH": os.environ["PATH"]},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **nobody(),
    )
    url = f"http://127.0.0.1:{port}"
    ends = time.monotonic() + READY_SECONDS
    while time.monotonic() < ends:
        assert process.poll() is None, f"the server of {model} has ended with {process.returncode}"
        try:
            if httpx.get(f"{url}/health", trust_env=False, timeout=5).status_code == 200:
                return process, f"{url}/v1"
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    process.kill()
    pytest.fail(f"the server of {model} is not ready after {READY_SECONDS:g} s")


def model(name):
    """A fixture with the address of a model's server."""

    @pytest.fixture(scope="session", name=name)
    def serving():
        process, url = started({"small": "smollm2-135m", "medium": "qwen2.5-coder-0.5b"}[name])
        yield url
        process.terminate()
        process.wait(30)

    return serving


small, medium = model("small"), model("medium")
