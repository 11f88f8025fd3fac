"""What is set for a server: where it listens, whom it lets in, and what is in the configuration's table besides."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pyramid_core.configuration import Limits, Mode, ServerSettings, ShadowBudget
from pyramid_core.errors import InputError
from pyramid_core.types.numbers import check_number

MODES: tuple[Mode, ...] = get_args(Mode)

_LEAST_KEY = 16


def check_mode(mode: object) -> Mode:
    """`mode`, if it is one.

    Raises:
        InputError: it is not; lists them.
    """
    for known in MODES:
        if mode == known:
            return known
    raise InputError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")


class Keys:
    """Keys that let a caller in. Only their digests are kept, so that nothing can show them.

    Args:
        keys: the keys; one that is shorter than 16 characters can be guessed and is refused.

    Raises:
        InputError: a key is too short; does not show it.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        found = [key.strip() for key in keys]
        if any(len(key) < _LEAST_KEY for key in found):
            raise InputError(f"a server key is shorter than {_LEAST_KEY} characters: take a long random one")
        self._digests = tuple(_digest(key) for key in found)

    @classmethod
    def read(cls, *, env: str | None = None, file: str | Path | None = None) -> Keys:
        """The keys in an environment variable and in a file, one a line; none where neither holds any.

        Raises:
            InputError: the file cannot be read, or a key is too short.
        """
        texts = [os.environ.get(env, "")] if env else []
        if file is not None:
            try:
                texts.append(Path(file).read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"the file of server keys {file} cannot be read") from error
        return cls(line for text in texts for line in text.splitlines() if line.strip())

    def let_in(self, key: str) -> bool:
        """Whether `key` is one of them, in a time that does not depend on which or how nearly."""
        given = _digest(key)
        # A list, not a generator: all are compared, whichever fits.
        return any([hmac.compare_digest(given, known) for known in self._digests])  # noqa: C419

    def __bool__(self) -> bool:
        return bool(self._digests)

    def __repr__(self) -> str:
        return f"<{len(self._digests)} keys>"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a gateway serves.

    Attributes:
        host: the address to listen on; another than this machine's own needs a key.
        port: 0 takes a free one.
        mode: who answers what is asked of the pyramid; can be switched while it runs.
        keys: of callers. Without any, everybody who reaches the server is let in.
        admin_keys: of those who may switch the mode over HTTP; without any, nobody may.
        without_key: listen on the network without a key, on purpose.
        limits: how much it takes.
        shadow: what shadow mode may spend.
        log_content: write questions and answers into the log.
        seed: of the draws of shadow mode.

    Raises:
        InputError: a value is out of its range, or the network could reach a server that lets everybody in.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    mode: Mode = "pyramid"
    keys: Keys = field(default_factory=Keys)
    admin_keys: Keys = field(default_factory=Keys)
    without_key: bool = False
    limits: Limits = field(default_factory=Limits)
    shadow: ShadowBudget = field(default_factory=ShadowBudget)
    log_content: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        check_mode(self.mode)
        if not self.host:
            raise InputError(f"host must be an address, not {self.host!r}")
        check_number("port", self.port, low=0, high=65_535, whole=True)
        if not (self.local or self.keys or self.without_key):
            raise InputError(
                f"host {self.host!r} lets the network in, and there is no server key: put one into the environment "
                "variable PYRAMID_SERVER_KEY, or say --without-key to let everybody spend on your models"
            )

    @classmethod
    def read(cls, server: ServerSettings, **changed: Any) -> Settings:
        """What a configuration says, with the keys that it names.

        Args:
            server: the configuration's table.
            changed: fields that differ.

        Raises:
            InputError: a key cannot be read, or what is left cannot be served.
        """
        return cls(
            **{
                "host": server.host,
                "port": server.port,
                "mode": server.mode,
                "keys": Keys.read(env=server.api_key_env, file=server.api_key_file),
                "admin_keys": Keys.read(env=server.admin_key_env),
                "without_key": server.without_key,
                "limits": server.limits,
                "shadow": server.shadow,
                "log_content": server.log_content,
                **changed,
            }
        )

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_local(self.host)


def is_local(host: str) -> bool:
    """Whether `host` names this machine's own loopback."""
    name = host.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
