"""Query plans of a search, and the progress of an index build."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pgretrieval.assets import statements
from pgretrieval.db.candidates import SEARCH_STATEMENTS
from pgretrieval.db.handles import IndexTables

_SQL = statements("plans")
_ROWS_WORTH_AN_INDEX = 10_000
_PROBED = 64


def slow_plans(tables: IndexTables, rank: int | None) -> list[str]:
    """Tables of over 10,000 rows that statements of a search would read entirely; `rank` is that of proxies, if there are any."""
    probed = list(range(_PROBED))
    asked: dict[str, dict[str, Any]] = {
        "tokens_of_centroids": {"centroid_ids": probed},
        "codes_of": {"passage_ids": list(range(1, _PROBED))},
        "postings_of": {"centroid_ids": probed},
    }
    if rank is not None:
        asked["centroids_by_proxy"] = {"n": 256, "vectors_per_passage": None, "query": [1.0] * rank}
    explain = _SQL["explain"] + " "
    slow = []
    for name, parameters in asked.items():
        plan = tables.value(explain + SEARCH_STATEMENTS[name], **parameters)[0]["Plan"]
        slow += [f"{name} reads all of {table}" for table in _read_whole(plan)]
    return slow


def _read_whole(node: dict[str, Any]) -> Iterator[str]:
    large = node["Plan Rows"] > _ROWS_WORTH_AN_INDEX
    if node["Node Type"].endswith("Seq Scan") and large and re.search(r"_\d+$", node.get("Relation Name", "")):
        yield node["Relation Name"]
    for child in node.get("Plans", []):
        yield from _read_whole(child)


def index_rows_done(tables: IndexTables) -> int:
    """Return the number of rows indexed so far, while another connection builds the proxies' vector index."""
    return int(tables.value(_SQL["index_rows_done"]) or 0)
