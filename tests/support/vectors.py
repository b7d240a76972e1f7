"""Seeded token vectors that cluster like real ones."""

from __future__ import annotations

import numpy as np

from pgretrieval.types import Float32Array


def clustered(
    passages: int, *, dim: int = 64, directions: int = 200, tokens: tuple[int, int] = (5, 30), noise: float = 0.35, seed: int = 0
) -> list[Float32Array]:
    """One (tokens, dim) array of unit rows per passage: random directions, each with noise of the given length."""
    rng = np.random.default_rng(seed)
    centres = unit(np.random.default_rng(12345 + dim).standard_normal((directions, dim)))
    return [
        unit(centres[rng.integers(directions, size=count)] + noise * unit(rng.standard_normal((count, dim))))
        for count in rng.integers(tokens[0], tokens[1] + 1, size=passages).tolist()
    ]


def unit(rows: np.ndarray) -> Float32Array:
    """Rows of length one."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def passages(count: int, start: int = 0) -> list[dict[str, object]]:
    """Passages p0, p1, … with every field set."""
    return [
        {"id": f"p{number}", "title": f"title {number}", "text": f"text of passage {number}", "metadata": {"number": number}}
        for number in range(start, start + count)
    ]


def maxsim(query: Float32Array, vectors: Float32Array) -> float:
    """Reference MaxSim from the definition, in double precision: sum over query tokens of the best inner product."""
    return float((query.astype(np.float64) @ vectors.astype(np.float64).T).max(axis=1).sum())
