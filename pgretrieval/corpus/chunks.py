"""Texts cut into parts of a number of tokens, by semchunk: at paragraphs, lines, sentences and words, in this order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from pgretrieval import importing, validate
from pgretrieval.errors import ConfigError

CountTokens = Callable[[str], int]

_REMEMBERED = 10_000
_LONGEST_TOKEN = 64
"""Characters; of a text that is much longer than a part, semchunk counts the tokens of its start only."""

Part = tuple[int, int]
"""Offsets of a part's characters in its text."""


def count_words(text: str) -> int:
    """Return the number of words between white space."""
    return len(text.split())


def cutter(chunk: Any, overlap: Any, count_tokens: Any) -> Callable[[str], Iterator[Part]]:
    """Return the function that cuts a text; without `chunk`, a text is one part. Parts begin and end without white space.

    Raises ConfigError, and MissingExtraError without semchunk.
    """
    chunk = validate.whole_or_none("chunk", chunk)
    overlap = validate.whole_or_none("overlap", overlap, least=0)
    count_tokens = validate.called("count_tokens", count_tokens) or count_words
    if chunk is None:
        if overlap is not None:
            raise ConfigError(f"overlap is {overlap}, but chunk is not given; give chunk, or leave overlap out")
        return _whole
    if overlap is not None and overlap >= chunk:
        raise ConfigError(f"overlap is {overlap} and chunk {chunk}; give an overlap of fewer tokens than a chunk")
    with importing.extra("chunk", "files"):
        import semchunk
    counted = lru_cache(_REMEMBERED)(count_tokens)
    chunker = semchunk.chunkerify(counted, chunk, max_token_chars=_LONGEST_TOKEN, memoize=False)

    def cut(text: str) -> Iterator[Part]:
        _, offsets = chunker(text, offsets=True, overlap=overlap or None)
        return (_trimmed(text, start, end) for start, end in offsets if not text[start:end].isspace())

    return cut


def _whole(text: str) -> Iterator[Part]:
    yield _trimmed(text, 0, len(text))


def _trimmed(text: str, start: int, end: int) -> Part:
    """Return offsets without the white space at both ends."""
    part = text[start:end]
    return end - len(part.lstrip()), start + len(part.rstrip())
