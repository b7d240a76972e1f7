"""Metadata as JSON: numbers are written so that they are read back unchanged, and values are compared as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from psycopg.types.json import Jsonb

_LARGE = "e+"  # Postgres writes such a number without its exponent, and it would come back as an int


def as_jsonb(metadata: Mapping[str, Any]) -> Jsonb:
    """Metadata as a parameter of a statement."""
    return Jsonb(dict(metadata), dumps=dumps)


def dumps(value: Any) -> str:
    """The text of a value of plain JSON types, with keys in order; large floats have all their digits and `.0`."""
    text = json.dumps(value, sort_keys=True)
    return _written(value) if _LARGE in text else text


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two metadata are stored identically: the order of keys is irrelevant; 1, 1.0 and true are different values."""
    return one == other and dumps(one) == dumps(other)


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_written(item)}" for key, item in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    text = json.dumps(value)
    return f"{Decimal(text):f}.0" if isinstance(value, float) and _LARGE in text else text
