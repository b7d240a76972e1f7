"""Arrays of numbers as binary parameters of statements, without formatting each number."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
from psycopg.adapt import AdaptersMap, Buffer, Dumper, Loader
from psycopg.postgres import register_default_adapters
from psycopg.pq import Format

from pgretrieval.db import wire
from pgretrieval.types import Float32Array, Int32Array


class Int4Array:
    """An (n,) array sent as `int4[]`."""

    def __init__(self, values: Int32Array) -> None:
        self.field = wire.int4_array(np.asarray(values, dtype=np.int32))


class Float4Array:
    """An (n,) array sent as `float4[]`."""

    def __init__(self, values: Float32Array) -> None:
        self.field = wire.float4_array(np.asarray(values, dtype=np.float32))


class Field(bytes):
    """A value in the binary form of its column's type, which the server infers."""


def vector_array(rows: Float32Array) -> str:
    """(tokens, dim) -> the text of a `vector[]`."""
    return "{" + ",".join('"[' + ",".join(map(repr, row)) + ']"' for row in rows.tolist()) + "}"


def vector(row: Float32Array) -> str:
    """(dim,) -> the text of a `vector`."""
    return "[" + ",".join(map(repr, row.tolist())) + "]"


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Any) -> bytes:
        """The field unchanged."""
        return bytes(obj.field)


class _FieldDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Any) -> bytes:
        """The value unchanged."""
        return bytes(obj)


class _Int4ArrayDumper(_ArrayDumper):
    oid = 1007


class _Float4ArrayDumper(_ArrayDumper):
    oid = 1021


class _AsSent(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        """The field unchanged."""
        return bytes(data)


def as_sent(cursor: psycopg.Cursor[Any]) -> None:
    """Make a cursor return `int4[]` in binary form, for numpy to read at once."""
    cursor.adapters.register_loader(_Int4ArrayDumper.oid, _AsSent)


ADAPTERS = AdaptersMap(psycopg.adapters)
"""Conversion of values sent and received, independent of an application's registrations."""
register_default_adapters(ADAPTERS)
ADAPTERS.register_dumper(Int4Array, _Int4ArrayDumper)
ADAPTERS.register_dumper(Float4Array, _Float4ArrayDumper)
ADAPTERS.register_dumper(Field, _FieldDumper)
