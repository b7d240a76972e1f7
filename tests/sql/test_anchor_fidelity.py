"""Embeddings of decaying directions, as those of [EMB] cross-encoders, lead a vector index astray that does not look far."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

from tests.sql.test_anchors import ITEMS, TRAIN, Loaded, asked

pytestmark = pytest.mark.both_versions


def test_inner_products_of_decaying_directions(module_database: Any):
    """With hnsw.ef_search at twice the number wanted the share is .973."""
    rng = np.random.default_rng(0)
    table = (rng.standard_normal((TRAIN + 20, 40)) * np.exp(-np.arange(40) / 10)) @ rng.standard_normal((40, ITEMS))
    table += 0.02 * table.std() * rng.standard_normal(table.shape) - 3 * table.std()
    shares = []
    with psycopg.connect(module_database.url, autocommit=True) as connection:
        loaded = Loaded(table, connection, "vector", "greedy")
    for query in table[TRAIN:, loaded.anchors]:
        exact = np.argsort(-(loaded.embeddings @ query))[:100]
        shares.append(np.isin(exact, [number for number, _ in asked(module_database.url, query, 100)]).mean())
    assert np.mean(shares) >= 0.99
