"""The heat maps of a page image: for each query token, the page with its patches coloured by their similarity.

They are SVG without styles of their own. The picture is in the first one, and the others refer to it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from html import escape
from io import BytesIO

import numpy as np

from pgretrieval.encode.images import image_size, open_image
from pgretrieval.search.explained import MatchExplanation
from pgretrieval.types import Float32Array, Int64Array

_LONGER_SIDE = 1_400
"""Pixels of a shown picture's longer side at most."""
_LEVELS = 9
_DARKEST = 0.8
_PICTURE = "match-picture"


def picture_of(path: str) -> str:
    """Return an image file as a data URI, made smaller. Raises InputError if it cannot be read."""
    image = open_image(path)
    image.thumbnail((_LONGER_SIDE, _LONGER_SIDE))
    written = BytesIO()
    image.save(written, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(written.getvalue()).decode('ascii')}"


def patch_maps(explanation: MatchExplanation, picture: str | None) -> str:
    """Return the maps, over the picture or an empty page, or nothing for a passage without known patches."""
    patches, size = explanation.patches, image_size(explanation.passage.metadata)
    if patches is None or size is None:
        return ""
    similarities = explanation.similarities[:, patches.first : patches.last].reshape(-1, patches.rows, patches.columns)
    levels = _levels(similarities)
    maps = [_figure("All query tokens", levels.max(axis=0), None, size, picture)]
    for number, (token, own) in enumerate(zip(explanation.query_tokens, levels, strict=True)):
        name = token.text or f"vector {number}"
        best = np.unravel_index(int(similarities[number].argmax()), own.shape)
        maps.append(_figure(name, own, (int(best[0]), int(best[1])), size, None if picture is None else ""))
    missing = "" if picture is not None else " The picture of the page is not shown here."
    return (
        f"<p>The page's {patches.rows} × {patches.columns} patches, coloured by their inner product with each query token, from "
        f"{similarities.min():.2f}, without colour, to {similarities.max():.2f}. The best of a token has a frame.{missing}</p>\n"
        f'<div class="match-pages">\n{"".join(maps)}</div>\n'
    )


def _figure(name: str, levels: Int64Array, best: tuple[int, int] | None, size: tuple[int, int], picture: str | None) -> str:
    """Return one map: over the given picture, over that of the first map (""), or over an empty page (None)."""
    width, height = size
    rows, columns = levels.shape
    where = "" if best is None else f", best in row {best[0] + 1}, column {best[1] + 1}"
    if picture is None:
        page = f'<rect class="match-sheet" width="{width}" height="{height}"/>'
    elif picture:
        page = f'<image id="{_PICTURE}" href="{escape(picture)}" width="{width}" height="{height}" preserveAspectRatio="none"/>'
    else:
        page = f'<use href="#{_PICTURE}"/>'
    cells = "".join(_cells(levels))
    frame = "" if best is None else f'<rect class="match-frame" x="{best[1]}" y="{best[0]}" width="1" height="1"/>'
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)}{where}">{page}'
        f'<g class="match-patches" transform="scale({width / columns:.6g} {height / rows:.6g})">{cells}{frame}</g></svg>\n'
        f"<figcaption><bdi>{escape(name)}</bdi>{where}</figcaption></figure>\n"
    )


def _cells(levels: Int64Array) -> Iterator[str]:
    """Yield a rectangle for each run of patches of one colour in a row."""
    for y, row in enumerate(levels):
        edges = np.flatnonzero(np.diff(row, prepend=-1, append=-1))
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if level := int(row[start]):
                shade = f"{_DARKEST * level / _LEVELS:.2f}"
                yield f'<rect x="{start}" y="{y}" width="{end - start}" height="1" fill-opacity="{shade}"/>'


def _levels(similarities: Float32Array) -> Int64Array:
    """Return the shade of each patch for each query token, 0 to 9, on one scale."""
    least, width = float(similarities.min()), float(np.ptp(similarities))
    levels: Int64Array = np.rint(_LEVELS * (similarities.astype(np.float64) - least) / (width or 1)).astype(np.int64)
    return levels
