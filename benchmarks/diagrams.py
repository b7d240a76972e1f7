"""Diagrams of the documentation as SVG text: the stages of a search, and the tables of the schema.

They have a white background, so that they are readable on light and dark pages.
"""

from __future__ import annotations

from html import escape

INK, MUTED, SERVER, CLIENT = "#1f2328", "#59636e", "#336791", "#b35900"
SERVER_FILL, CLIENT_FILL = "#e8eff5", "#fdf1e3"
_FONT = "font-family='Helvetica, Arial, DejaVu Sans, sans-serif'"

STAGES = (
    ("encode", "client", "encode", "one vector for each token of the query", ""),
    ("probe", "client", "probe", "the nearest centroids of each token", "{probes} centroids a token"),
    ("candidates", "server", "candidates", "one GROUP BY over postings sums centroid weights", "{candidates} passages"),
    ("interaction", "client", "interaction", "MaxSim with each token replaced by its centroid", "{decoded} passages"),
    ("codes", "server", "codes", "the residual codes of the best are read", "{megabytes} MB"),
    ("maxsim", "client", "maxsim", "decode, then exact MaxSim", "k passages, ranked"),
    ("texts", "server", "texts", "text and metadata of the hits", ""),
)

TABLES = (
    (
        "Passages",
        (
            ("collection", "a named set of passages"),
            ("passage", "text, title, metadata"),
            ("token_vector", "vectors before coding, or kept"),
            ("dense_vector", "one vector a passage"),
        ),
    ),
    (
        "Codes and postings",
        (
            ("codebook", "centroids and codec of one build"),
            ("centroid", "one k-means centre"),
            ("token_code", "all codes of a passage"),
            ("posting", "centroid → passages"),
            ("posting_code", "centroid → codes (XTR)"),
            ("word_posting", "word → passages (BM25)"),
            ("proxy_model", "what makes proxies"),
            ("proxy", "one proxy a passage"),
        ),
    ),
    (
        "Changes",
        (
            ("segment", "what one add wrote"),
            ("removed_passage", "deleted, not yet compacted"),
            ("compaction", "a compaction under way"),
            ("rebuild", "a build under way"),
            ("leftover", "empty partitions to drop"),
            ("change_lock", "locked by changes"),
            ("build_lock", "locked by builds"),
        ),
    ),
    (
        "Tables that are followed",
        (
            ("attachment", "which table, which columns"),
            ("queue", "keys of changed rows"),
            ("source_passage", "row → passages of a query"),
            ("following_lock", "locked by workers"),
        ),
    ),
    (
        "Cross-encoder (ANNCUR)",
        (
            ("score_matrix", "one cross-encoder's scores"),
            ("anchor_query", "a query with known scores"),
            ("anchor_score", "a passage's scores"),
            ("factorization", "anchor items and matrix"),
            ("anchor_item", "a passage scored first"),
            ("item_embedding", "one vector a passage"),
            ("factorization_lock", "locked by factorize"),
        ),
    ),
)
OTHER_TABLES = ("schema_version",)


def pipeline(figures: dict[str, str], milliseconds: dict[str, float]) -> str:
    """The stages of a search from top to bottom: Postgres on the right, the client on the left."""
    width, row, top = 780, 58, 76
    left, right, box = 24, 404, 352
    height = top + row * len(STAGES) + 26
    parts = [
        _text(left, 34, "Client (Python, torch)", CLIENT, 15, bold=True),
        _text(right, 34, "Postgres (SQL, pgvector)", SERVER, 15, bold=True),
        _text(left, 56, "SciFact, 5,183 passages, k = 10: median milliseconds of each stage", MUTED, 12),
    ]
    for number, (stage, side, title, what, count) in enumerate(STAGES):
        x, y = (left if side == "client" else right), top + row * number
        colour, fill = (CLIENT, CLIENT_FILL) if side == "client" else (SERVER, SERVER_FILL)
        parts.append(_box(x, y, box, row - 14, colour, fill))
        parts.append(_text(x + 12, y + 18, title, INK, 14, bold=True))
        parts.append(_text(x + 12, y + 35, what, MUTED, 12))
        if stage in milliseconds and milliseconds[stage] >= 0.2:
            parts.append(_text(x + box - 12, y + 18, f"{milliseconds[stage]:.1f} ms", colour, 12, anchor="end"))
        if count:
            other = right if side == "client" else left
            parts.append(_text(other + 40, y + 26, count.format(**figures), INK, 13))
        if number + 1 < len(STAGES):
            parts.append(
                _arrow(x + box / 2, y + row - 14, (left if STAGES[number + 1][1] == "client" else right) + box / 2, y + row)
            )
    return _card(width, height, parts, "The stages of a search")


def tables() -> str:
    """The tables of the schema by subject, with the meaning of a row."""
    width, columns, cell, row = 1040, 4, 252, 42
    parts, y = [], 20
    for heading, members in TABLES:
        parts.append(_text(20, y + 14, heading, SERVER, 14, bold=True))
        y += 24
        for number, (name, what) in enumerate(members):
            x, above = 16 + (number % columns) * cell, y + (number // columns) * (row + 8)
            parts.append(_box(x, above, cell - 8, row, SERVER, SERVER_FILL))
            parts.append(_text(x + 10, above + 17, name, INK, 13, bold=True))
            parts.append(_text(x + 10, above + 33, what, MUTED, 12))
        y += -(-len(members) // columns) * (row + 8) + 8
    return _card(width, y + 8, parts, "The tables of the schema pgretrieval")


def _card(width: int, height: int, parts: list[str], title: str) -> str:
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' {_FONT}>",
            f"<title>{escape(title)}</title>",
            "<defs><marker id='head' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
            f"<path d='M0 0L8 4L0 8z' fill='{MUTED}'/></marker></defs>",
            f"<rect width='{width}' height='{height}' rx='10' fill='#ffffff'/>",
            *parts,
            "</svg>",
            "",
        ]
    )


def _box(x: float, y: float, width: float, height: float, stroke: str, fill: str) -> str:
    return f"<rect x='{x}' y='{y}' width='{width}' height='{height}' rx='6' fill='{fill}' stroke='{stroke}'/>"


def _text(x: float, y: float, text: str, fill: str, size: int, *, bold: bool = False, anchor: str = "start") -> str:
    weight = " font-weight='bold'" if bold else ""
    return f"<text x='{x}' y='{y}' fill='{fill}' font-size='{size}' text-anchor='{anchor}'{weight}>{escape(text)}</text>"


def _arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    return f"<path d='M{x} {y}L{to_x} {to_y}' stroke='{MUTED}' fill='none' marker-end='url(#head)'/>"
