"""Whitened item embeddings can be indexed: without equal variance in all directions HNSW loses recall."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

from pgretrieval.anncur.selection import Selection
from pgretrieval.db.parameters import ADAPTERS
from tests.sql.test_anchors import ITEMS, TRAIN, Loaded, asked, await_index_scans, index_scans, solved


@pytest.mark.parametrize(
    ("decay", "noise", "popularity", "selection", "as_they_come"),
    [(10, 0.02, 0, "greedy", 1), (3, 0.02, 0, "top", 0.949), (5, 0.3, 1, "greedy", 0.974), (10, 0.1, 2, "top", 0.996)],
)
def test_inner_products_of_decaying_directions(
    database: Any, decay: float, noise: float, popularity: float, selection: Selection, as_they_come: float
):
    """Recall of unwhitened embeddings is reported; some values are below .98."""
    rng = np.random.default_rng(0)
    table = (rng.standard_normal((TRAIN + 20, 40)) * np.exp(-np.arange(40) / decay)) @ rng.standard_normal((40, ITEMS))
    table += noise * table.std() * rng.standard_normal(table.shape) - 3 * table.std()
    table += popularity * table.std() * rng.standard_normal(ITEMS)
    with psycopg.connect(database.url, autocommit=True, context=ADAPTERS) as connection:
        loaded = Loaded(table, connection, "vector", selection, solved(table, selection))
    before, shares = index_scans(database.url), []
    for query in table[TRAIN:, loaded.anchors]:
        exact = np.argsort(-(loaded.embeddings @ query))[:100]
        shares.append(np.isin(exact, [number for number, _ in asked(database.url, query, 100, by_index=True)]).mean())
    assert np.mean(shares) >= 0.99, f"as they come the share is {as_they_come}"
    await_index_scans(database.url, before + len(shares))
