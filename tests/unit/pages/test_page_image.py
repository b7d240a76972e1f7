"""Heat maps over a page image: cells lie where the patches are, the picture is in the page once, and nothing else is loaded."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgretrieval.encode.images import PatchGrid
from pgretrieval.errors import InputError
from pgretrieval.pages.heat_map import fragment, page
from pgretrieval.pages.page_image import patch_maps, picture_of
from pgretrieval.search.explained import MatchExplanation
from pgretrieval.types import Passage, TokenText
from tests.support.page_images import noise
from tests.unit.pages.test_heat_map import Parsed

EVIL = "\"><script>alert('1')</script>"
GRID = PatchGrid(rows=2, columns=3, first=1, vectors=8)


def explanation() -> MatchExplanation:
    """Two query tokens; the patches of a page of 300 x 200 between two words of the model, which are more similar than they."""
    similarities = np.array([[9, 0, 0, 1, 2, 2, 0.5, 9], [9, 0, 0, 0, 0, 0, 1, 9]], dtype=np.float32)
    return MatchExplanation(
        query="q",
        passage=Passage("a.pdf#1", "", "a.pdf", {"image": EVIL, "width": 300, "height": 200}),
        query_tokens=(TokenText(EVIL), TokenText(None)),
        passage_tokens=tuple(GRID.tokens()),
        similarities=similarities,
        score=3.0,
        matches=(),
        mode="late",
        rank=1,
        ranks={},
        lacks=(),
        note=None,
        patches=GRID,
    )


def test_cells_lie_on_the_patches() -> None:
    """Neighbours of one shade are one cell; what has the least similarity has none; the best has a frame and is named."""
    figures = patch_maps(explanation(), None).split("<figure>")[1:]
    assert len(figures) == 3
    assert all('viewBox="0 0 300 200"' in figure and 'transform="scale(100 100)"' in figure for figure in figures)
    cells = re.compile(r'<rect x="(\d)" y="(\d)" width="(\d)" height="1" fill-opacity="([\d.]+)"/>')
    assert cells.findall(figures[1]) == [("2", "0", "1", "0.36"), ("0", "1", "2", "0.80"), ("2", "1", "1", "0.18")]
    assert cells.findall(figures[2]) == [("2", "1", "1", "0.36")]
    assert cells.findall(figures[0]) == [("2", "0", "1", "0.36"), ("0", "1", "2", "0.80"), ("2", "1", "1", "0.36")]
    assert '<rect class="match-frame" x="0" y="1" width="1" height="1"/>' in figures[1]
    assert "best in row 2, column 1" in figures[1]
    assert "<bdi>vector 1</bdi>, best in row 2, column 3" in figures[2]
    assert "match-frame" not in figures[0]
    assert "2 × 3 patches" in patch_maps(explanation(), None)
    assert "from 0.00, without colour, to 2.00" in patch_maps(explanation(), None)


def test_the_picture_is_in_the_page_once(tmp_path: Path) -> None:
    """Maps of tokens refer to the first one's. The picture is made smaller."""
    picture = picture_of(str(noise(tmp_path / "a.png", 1, (2000, 100))))
    html = page(explanation(), picture)
    assert html.count("data:image/png;base64,") == 1
    assert html.count('<use href="#match-picture"/>') == 2
    with Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))) as image:
        assert image.size == (1400, 70)
    assert "is not shown here" not in html


def test_without_the_picture_the_patches_are_shown() -> None:
    """As in the service, which reads no files; a page says so."""
    for html in (fragment(explanation()), page(explanation())):
        assert html.count('class="match-sheet"') == 3
        assert "The picture of the page is not shown here." in html
        assert "<image" not in html


def test_a_passage_without_known_patches_has_the_table() -> None:
    assert patch_maps(replace(explanation(), patches=None), None) == ""
    assert "match-map" in fragment(replace(explanation(), patches=None))
    assert "match-map" not in fragment(explanation())


def test_texts_are_escaped_and_nothing_is_loaded() -> None:
    """Names of tokens stay texts, in attributes too; a policy that forbids inline styles can show the fragment."""
    for html in (fragment(explanation()), page(explanation(), "data:image/png;base64,AA==")):
        parsed = Parsed(html)
        assert "script" not in parsed.tags
        assert any(EVIL in text for text in parsed.texts)
        assert not any(name == "style" for name, _ in parsed.attributes)
        loaded = [value for name, value in parsed.attributes if name in ("href", "src")]
        assert all(value is not None and value.startswith(("#", "data:image/png")) for value in loaded)


def test_only_images_become_pictures(tmp_path: Path) -> None:
    """A path of the metadata that leads to another file shows nothing of it."""
    (tmp_path / "secret.txt").write_text("secret")
    with pytest.raises(InputError, match=r"secret\.txt: the image cannot be read \(cannot identify image file"):
        picture_of(str(tmp_path / "secret.txt"))
