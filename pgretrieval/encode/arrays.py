"""Checks of what an encoder returned, and its form as unit-length float32 rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from pgretrieval.errors import EncoderError
from pgretrieval.types import Float32Array


def unit_rows(values: Any, label: str) -> Float32Array:
    """(tokens, dim) float32 with rows of length 1, from a numpy array, torch tensor or nested list.

    `label` names the text in errors.
    """
    array = _as_float32(values, label)
    if array.ndim != 2 or array.shape[1] == 0:
        raise EncoderError(
            f"the encoder returned an array of shape {array.shape} for {label}; return (tokens, dim) for every text"
        )
    if len(array) == 0:
        raise EncoderError(f"the encoder returned no token vectors for {label}; return at least one row")
    squares = np.einsum("ij,ij->i", array, array, dtype=np.float64)
    if not np.isfinite(squares).all():
        row = int(np.flatnonzero(~np.isfinite(squares))[0])
        raise EncoderError(f"row {row} of the token vectors of {label} holds NaN or infinity; return finite numbers")
    if not squares.all():
        row = int(np.flatnonzero(squares == 0)[0])
        raise EncoderError(f"row {row} of the token vectors of {label} is all zeros; leave such rows out")
    return np.ascontiguousarray(array / np.sqrt(squares)[:, None], dtype=np.float32)


def unit_row_list(
    returned: Any, count: int, label: Callable[[int], str], method: str, dim: int | None
) -> list[Float32Array]:
    """One checked array per text, all of width `dim` (or of the first array's width where `dim` is None)."""
    items = _as_list(returned, method)
    if len(items) != count:
        where = f"{label(len(items))} has none" if len(items) < count else f"{label(count - 1)} is the last"
        raise EncoderError(
            f"{method} returned {len(items)} arrays for {count} texts ({where}); return one (tokens, dim) array per text"
        )
    arrays: list[Float32Array] = []
    for number, item in enumerate(items):
        array = unit_rows(item, label(number))
        dim = dim or array.shape[1]
        if array.shape[1] != dim:
            raise EncoderError(
                f"{method} returned vectors of dimension {array.shape[1]} for {label(number)} but {dim} before; "
                "queries and documents need one dimension"
            )
        arrays.append(array)
    return arrays


def quote(texts: Sequence[str], number: int) -> str:
    """How errors name text `number`: its position from 0 and its beginning."""
    text = texts[number]
    return f"text {number} ({text[:60]!r}{'…' if len(text) > 60 else ''})"


def _as_list(returned: Any, method: str) -> list[Any]:
    if isinstance(returned, Iterable) and not isinstance(returned, (str, bytes, dict)):
        return list(returned)
    raise EncoderError(
        f"{method} returned {type(returned).__name__}; return a list with one (tokens, dim) array per text"
    )


def _as_float32(values: Any, label: str) -> Float32Array:
    if hasattr(values, "detach"):  # a torch tensor, of any device and precision
        values = values.detach().cpu().float().numpy()
    try:
        return np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EncoderError(
            f"the encoder returned {type(values).__name__} for {label}, which is no (tokens, dim) array of numbers"
        ) from error
