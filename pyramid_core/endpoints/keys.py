"""Where a key comes from: the environment or a file, read when it is needed and kept nowhere.

An object of this module can be printed, compared, pickled and logged: it knows where the key is, not what it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pyramid_core.errors import InputError

HIDDEN = "[redacted]"


class Secret(str):
    """A text that does not show when it is printed as a value: in a traceback with its variables, or in a dict."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(HIDDEN)


@dataclass(frozen=True, kw_only=True)
class KeySource:
    """Names an environment variable or a file, or neither for servers without keys.

    Raises:
        InputError: it names both.
    """

    env: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if self.env is not None and self.file is not None:
            raise InputError("api_key_env and api_key_file are both given: a key comes from one place")
        # A key in the place of its variable's name is the mistake that would print it everywhere.
        if self.env is not None and not self.env.isidentifier():
            raise InputError(
                "api_key_env must be the name of an environment variable, such as OPENAI_API_KEY; what was given is no such "
                "name (and is not shown, for it may be the key itself)"
            )

    def read(self) -> Secret | None:
        """The key; None where no source is named.

        Raises:
            InputError: the variable is not set, the file cannot be read, or what is there cannot be a key.
        """
        if self.env is not None:
            key, where = Secret(os.environ.get(self.env, "").strip()), f"the environment variable {self.env}"
            if not key:
                raise InputError(f"{where} is not set: put the key there, or name another by api_key_env=")
        elif self.file is not None:
            where = f"the key file {self.file}"
            try:
                key = Secret(Path(self.file).expanduser().read_text(encoding="utf-8").strip())
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is not text"
                raise InputError(f"{where} cannot be read: {why}") from None
            if not key:
                raise InputError(f"{where} is empty: put the key there")
        else:
            return None
        if not key.isascii() or not key.isprintable() or " " in key:
            raise InputError(
                f"{where} holds something that cannot be a key: blanks, line breaks or other signs"
            )
        return key


def without(text: str, key: str | None) -> str:
    """`text` with the key taken out, however a server may have quoted it."""
    return text.replace(key, HIDDEN) if key else text
