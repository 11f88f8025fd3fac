"""Programs of unknown origin, run where they can do no harm: calls and arguments go in, plain values come out.

    from pyramid_core.sandbox import Call, Sandbox
    results = Sandbox().run("def double(x): return 2 * x", [Call.of("double", 21)])
    results[0].value                                              # 42

Whatever is to be compared with a result stays on this side: `split` takes tests apart into calls and comparisons, so
that no program can read, patch or print what it is expected to return. `docs/sandbox.md` says what protects you and
what does not; every result says which protections were in place.
"""

from pyramid_core.sandbox.comparing import FUNCTION_NAMES
from pyramid_core.sandbox.programs import defines, program_of, with_imports
from pyramid_core.sandbox.sandbox import PROTECTIONS, Call, Job, Limits, Result, Sandbox
from pyramid_core.sandbox.splitting import Check, Tests, split
from pyramid_core.sandbox.values import Opaque

__all__ = [
    "FUNCTION_NAMES",
    "PROTECTIONS",
    "Call",
    "Check",
    "Job",
    "Limits",
    "Opaque",
    "Result",
    "Sandbox",
    "Tests",
    "defines",
    "program_of",
    "split",
    "with_imports",
]
