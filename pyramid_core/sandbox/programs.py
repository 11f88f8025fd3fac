"""Programs in texts: the part of an answer that is Python.

Only syntax is looked at, and nothing is run. Every parse is of a bounded text, and quiet: a strange escape in
somebody else's string is no warning of ours.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize

MOST_CHARS = 20_000
"""A program is looked for in the end of a text, as final answers are."""

_FENCE = re.compile(r"^[ \t]{0,3}(?:```|~~~)[ \t]*([\w+#.-]*)[^\n`]*$", re.MULTILINE)
_PYTHON = {"", "python", "python3", "py", "py3", "pycon"}
_OPENS = re.compile(r"(?:async def|def|class|import|from|@|if |for |while |try:|with )|\w+ *(?:: *\w+ *)?= ?")
_UNKNOWN_ESCAPE = re.compile(r"""\\(?:[\n\\'"abfnrtvxNuU0-7]|(.))""", re.DOTALL)
_ESCAPED = re.compile(r"\\[^\n]")
_ATTEMPTS = 60


def program_of(text: str, name: str | None = None, question: str = "") -> str:
    """The program in an answer, or "" where it has none.

    A fenced block where there is one (the longest of those that define `name`), else the text without the prose
    around the code. An answer that only continues the question's code is joined to it.

    Args:
        text: the whole answer.
        name: what the program should define, where that is known.
        question: what was asked.
    """
    text = text[-MOST_CHARS:].replace("\r\n", "\n")
    blocks = _blocks(text)
    candidates = [block for block in blocks if name is None or defines(block, name)] or blocks
    program = max(candidates, key=len) if candidates else _without_prose(text)
    if name is not None and not defines(program, name):
        whole = _continued(question, text if not blocks else program, name)
        if whole is not None:
            return whole
    return program.strip("\n")


def defines(program: str, name: str) -> bool:
    """Whether the program has a line that defines `name` at its top level."""
    word = re.escape(name)
    return (
        re.search(rf"^(?:(?:async )?def|class) +{word}\b|^{word} *=(?!=)", program, re.MULTILINE) is not None
    )


def parses(program: str) -> bool:
    """Whether it is Python, as far as its syntax goes."""
    try:
        ast.parse(_ESCAPED.sub("__", program))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def parsed(source: str) -> ast.Module | None:
    """The syntax tree of a test, or None where it is not Python."""
    try:
        return ast.parse(_quiet(source))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _quiet(source: str) -> str:
    """The same source, with the backslash of unknown escapes doubled, which is what they mean."""
    if "\\" not in source:
        return source
    lines = source.splitlines(keepends=True)
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):
        return source
    for token in reversed(tokens):
        (row, start), (last, end) = token.start, token.end
        raw = "r" in token.string[:2].lower().partition("'")[0].partition('"')[0]
        if token.type == tokenize.STRING and row == last and not raw:
            line = lines[row - 1]
            doubled = _UNKNOWN_ESCAPE.sub(
                lambda found: "\\" + found[0] if found[1] else found[0], token.string
            )
            lines[row - 1] = line[:start] + doubled + line[end:]
    return "".join(lines)


def _blocks(text: str) -> list[str]:
    """The bodies of the fenced blocks that may be Python; the last may lack its end."""
    fences = list(_FENCE.finditer(text))
    found = []
    for at, opening in enumerate(fences[::2]):
        closing = fences[2 * at + 1] if 2 * at + 1 < len(fences) else None
        body = text[opening.end() + 1 : closing.start() if closing else len(text)]
        if opening[1].lower() in _PYTHON and body.strip():
            found.append(_dedented(body))
    return found


def _dedented(body: str) -> str:
    """A block without the indentation of a list item; a function's body keeps its own."""
    lines = body.split("\n")
    margin = len(lines[0]) - len(lines[0].lstrip(" "))
    if margin and _OPENS.match(lines[0][margin:]) and not parses(body):
        return "\n".join(line[margin:] if not line[:margin].strip() else line for line in lines)
    return body


def _without_prose(text: str) -> str:
    """The text itself where it is Python, else the longest part from a line of code on that is."""
    if parses(text):
        return text
    lines = text.split("\n")
    starts = [at for at, line in enumerate(lines) if _OPENS.match(line)]
    left = _ATTEMPTS
    for start in starts[:4]:
        ends = [len(lines)] + [
            at
            for at in range(len(lines) - 1, start, -1)
            if lines[at][:1].strip() and not _OPENS.match(lines[at])
        ]
        for end in ends[: _ATTEMPTS // 2]:
            part = "\n".join(lines[start:end])
            left -= 1
            if parses(part):
                return part
            if not left:
                return text
    return text


def _continued(question: str, text: str, name: str) -> str | None:
    """The question's code with the answer after it, where that defines `name`."""
    question = question[-MOST_CHARS:]
    blocks = [block for block in _blocks(question) if defines(block, name)]
    head = blocks[-1] if blocks else question
    opening = re.search(r"^(?:from|import|@|(?:async )?def|class)\b", head, re.MULTILINE)
    if opening is None or not defines(head, name):
        return None
    whole = head[opening.start() :].rstrip("\n ") + "\n" + text.lstrip("\n")
    return whole if parses(whole) else None


_MODULES = frozenset(
    "bisect collections copy datetime decimal fractions functools heapq itertools json math operator os random re"
    " statistics string sys time typing".split()
)
_FROM = {
    name: module
    for module, names in {
        "typing": "Any Callable Dict Generator Iterable Iterator List Optional Sequence Set Tuple Union",
        "collections": "Counter OrderedDict defaultdict deque namedtuple",
        "dataclasses": "dataclass field",
        "functools": "cache cmp_to_key lru_cache partial reduce",
        "heapq": "heapify heappop heappush nlargest nsmallest",
        "itertools": "accumulate chain combinations groupby permutations product zip_longest",
        "math": "ceil comb factorial floor gcd inf isqrt log pi sqrt",
        "bisect": "bisect_left bisect_right",
    }.items()
    for name in names.split()
}


def with_imports(program: str) -> str:
    """The program with the usual imports in front of it, for the names that it uses and defines nowhere.

    Models leave out what the surroundings of a function are taken to have imported.
    """
    try:
        tree = ast.parse(_ESCAPED.sub("__", program))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return program
    used: set[str] = set()
    defined: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name):
                defined.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                defined.add(name)
            case ast.arg(arg=name):
                defined.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                defined |= {(alias.asname or alias.name).partition(".")[0] for alias in names}
    missing = sorted(used - defined)
    lines = [f"import {name}" for name in missing if name in _MODULES]
    lines += [f"from {_FROM[name]} import {name}" for name in missing if name in _FROM]
    if not lines or "*" in defined or "__future__" in defined or "from __future__" in program:
        return program
    return "\n".join([*lines, program])
