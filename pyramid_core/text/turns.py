"""A conversation's words: what is asked in it, and an answer cut into the pieces of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Message = TypeVar("Message")


def question_in(
    messages: Sequence[Message], *, asks: Callable[[Message], bool], says: Callable[[Message], str]
) -> str:
    """What is asked, in words: the user's last message that says something, or everything where there is none.

    Args:
        messages: the conversation, oldest first.
        asks: whether a message is the user's.
        says: its text.
    """
    for message in reversed(messages):
        words = says(message) if asks(message) else ""
        if words:
            return words
    return "\n".join(map(says, messages))


def pieces(text: str, size: int = 24, most: int = 64) -> Iterator[str]:
    """`text` in pieces of `size` characters that end at spaces where they can; joined they are the text.

    Pieces are longer where there would be more than some `most` of them.
    """
    size = max(size, len(text) // most)
    start = 0
    while start < len(text):
        cut = len(text) if len(text) - start <= size else text.rfind(" ", start + 1, start + size) + 1
        cut = cut if cut > start else min(start + size, len(text))
        yield text[start:cut]
        start = cut
