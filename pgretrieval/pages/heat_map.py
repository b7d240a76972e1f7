"""A match explanation as HTML: what the passage lacks, its ranks, the matches, and the heat map of query and passage tokens.

Every text is escaped. Colours are classes of `heat_map.css`, not inline styles, so that a page with a strict content security
policy can show the fragment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from pgretrieval.pages.page_image import patch_maps
from pgretrieval.search.explained import MatchExplanation
from pgretrieval.types import Int64Array, TokenMatch, TokenText

CSS = Path(__file__).with_name("heat_map.css")
"""Style of the fragment."""

_LEVELS = 9
_NAMES = {"late": "Late interaction", "words": "Words", "dense": "Dense vectors"}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def page(explanation: MatchExplanation, picture: str | None = None) -> str:
    """Return a page of its own, which loads nothing; `picture` is the data URI of a page image."""
    title = _name(explanation)
    query = "given by vectors" if explanation.query is None else f"<q>{_bidi(explanation.query)}</q>"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(title)}: why this passage</title>\n<style>\n{CSS.read_text(encoding='utf-8')}</style>\n</head>\n"
        f'<body class="match-page">\n<main>\n<h1>{_bidi(title)}</h1>\n<p>Query: {query}</p>\n'
        f"{fragment(explanation, heading=2, picture=picture)}</main>\n</body>\n</html>\n"
    )


def fragment(explanation: MatchExplanation, *, heading: int = 3, picture: str | None = None) -> str:
    """Return the parts below a title, to be shown in another page with the style of `CSS`; their headings have this level."""
    levels = _levels(explanation)
    sections = (
        ("", _outcome(explanation)),
        ("What it lacks", _list(explanation.lacks)),
        ("Passage", _passage(explanation, levels)),
        ("Similarities", patch_maps(explanation, picture) or _heat_map(explanation, levels)),
        ("Matches", _matches(explanation)),
        ("Ranks", _ranks(explanation)),
    )
    parts = (
        f"<section>\n{f'<h{heading}>{name}</h{heading}>' if name else ''}{body}</section>\n" for name, body in sections if body
    )
    return f'<div class="match">\n{"".join(parts)}</div>\n'


def _name(explanation: MatchExplanation) -> str:
    return explanation.passage.title or f"Passage {explanation.passage.id}"


def _outcome(explanation: MatchExplanation) -> str:
    score = "" if explanation.score is None else f" Score by late interaction: {explanation.score:.4f}."
    note = f"<p>{escape(explanation.note)}</p>\n" if explanation.note else ""
    return f'<p class="match-outcome">{explanation.outcome.capitalize()}.{score}</p>\n{note}'


def _list(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{_bidi(sentence)}</li>\n" for sentence in sentences)
    return f"<ul>\n{items}</ul>\n" if items else ""


def _ranks(explanation: MatchExplanation) -> str:
    rows = [
        (_NAMES[name], str(rank), "" if rank.score is None else f"{rank.score:.4f}") for name, rank in explanation.ranks.items()
    ]
    return _table("Rank and score by each kind of score", ("Score of", "Rank", "Score"), rows) if rows else ""


def _matches(explanation: MatchExplanation) -> str:
    rows = [
        (
            _shown(match.query_token, match.query_position),
            "none, imputed" if match.imputed else _shown(match.token, match.position),
            f"{match.similarity:.3f}",
            f"{match.share:.3f}",
        )
        for match in explanation.matches
    ]
    columns = ("Query token", "Best token of the passage", "Similarity", "Share of the score")
    return _table("The best token of the passage for each query token", columns, rows) if rows else ""


def _passage(explanation: MatchExplanation, levels: Int64Array) -> str:
    """Return the encoded text, with the tokens that won coloured by their similarity."""
    won: dict[tuple[int, int], TokenMatch] = {}
    for match in explanation.matches:
        if match.start is not None and match.end is not None:
            span = match.start, match.end
            if span not in won or match.similarity > won[span].similarity:
                won[span] = match
    text, parts, end = explanation.passage.encoded_text, [], 0
    for (start, stop), match in sorted(won.items()):
        if start < end:
            continue
        level = levels[match.query_position, match.position] if match.position is not None and levels.size else 0
        parts += [escape(text[end:start]), f'<mark class="heat-{level}">{escape(text[start:stop])}</mark>']
        end = stop
    return f'<p class="match-text"><bdi>{"".join(parts)}{escape(text[end:])}</bdi></p>\n'


def _heat_map(explanation: MatchExplanation, levels: Int64Array) -> str:
    similarities = explanation.similarities
    if not similarities.size:
        return ""
    best = {match.query_position: match.position for match in explanation.matches}
    heads = "".join(f'<th scope="col"><span>{_token(token, n)}</span></th>' for n, token in enumerate(explanation.passage_tokens))
    rows = []
    for number, (row, shades) in enumerate(zip(similarities.tolist(), levels.tolist(), strict=True)):
        cells = "".join(
            f'<td class="heat-{shade}{" match-best" if place == best.get(number) else ""}">{value:.2f}</td>'
            for place, (value, shade) in enumerate(zip(row, shades, strict=True))
        )
        rows.append(f'<tr><th scope="row">{_token(explanation.query_tokens[number], number)}</th>{cells}</tr>\n')
    caption = (
        "Inner product of each query token (rows) with each token of the passage (columns), from "
        f"{similarities.min():.2f}, without colour, to {similarities.max():.2f}. The best of each row has a frame."
    )
    return (
        f'<p>{caption}</p>\n<div class="match-scroll" role="region" aria-label="Similarities of tokens" tabindex="0">\n'
        f'<table class="match-map">\n<thead><tr><th scope="col">Query token</th>{heads}</tr></thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody>\n</table>\n</div>\n"
    )


def _levels(explanation: MatchExplanation) -> Int64Array:
    """Return the shade (query tokens, passage tokens) of each similarity: 0 for the least, 9 for the greatest."""
    similarities = explanation.similarities.astype(np.float64)
    if not similarities.size:
        return np.zeros(similarities.shape, dtype=np.int64)
    least, width = similarities.min(), np.ptp(similarities)
    levels: Int64Array = np.rint(_LEVELS * (similarities - least) / (width or 1)).astype(np.int64)
    return levels


def _table(label: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    heads = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>\n' for first, *rest in rows
    )
    return f'<table class="match-table" aria-label="{label}">\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n'


def _token(token: TokenText, number: int) -> str:
    return _shown(token.text, number)


def _shown(text: str | None, number: int | None) -> str:
    """Return a token's text, or its number if the encoder does not tell it, escaped."""
    if text is not None:
        return _bidi(text)
    return "unknown" if number is None else f"vector {number}"


def _bidi(text: str) -> str:
    """Return an escaped text that does not change the direction of what surrounds it."""
    return f"<bdi>{escape(text)}</bdi>"
