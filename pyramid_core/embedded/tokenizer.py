"""Text to tokens and back: one token a number, one a word, bytes for everything else.

The vocabulary is closed and small: 3 special tokens, 256 bytes, the numbers 0 to 120, punctuation, and the words of
the toy language. A word or number that follows another token of the vocabulary implies the single space before it;
punctuation implies none. Whatever does not fit this (unknown words, other numbers, double spaces, glued words) is
spelled as UTF-8 bytes, which imply nothing. So `decode(encode(text)) == text` for every text that UTF-8 can carry; a
lone surrogate, which it cannot, becomes a question mark.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterable
from itertools import zip_longest

from pyramid_core.embedded import problems

PAD, END, ANSWER = 0, 1, 2
"""Special tokens: filler in training batches, the end of an answer, and the border between question and answer."""

_FIRST_BYTE = 3
_FIRST_NUMBER = _FIRST_BYTE + 256
_FIRST_MARK = _FIRST_NUMBER + problems.LARGEST + 1
_MARKS = (".", ",", "?", ":", ";", "!")
_FIRST_WORD = _FIRST_MARK + len(_MARKS)
_WORK_WORDS = "+ - * / = The the So answer is plus minus times divided by makes First Then".split()
_CHUNK = re.compile(r"[A-Za-z]+|[0-9]+|[^A-Za-z0-9]", re.DOTALL)


def _words() -> tuple[str, ...]:
    """Every word that a question or an answer may use, sorted."""
    told = [*problems.OPENINGS, *problems.CLOSINGS, *(w for some in problems.WORDINGS.values() for w in some)]
    text = re.sub(r"{\w+}", " ", " ".join(told))
    words = {*re.findall(r"[A-Za-z]+", text), *_WORK_WORDS, "she", "She", "her", "he", "He", "him"}
    words.update(problems.NAMES_SHE, problems.NAMES_HE, problems.THINGS, problems.CONTAINERS)
    return tuple(sorted(words))


WORDS = _words()
VOCABULARY_SIZE = _FIRST_WORD + len(WORDS)

_NUMBERS = tuple(str(n) for n in range(problems.LARGEST + 1))
_TEXTS = (*_NUMBERS, *_MARKS, *WORDS)
_IDS = {text: _FIRST_NUMBER + i for i, text in enumerate(_TEXTS)}

FINGERPRINT = hashlib.sha256("\n".join(_TEXTS).encode()).hexdigest()
"""Identifies the vocabulary; weights are of use with the one they were trained with alone."""


def number_token(number: int) -> int:
    """The token of a number in 0..120."""
    return _FIRST_NUMBER + number


def encode(text: str) -> list[int]:
    """Tokens of a text, without special tokens."""
    tokens: list[int] = []
    chunks = _CHUNK.findall(text)
    spaced = True  # whether a word token here would be decoded with exactly the space that the text has
    for chunk, after in zip_longest(chunks, chunks[1:], fillvalue=""):
        known = _IDS.get(chunk)
        if known is not None and (spaced or chunk in _MARKS):
            tokens.append(known)
            spaced = False
        elif chunk == " " and not spaced and after in _IDS and after not in _MARKS:
            spaced = True
        else:
            tokens.extend(_FIRST_BYTE + byte for byte in chunk.encode("utf-8", "replace"))
            spaced = True
    return tokens


def shown(token: int, *, after: int = ANSWER) -> str:
    """The text of one token where it follows the token `after`, with the space that it implies.

    Special tokens are shown as `<pad>`, `<end>` and `<answer>`, bytes that are no character of their own as `<0xE2>`.
    """
    if token < _FIRST_BYTE:
        return ("<pad>", "<end>", "<answer>")[token]
    if token < _FIRST_NUMBER:
        byte = token - _FIRST_BYTE
        return chr(byte) if byte < 128 else f"<0x{byte:02X}>"
    spaced = after >= _FIRST_NUMBER and not _FIRST_MARK <= token < _FIRST_WORD
    return " " + _TEXTS[token - _FIRST_NUMBER] if spaced else _TEXTS[token - _FIRST_NUMBER]


def is_number(token: int) -> bool:
    """Whether a token stands for a number in 0..120."""
    return _FIRST_NUMBER <= token < _FIRST_MARK


class Decoder:
    """Turns tokens into text one at a time, holding back the bytes of an unfinished character."""

    def __init__(self) -> None:
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")
        self._last = ANSWER

    def feed(self, token: int) -> str:
        """The text that this token adds; empty for special tokens and unfinished characters."""
        after, self._last = self._last, token
        if _FIRST_BYTE <= token < _FIRST_NUMBER:
            return self._bytes.decode(bytes([token - _FIRST_BYTE]))
        rest = self.finish()
        return rest if token < _FIRST_BYTE else rest + shown(token, after=after)

    def finish(self) -> str:
        """What an unfinished character leaves behind: a replacement character, or nothing."""
        return self._bytes.decode(b"", True)


def decode(tokens: Iterable[int]) -> str:
    """The text of some tokens; special tokens have none."""
    decoder = Decoder()
    return "".join([*(decoder.feed(token) for token in tokens), decoder.finish()])
