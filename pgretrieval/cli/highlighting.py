"""Hits for a terminal, with the words that matched coloured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text

from pgretrieval.cli.console import SNIPPET, errors, results, visible
from pgretrieval.types import Hit

_STYLES = ((0.9, "bold yellow"), (0.7, "yellow"))  # from this share of the greatest similarity
_WORD = re.compile(r"[^\W\u3040-\u9fff]+|\w")  # Chinese and Japanese, which have no spaces, character by character
_UNTOLD = "The encoder does not tell where its tokens are in the text, so no words are coloured."


class _Win(NamedTuple):
    """Place of a token that won in the encoded text, and its similarity as a share of the greatest of all hits."""

    start: int
    end: int
    strength: float


class _Piece(NamedTuple):
    """Part of a text, 0 strong if it did not match."""

    text: str
    strength: float


def print_highlighted(hits: Sequence[Hit]) -> None:
    """Print hits as `console.print_hits`, with matched words coloured, and of long texts the part that matches best."""
    placed = [match.similarity for hit in hits for match in hit.matches or () if match.start is not None]
    best = max(placed, default=0.0)
    for hit in hits:
        wins = _wins(hit, best)
        head = hit.title or hit.id
        results.print(f"{hit.rank:>3}", style="bold", end="")
        results.print(f"  {hit.score:7.3f}  ", end="")
        results.print(_joined(_chunks(head, 0, wins if hit.title else []), "cyan"), end="")
        results.print(f"   [{hit.id}]" if hit.title and hit.title != hit.id else "", style="dim")
        results.print(Text("      ").append_text(_snippet(_chunks(hit.text, len(hit.encoded_text) - len(hit.text), wins))))
    notes = [hit.note for hit in hits if hit.note]
    if any(hit.matches for hit in hits) and not placed:
        notes.append(_UNTOLD)
    for note in dict.fromkeys(notes):
        errors.print(note)


def _wins(hit: Hit, best: float) -> list[_Win]:
    return [
        _Win(match.start, match.end, match.similarity / best)
        for match in hit.matches or ()
        if match.start is not None and match.end is not None and match.similarity > 0
    ]


def _chunks(text: str, offset: int, wins: Sequence[_Win]) -> list[list[_Piece]]:
    """Return what spaces separate, in pieces that matched or not. A token that is a part of a word stands for the word."""
    chunks = []
    for chunk in re.finditer(r"\S+", text):
        pieces, end = [], chunk.start()
        for word in _WORD.finditer(text, chunk.start(), chunk.end()):
            found = (win.strength for win in wins if win.start < offset + word.end() and win.end > offset + word.start())
            pieces += [_Piece(text[end : word.start()], 0), _Piece(word.group(), max(found, default=0))]
            end = word.end()
        chunks.append([*pieces, _Piece(text[end : chunk.end()], 0)])
    return chunks


def _snippet(chunks: list[list[_Piece]]) -> Text:
    """Return as much of a text as is shown, from where most of it matches."""
    lengths = [sum(len(piece.text) for piece in chunk) + 1 for chunk in chunks]
    weights = [max(piece.strength for piece in chunk) if _style(chunk) else 0 for chunk in chunks]
    first, stop, best = 0, 0, -1.0
    for start in range(len(chunks)):
        end, left = start, SNIPPET + 1
        while end < len(chunks) and lengths[end] <= left:
            left -= lengths[end]
            end += 1
        if sum(weights[start:end]) > best:
            first, stop, best = start, max(end, start + 1), sum(weights[start:end])
        if end == len(chunks):
            break
    shown = _joined(chunks[first:stop])
    if len(shown) > SNIPPET:
        shown.truncate(SNIPPET)
    return Text("… " if first else "").append_text(shown).append("…" if stop < len(chunks) else "")


def _joined(chunks: Sequence[Sequence[_Piece]], style: str = "") -> Text:
    text = Text(style=style)
    for number, chunk in enumerate(chunks):
        text.append(" " if number else "")
        for piece in chunk:
            text.append(visible(piece.text), _style([piece]))
    return text


def _style(pieces: Sequence[_Piece]) -> str:
    strongest = max((piece.strength for piece in pieces), default=0)
    return next((style for least, style in _STYLES if strongest >= least), "")
