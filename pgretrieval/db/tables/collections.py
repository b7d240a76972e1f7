"""Collections as rows: create, find, list, drop, and the choices that the first add settles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import errors as pg
from psycopg import sql
from psycopg.types.json import Jsonb

from pgretrieval.assets import statements
from pgretrieval.db.connection import Connection, Database, one, value
from pgretrieval.db.handles import CollectionTables
from pgretrieval.errors import CollectionExistsError, CollectionNotFoundError
from pgretrieval.types import CodebookId, CollectionId, CollectionSettings, Generator, Levels, Rerank, Scorer, Scoring

_SQL = statements("collections")

TEXTS_ALONE = {"kind": "none"}
"""What `encoder` says where passages have no token vectors."""

KEPT = "kept"
"""Value of `dense` where the collection keeps a dense vector of every passage."""

AUTO = "auto"
"""Value of `dense` where it keeps those that the encoder computes; passages with given token vectors need none."""


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """Row of `pgretrieval.collection`. `encoding` counts the changes of its encoder; `identity` is globally unique.

    `search_options` are the preset's, in rows (presets.py).
    """

    collection_id: CollectionId
    name: str
    encoder: dict[str, str] | None
    dim: int | None
    bits: int
    levels: Levels
    codebook_id: CodebookId | None
    given_vectors: bool
    generator: Generator
    keep_vectors: bool
    language: str | None
    title_weight: float
    dense: str | None
    dense_key: str | None
    dense_dim: int | None
    given_dense: bool
    encoding: int
    dense_encoding: int
    has_words: bool
    auto_compact: bool
    vectors_per_passage: int | None
    scorer: Scorer
    rerank: Rerank | None
    unit_vectors: bool
    preset: str | None
    search_options: list[dict[str, Any]]
    identity: UUID
    buckets: int

    def tables(self, connection: Connection) -> CollectionTables:
        """Return the handle of the collection's tables over a connection."""
        return CollectionTables(connection, self.collection_id)

    @property
    def texts_alone(self) -> bool:
        """True if passages have no token vectors; they are found by words and by cross-encoders."""
        return self.encoder == TEXTS_ALONE

    @property
    def token_pooling(self) -> int:
        """Factor by which the encoder pools the token vectors of a passage; 1 for none."""
        factor = str((self.encoder or {}).get("token_pooling", 1))
        return int(factor) if factor.isdecimal() else 1

    @property
    def keeps_dense(self) -> bool:
        """True if the collection stores dense vectors."""
        return self.dense in (KEPT, AUTO)

    @property
    def has_all_dense(self) -> bool:
        """True if every passage has a stored dense vector."""
        return self.dense == KEPT or (self.dense == AUTO and not self.given_vectors)

    @property
    def settings(self) -> CollectionSettings:
        """Public settings of the collection."""
        return CollectionSettings(**{setting.name: getattr(self, setting.name) for setting in fields(CollectionSettings)})

    @property
    def scoring(self) -> Scoring:
        """Scoring that the collection was created for; it never changes."""
        return Scoring(self.scorer, self.rerank, self.unit_vectors)


@dataclass(frozen=True, slots=True)
class State:
    """A collection as it is now: `staged` passages have stored token vectors; `restricted` tells of row-level security."""

    codebook_id: CodebookId | None
    passages: int
    tokens: int
    staged: int
    generator: Generator
    keep_vectors: bool
    restricted: bool
    encoding: int
    vectors_per_passage: int | None
    identity: UUID
    codebook_identity: UUID | None

    @property
    def waiting(self) -> int:
        """Passages whose vectors wait for a build."""
        return 0 if self.codebook_id is not None else self.staged


@dataclass(frozen=True, slots=True)
class NewCollection:
    """Settings of a new collection; None leaves a value to the first add."""

    name: str
    bits: int
    levels: Levels
    generator: Generator
    keep_vectors: bool
    language: str | None
    title_weight: float
    dense: str | None
    dense_key: str | None
    vectors_per_passage: int | None
    scoring: Scoring
    unit_vectors: bool | None
    dim: int | None = None
    encoder: dict[str, str] | None = None
    token_pooling: int | None = None
    preset: dict[str, Any] | None = None
    buckets: int | None = None


def create(database: Database, settings: NewCollection) -> None:
    """Raises CollectionExistsError, and ConfigError where the server has no such text search configuration or column."""
    parameters = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name != "scoring"}
    parameters |= {"scorer": settings.scoring.scorer, "rerank": settings.scoring.rerank}
    parameters |= {"encoder": _as_json(settings.encoder), "preset": _as_json(settings.preset)}
    with database.writing(f"creating collection {settings.name!r}") as connection:
        try:
            connection.execute(_SQL["create_collection"], parameters)
        except pg.UniqueViolation as error:
            msg = f"collection {settings.name!r} is there already; get_collection opens it, drop_collection removes it"
            raise CollectionExistsError(msg) from error


def find(database: Database, name: str) -> CollectionRow:
    """Raises CollectionNotFoundError with the names that there are."""
    with database.connection(f"looking up collection {name!r}") as connection:
        row = one(connection, _SQL["collection"], {"name": name})
    if row is None:
        raise _not_found(database, name)
    return CollectionRow(*row)


def names(database: Database) -> list[str]:
    """All collections, by name."""
    with database.connection("listing collections") as connection:
        return [row[0] for row in connection.execute(_SQL["collections"]).fetchall()]


def drop(database: Database, name: str) -> None:
    """Drop with everything it holds. Raises CollectionNotFoundError."""
    with database.writing(f"dropping collection {name!r}") as connection:
        dropped = value(connection, _SQL["drop_collection"], {"name": name})
    if not dropped:
        raise _not_found(database, name)
    with database.connection(f"dropping what is left of collection {name!r}") as connection:
        drop_leftovers(connection)


def drop_leftovers(connection: Connection) -> None:
    """Drop empty partitions that dropped collections, codebooks and factorisations have left; those in somebody's way stay.

    One transaction each, outside any other: each locks a table of all collections for a moment.
    """
    while value(connection, _SQL["drop_leftover"]):
        pass


def _not_found(database: Database, name: str) -> CollectionNotFoundError:
    there = ", ".join(repr(other) for other in names(database)[:20]) or "none yet"
    return CollectionNotFoundError(f"no collection {name!r} in this database; there are: {there}")


class AddState(NamedTuple):
    """State of a collection for an add: dimensions, active codebook, and whether vectors are given and stored."""

    dim: int | None
    codebook_id: CodebookId | None
    given_vectors: bool
    keep_vectors: bool
    dense_dim: int | None
    given_dense: bool
    encoding: int
    dense_encoding: int
    vectors_per_passage: int | None
    identity: UUID
    codebook_identity: UUID | None
    dense: str | None
    buckets: int


def require(tables: CollectionTables, identity: UUID) -> None:
    """Raise CollectionNotFoundError where the collection was dropped, whatever has its number now."""
    if tables.value(_SQL["identity"]) != identity:
        raise dropped(tables.collection_id)


def lock_for_change(tables: CollectionTables, identity: UUID) -> AddState:
    """Keep switches to another codebook away until the transaction ends; returns the collection as it is now.

    Raises CollectionNotFoundError where it was dropped meanwhile.
    """
    tables.execute(_SQL["lock_for_change"])
    return add_state(tables, identity)


def add_state(tables: CollectionTables, identity: UUID) -> AddState:
    """The collection as it is now. Raises CollectionNotFoundError where it was dropped."""
    row = tables.one(_SQL["add_state"])
    if row is None or AddState(*row).identity != identity:
        raise dropped(tables.collection_id)
    return AddState(*row)


def settle(
    tables: CollectionTables, dim: int, encoder: dict[str, str] | None, given: bool, dense_dim: int | None, given_dense: bool
) -> AddState:
    """Fill in what creation left open; returns what holds."""
    tables.execute(
        _SQL["settle"],
        dim=dim,
        encoder=_as_json(encoder),
        given_vectors=given,
        dense_dim=dense_dim,
        given_dense=given_dense,
    )
    return AddState(*tables.rows(_SQL["add_state"])[0])


def _as_json(given: dict[str, Any] | None) -> Jsonb | None:
    return Jsonb(given) if given else None


def state(tables: CollectionTables) -> State:
    """Counted, not estimated. Raises CollectionNotFoundError where the collection was dropped meanwhile."""
    row = tables.one(_SQL["state"])
    if row is None:
        raise dropped(tables.collection_id)
    return State(*row)


def dropped(collection_id: CollectionId) -> CollectionNotFoundError:
    """A handle stays with the collection that it was opened for, also where one of the same name or number was made since."""
    return CollectionNotFoundError(
        f"this collection (collection_id {collection_id}) was dropped since it was opened; open what is there now by "
        "get_collection, or create it again"
    )


def needs_compaction(tables: CollectionTables) -> bool:
    """Return whether the collection compacts automatically and enough entries have accumulated."""
    return bool(tables.value(_SQL["needs_compaction"]))


def compact(connection: Connection, name: str) -> bool:
    """Run one step of a compaction; return whether there is more to do."""
    return bool(value(connection, _SQL["compact"], {"name": name}))


def compaction_progress(tables: CollectionTables) -> tuple[int, int]:
    """Centroids that are done, and all of them; the words come after."""
    row = tables.one(_SQL["compaction_progress"])
    return (int(row[0]), int(row[1])) if row else (1, 1)


def set_auto_compact(tables: CollectionTables, *, auto_compact: bool) -> None:
    """Set whether clients that change the collection compact it."""
    tables.execute(_SQL["set_auto_compact"], auto_compact=auto_compact)


def stats(database: Database, name: str) -> dict[str, Any]:
    """Counts, settings and bytes by table. Raises CollectionNotFoundError."""
    return database.again(lambda: _stats(database, find(database, name)))


def _stats(database: Database, row: CollectionRow) -> dict[str, Any]:
    name = row.name
    with database.reading(f"measuring collection {name!r}") as connection:
        tables = row.tables(connection)
        current = state(tables)
        centroids, trained_tokens = tables.one(_SQL["active_codebook"]) or (0, 0)
        segments, removed = tables.one(_SQL["gathered"]) or (0, 0)
        shown = value(connection, _SQL["stats"], {"name": name})
        # Sizes would tell of passages that row-level security hides.
        inline = None if current.restricted else tables.value(_SQL["codes_inline"])
        sizes = [] if current.restricted else tables.rows(_SQL["bytes_by_table"])
    return {
        "name": name,
        "passages": current.passages,
        "tokens": current.tokens,
        "built": current.codebook_id is not None,
        "waiting_for_build": current.waiting,
        "segments": None if current.restricted else segments,
        "removed": None if current.restricted else removed,
        "auto_compact": row.auto_compact,
        "centroids": centroids,
        "trained_for_tokens": None if current.restricted else trained_tokens,
        **{key: shown[key] for key in ("quantization_error", "added_passages", "added_quantization_error", "rebuild_pays")},
        "bits": row.bits,
        "buckets": row.buckets,
        "levels": row.levels,
        "generator": row.generator,
        "keep_vectors": row.keep_vectors,
        "vectors_per_passage": row.vectors_per_passage,
        "token_pooling": row.token_pooling,
        "codes_inline": inline,
        "language": row.language,
        "title_weight": row.title_weight,
        "words_cut": shown["words_cut"],
        "dense": row.dense,
        "dense_dim": row.dense_dim,
        "scorer": row.scorer,
        "rerank": row.rerank,
        "unit_vectors": row.unit_vectors,
        "preset": shown["preset"],
        "score_kind": "vectors" if row.codebook_id is None or (row.keep_vectors and row.scoring.codes_by_passage) else "decoded",
        "dim": row.dim,
        "encoder": row.encoder,
        **{key: shown[key] for key in ("factorization", "attached", "queued", "parked", "parked_keys")},
        "bytes": {table: int(table_bytes) + int(index_bytes) for table, table_bytes, index_bytes in sizes},
        "index_bytes": {table: int(index_bytes) for table, _, index_bytes in sizes},
    }


def vacuum(connection: Connection, number: int, *tables: str, shorten: bool = False) -> None:
    """VACUUM ANALYZE of a collection's partitions, or of a codebook's where that divides the table; outside a transaction.

    To `shorten` files as well keeps searches waiting for moments.
    """
    _maintain(connection, "vacuum_and_shorten" if shorten else "vacuum", number, tables)


def analyze(connection: Connection, number: int, *tables: str) -> None:
    """Statistics for the planner, of a collection's partitions."""
    _maintain(connection, "analyze", number, tables)


def _maintain(connection: Connection, statement: str, number: int, tables: Sequence[str]) -> None:
    for table in tables:
        partition = sql.Identifier("pgretrieval", f"{table}_{number}")
        connection.execute(sql.SQL(_SQL[statement]).format(partition=partition))
