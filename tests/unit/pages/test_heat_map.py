"""The heat map as HTML: everything is escaped, nothing is loaded, and tables say what colours show."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from pgretrieval.pages.heat_map import CSS, fragment, page
from pgretrieval.search.explained import ComponentRank, MatchExplanation
from pgretrieval.types import Passage, TokenMatch, TokenText

EVIL = "<script>alert(\"1\")</script> & 'x' \u202e"
VOID = {"meta", "br"}


def explanation(evil: str = EVIL) -> MatchExplanation:
    """Two query tokens and three passage tokens, with the text wherever a text can be."""
    first = len(evil) + 1
    return MatchExplanation(
        query=evil,
        passage=Passage(evil, f"{evil} {evil}", evil, {evil: evil}),
        query_tokens=(TokenText(evil), TokenText(None)),
        passage_tokens=(TokenText("[CLS]"), TokenText(evil, 0, len(evil)), TokenText(None)),
        similarities=np.array([[-0.5, 1.0, 0.25], [0.1, 0.2, 0.3]], dtype=np.float32),
        score=1.3,
        matches=(
            TokenMatch(evil, 0, evil, 1, first, first + len(evil), 1.0, 1.0, False),
            TokenMatch(None, 1, None, None, None, None, 0.3, 0.3, True),
        ),
        mode="late",
        rank=None,
        ranks={"late": ComponentRank(1001, False, 1.3), "words": ComponentRank(None, True, None)},
        lacks=(f"It lacks {evil}.",),
        note=f"A note: {evil}",
    )


class Parsed(HTMLParser):
    """Tags in order, texts, and whether tags are nested properly."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_every_text_is_escaped() -> None:
    """Texts from the collection and the query become text, in attributes too, wherever they are shown."""
    for html in (fragment(explanation()), page(explanation())):
        parsed = Parsed(html)
        assert "script" not in parsed.tags
        assert "<script" not in html
        assert sum(EVIL in text for text in parsed.texts) >= 6
        assert not any(EVIL in (value or "") for _, value in parsed.attributes)
    assert f"<title>{EVIL.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')[:5]}" in page(explanation())


def test_nothing_is_loaded_from_elsewhere() -> None:
    """The page has its style, and no script, link, image or font; the fragment needs no inline style."""
    for html in (fragment(explanation()), page(explanation())):
        parsed = Parsed(html)
        assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
        assert not {"src", "href", "style", "onclick"} & {name for name, _ in parsed.attributes}
    assert "url(" not in CSS.read_text(encoding="utf-8")
    assert "@import" not in CSS.read_text(encoding="utf-8")
    assert "style" not in Parsed(fragment(explanation())).tags
    assert "default-src 'none'" in page(explanation())


def test_the_map_has_all_similarities() -> None:
    """A row for each query token, a column for each passage token, the best framed and the shades in order, with numbers."""
    html = fragment(explanation())
    table = html[html.index('<table class="match-map">') :].partition("</table>")[0]
    assert re.findall(r'<td class="heat-(\d)([^"]*)">([-.\d]+)</td>', table) == [
        ("0", "", "-0.50"),
        ("9", " match-best", "1.00"),
        ("4", "", "0.25"),
        ("4", "", "0.10"),
        ("4", "", "0.20"),
        ("5", "", "0.30"),
    ]
    assert table.count('scope="col"') == 4
    assert table.count('scope="row"') == 2
    assert "vector 2" in table  # the token that the encoder does not tell
    assert 'tabindex="0"' in html
    assert "-0.50, without colour, to 1.00" in html
    assert all(f".heat-{level} {{" in CSS.read_text(encoding="utf-8") for level in range(10))


def test_the_text_shows_the_tokens_that_won() -> None:
    """Tokens that won are marked at their offsets; overlapping ones once."""
    text = explanation("ab")
    assert '<bdi>ab <mark class="heat-9">ab</mark> ab</bdi>' in fragment(text)
    (first, second) = text.matches
    overlapping = (first, replace(first, query_position=1, start=4, similarity=0.5), second)
    assert fragment(replace(text, matches=overlapping)).count("<mark") == 1


def test_outcome_ranks_and_what_it_lacks() -> None:
    """Says in words whether the passage is a hit, its ranks, and what it lacks; imputed tokens say so."""
    html = fragment(explanation("x"))
    for said in (
        "Not a hit of the search by late interaction.",
        "at least 1,001",
        "none, imputed",
        "It lacks x.",
        "A note: x",
        "1.3000",
    ):
        assert said in html
    assert "Hit 3 of the search by late interaction." in fragment(replace(explanation(), rank=3))
    assert "Hit 1,003 of the hybrid search." in fragment(replace(explanation(), rank=1003, mode="hybrid"))
    assert "What it lacks" not in fragment(replace(explanation(), lacks=()))


def test_headings_have_the_level_asked_for() -> None:
    """A page's headings follow its title's; a fragment's those of the page that shows it."""
    assert [tag for tag in Parsed(page(explanation())).tags if tag[0] == "h" and tag[1:].isdigit()] == ["h1", *["h2"] * 5]
    assert {tag for tag in Parsed(fragment(explanation(), heading=4)).tags if tag[0] == "h"} == {"h4"}


@pytest.mark.parametrize("columns", [0, 2])
def test_texts_alone_and_flat_maps(columns: int) -> None:
    """Without similarities there is no map; equal ones have no colour."""
    flat = replace(
        explanation(),
        similarities=np.zeros((columns, columns), dtype=np.float32),
        query_tokens=(TokenText("a"),) * columns,
        passage_tokens=(TokenText("b"),) * columns,
        matches=(),
        score=None,
    )
    html = page(flat)
    assert html.count('class="heat-0') == columns**2
    assert "Score by late interaction" not in html


def test_vectors_have_no_query_text() -> None:
    """Without a text the page says so."""
    assert "Query: given by vectors" in page(replace(explanation(), query=None))
