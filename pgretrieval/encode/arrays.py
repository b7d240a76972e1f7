"""Validation of encoder results, and their conversion to float32 rows of unit length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any

import numpy as np

from pgretrieval.errors import EncoderError
from pgretrieval.types import Float32Array, TokenText


def unit_rows(values: Any, label: str, *, unit: bool = True) -> Float32Array:
    """Return (tokens, dim) float32 with rows of unit length, from a numpy array, torch tensor or nested list.

    `label` names the text in errors. Without `unit`, rows keep their lengths but are checked.
    """
    array = _as_float32(values, label)
    if array.ndim != 2 or array.shape[1] == 0:
        raise EncoderError(f"the encoder returned an array of shape {array.shape} for {label}; return (tokens, dim) for every text")
    if len(array) == 0:
        raise EncoderError(f"the encoder returned no token vectors for {label}; return at least one row")
    squares = np.einsum("ij,ij->i", array, array, dtype=np.float64)
    if not np.isfinite(squares).all():
        row = int(np.flatnonzero(~np.isfinite(squares))[0])
        raise EncoderError(f"row {row} of the token vectors of {label} contains NaN or infinity; return finite numbers")
    if not squares.all():
        row = int(np.flatnonzero(squares == 0)[0])
        raise EncoderError(f"row {row} of the token vectors of {label} is all zeros; leave such rows out")
    return np.ascontiguousarray(array / np.sqrt(squares)[:, None] if unit else array, dtype=np.float32)


def unit_row_list(returned: Any, labels: Sequence[str], method: str, dim: int | None, *, unit: bool = True) -> list[Float32Array]:
    """Return one checked array for each text, all of width `dim`, or of the first array's width if `dim` is None.

    `labels` name the texts in errors; `unit` is that of `unit_rows`.
    """
    items = _as_list(returned, method)
    if len(items) != len(labels):
        where = f"{labels[len(items)]} has none" if len(items) < len(labels) else f"{labels[-1]} was the last"
        raise EncoderError(
            f"{method} returned {len(items)} arrays for {len(labels)} texts ({where}); return one (tokens, dim) array per text"
        )
    arrays: list[Float32Array] = []
    for item, label in zip(items, labels, strict=True):
        array = unit_rows(item, label, unit=unit)
        dim = dim or array.shape[1]
        if array.shape[1] != dim:
            raise EncoderError(
                f"{method} returned vectors of dimension {array.shape[1]} for {label} but {dim} before; "
                "queries and documents need the same dimension"
            )
        arrays.append(array)
    return arrays


def token_texts(returned: Any, texts: Sequence[str], method: str) -> list[list[TokenText]]:
    """Return the tokens of each text, checked: a text or None each, and offsets of characters inside the text, or None."""
    items = _as_list(returned, method)
    if len(items) != len(texts):
        raise EncoderError(f"{method} returned {len(items)} lists for {len(texts)} texts; return one list of tokens per text")
    return [
        [_token(token, len(text), method, quote(text, number)) for token in tokens]
        for number, (tokens, text) in enumerate(zip(items, texts, strict=True))
    ]


def _token(given: Any, length: int, method: str, label: str) -> TokenText:
    try:
        text, start, end = given
        if isinstance(text, str | None):
            if start is None and end is None:
                return TokenText(text)
            first, last = index(start), index(end)
            if 0 <= first <= last <= length:
                return TokenText(text, first, last)
    except (TypeError, ValueError):
        pass
    raise EncoderError(
        f"{method} returned the token {given!r} of {label}; return (text, start, end) with offsets from 0 to {length}, or None for "
        "both"
    )


def surface(token: str, text: str, start: int, end: int) -> tuple[str, int | None, int | None]:
    """Return a tokenizer's token by its characters in the text, without the spaces around them, or itself if it has none."""
    part = text[start:end]
    if not part.strip():
        return token, None, None
    start += len(part) - len(part.lstrip())
    return part.strip(), start, start + len(part.strip())


def quote(text: str, number: int) -> str:
    """Return the name of a text in errors: its position from 0 and its beginning."""
    return f"text {number} ({text[:60]!r}{'…' if len(text) > 60 else ''})"


def _as_list(returned: Any, method: str) -> list[Any]:
    if isinstance(returned, Iterable) and not isinstance(returned, (str, bytes, dict)):
        return list(returned)
    raise EncoderError(f"{method} returned {type(returned).__name__}; return a list with one (tokens, dim) array per text")


def _as_float32(values: Any, label: str) -> Float32Array:
    if hasattr(values, "detach"):  # a torch tensor, of any device and precision
        values = values.detach().cpu().float().numpy()
    try:
        return np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EncoderError(
            f"the encoder returned {type(values).__name__} for {label}, which is not a (tokens, dim) array of numbers"
        ) from error
