"""The command line: `pyramid demo` and `pyramid ask`, on the models that ship inside the package.

app         what can be typed
demo        the main job: questions through the pyramid, and the figures
show        figures and deliberations as tables
terminal    what a terminal is owed: colour, a bar, a quiet end
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the interpreter with its exit code.

    Args:
        arguments: what was typed after the program's name; None: `sys.argv`.

    Raises:
        SystemExit: always. 0: done. 2: what was asked for cannot be done. 130: interrupted. 1: the reader has left.
    """
    try:
        from pyramid_core.cli.app import app

        app(args=None if arguments is None else list(arguments), prog_name="pyramid")
    except KeyboardInterrupt:
        sys.exit(130)
