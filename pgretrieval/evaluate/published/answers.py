"""Answer matching as in DPR: a passage is relevant if it contains the words of an answer, one after the other."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from pgretrieval.evaluate.published.sets import Qrels


def relevant_passages(answers: Mapping[str, Sequence[str]], found: Mapping[str, Iterable[str]], texts: Mapping[str, str]) -> Qrels:
    """Judge the passages `found` for each query by their texts: 1 if one of its answers occurs, else 0."""
    words = {key: _joined(texts[key]) for keys in found.values() for key in keys}
    qrels: Qrels = {}
    for query, accepted in answers.items():
        wanted = [_joined(answer) for answer in accepted]
        qrels[query] = {key: int(any(answer in words[key] for answer in wanted)) for key in found.get(query, ())}
        qrels[query].setdefault("", 0)  # a query without hits is judged, too
    return qrels


def words_of(text: str) -> list[str]:
    """Return DPR's words: decomposed, lower-cased runs of letters, digits and marks, and other visible characters alone."""
    return [word.lower() for word in _pattern().findall(unicodedata.normalize("NFD", text))]


def _joined(text: str) -> str:
    """Words between line feeds, which no word contains, so that a part of the text is a sequence of whole words."""
    return "\n" + "".join(f"{word}\n" for word in words_of(text))


@cache
def _pattern() -> re.Pattern[str]:
    """Words by Unicode categories: [LNM]+, or one character that is neither Z nor C."""
    kinds: dict[str, list[str]] = {"M": [], "Z": [], "C": []}
    for number in range(sys.maxunicode + 1):
        category = unicodedata.category(chr(number))[0]
        if category in kinds:
            kinds[category].append(chr(number))
    marks, blank = _ranges(kinds["M"]), _ranges(kinds["Z"]) + _ranges(kinds["C"])
    return re.compile(rf"(?:[^\W_]|[{marks}])+|[^{blank}]")


def _ranges(characters: Sequence[str]) -> str:
    """Return the characters as ranges of a character class."""
    numbers = [ord(character) for character in characters]
    starts = [number for place, number in enumerate(numbers) if place == 0 or numbers[place - 1] != number - 1]
    ends = [number for place, number in enumerate(numbers) if place == len(numbers) - 1 or numbers[place + 1] != number + 1]
    return "".join(f"\\U{start:08x}-\\U{end:08x}" for start, end in zip(starts, ends, strict=True))
