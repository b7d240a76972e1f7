"""A deterministic cross-encoder without a model: scores of few directions plus noise, computed from the texts."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class TableCrossEncoder:
    """Scores pairs from a table by the last number in each text, and records the pairs."""

    def __init__(self, queries: int = 80, items: int = 400, *, rank: int = 12, noise: float = 0.02, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        decay = np.exp(-np.arange(rank) / 4)
        signal = (rng.standard_normal((queries, rank)) * decay) @ rng.standard_normal((rank, items))
        self.table: NDArray[np.float64] = signal + noise * rng.standard_normal((queries, items)) - 4
        self.fingerprint = f"table {seed}"
        self.asked: list[tuple[str, str]] = []

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        self.asked += pairs
        places = np.array([[int(re.findall(r"\d+", text)[-1]) for text in pair] for pair in pairs]).reshape(-1, 2)
        return self.table[places[:, 0], places[:, 1]]

    def best(self, query: int, k: int, among: Sequence[int] | None = None) -> list[int]:
        """The exact ranking of some items."""
        items = np.arange(300) if among is None else np.array(among)
        return items[np.argsort(-self.table[query, items], kind="stable")[:k]].tolist()


def queries(numbers: range) -> list[str]:
    """Texts that end in their numbers."""
    return [f"query {number}" for number in numbers]
