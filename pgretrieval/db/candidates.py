"""Reads of a search: candidates with their codes. Statements are sent first and read later, to overlap client and server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from psycopg.rows import TupleRow
from typing_extensions import LiteralString

from pgretrieval.assets import statements
from pgretrieval.db import wire
from pgretrieval.db.handles import CollectionTables, IndexTables
from pgretrieval.db.parameters import Float4Array, Int4Array, as_sent, vector
from pgretrieval.types import (
    ByteArray,
    Float32Array,
    Int32Array,
    Int64Array,
    Restriction,
    TokenMatrix,
)

_SQL = SEARCH_STATEMENTS = statements("search")
_NO_RESIDUALS = np.empty((0, 1), dtype=np.uint8)
_EF_SEARCH_AT_MOST = 1000  # pgvector's own limit; scans that need more go on iteratively


@dataclass(frozen=True, slots=True)
class CodedPassages:
    """Codes of several passages: (tokens,) centroid ids, (tokens, width) residual bytes, and each passage's offset."""

    passage_ids: Int32Array
    offsets: Int64Array
    centroid_ids: Int32Array
    residuals: ByteArray
    id_bytes: int = 4  # of a centroid id as it came from the server

    @property
    def token_count(self) -> int:
        """Tokens of all passages."""
        return len(self.centroid_ids)

    def some(self, keep: Int64Array) -> CodedPassages:
        """Return the passages at the given positions."""
        lengths = np.diff(self.offsets)[keep]
        offsets = wire.offsets_of(lengths)
        tokens = np.arange(offsets[-1]) + np.repeat(self.offsets[keep] - offsets[:-1], lengths)
        return CodedPassages(self.passage_ids[keep], offsets, self.centroid_ids[tokens], self.residuals[tokens], self.id_bytes)

    def of_centroids(self, centroid_ids: Int32Array) -> CodedPassages:
        """Return the passages with only their tokens of some centroids; those without any are left out."""
        kept = np.isin(self.centroid_ids, centroid_ids)
        counts = np.add.reduceat(kept, self.offsets[:-1], dtype=np.int64) if len(self.passage_ids) else np.diff(self.offsets)
        there = counts > 0
        offsets = wire.offsets_of(counts[there])
        return CodedPassages(self.passage_ids[there], offsets, self.centroid_ids[kept], self.residuals[kept], self.id_bytes)

    @property
    def bytes_moved(self) -> int:
        """Bytes of codes that came from the server."""
        return self.id_bytes * self.token_count + self.residuals.nbytes


@dataclass(frozen=True, slots=True)
class StoredPassages:
    """Stored vectors of several passages."""

    passage_ids: Int32Array
    tokens: TokenMatrix

    @property
    def token_count(self) -> int:
        """Tokens of all passages."""
        return len(self.tokens.vectors)

    @property
    def bytes_moved(self) -> int:
        """Bytes of vectors that came from the server."""
        return self.tokens.vectors.size * 2


@dataclass(frozen=True, slots=True)
class ListedTokens:
    """Tokens of several centroids: the passage, centroid and residual bytes (tokens, width) of each."""

    passage_ids: Int32Array
    centroid_ids: Int32Array
    residuals: ByteArray

    @property
    def bytes_moved(self) -> int:
        """Bytes of codes that came from the server."""
        return self.passage_ids.nbytes + self.residuals.nbytes

    def some(self, keep: Int64Array) -> ListedTokens:
        """Return the tokens at the given positions."""
        return ListedTokens(self.passage_ids[keep], self.centroid_ids[keep], self.residuals[keep])


@dataclass(frozen=True, slots=True)
class ListedPassages:
    """Postings of probed centroids: the passage of each, and its centroid's position in `Probes.centroid_ids`, (postings,)."""

    passage_ids: Int32Array
    probes: Int32Array

    @property
    def bytes_moved(self) -> int:
        """Bytes of postings that came from the server."""
        return self.passage_ids.nbytes


@dataclass(frozen=True, slots=True)
class Probes:
    """The centroids to look up (probed,), each once and in order, with sums of weights over the query tokens that probe them."""

    centroid_ids: Int32Array
    scores: Float32Array


class Pending:
    """A statement that was sent."""

    def __init__(
        self, tables: CollectionTables, statement: LiteralString, parameters: dict[str, Any], *, raw_arrays: bool = False
    ) -> None:
        self._cursor = tables.connection.cursor(binary=True)
        if raw_arrays:
            as_sent(self._cursor)
        self._cursor.execute(statement, tables.ids | parameters, prepare=True)

    def rows(self) -> list[TupleRow]:
        """Wait for its answer."""
        with self._cursor:
            return self._cursor.fetchall()


class PendingCentroids(Pending):
    """Passages whose centroid ids were asked for; their counts are not, where every passage has `vectors_per_passage`."""

    def __init__(
        self,
        tables: IndexTables,
        statement: LiteralString,
        parameters: dict[str, Any],
        centroids: int,
        vectors_per_passage: int | None,
    ) -> None:
        self._centroids = centroids
        self._each = vectors_per_passage
        super().__init__(tables, statement, parameters | {"vectors_per_passage": vectors_per_passage})

    def read(self) -> CodedPassages:
        """The passages, without residuals, in no particular order."""
        passage_ids, lengths, centroid_ids = self.rows()[0]
        found = np.array(passage_ids or [], dtype=np.int32)
        if self._each is None:
            offsets = wire.id_offsets(lengths or [], self._centroids)
        else:
            offsets = np.arange(len(found) + 1, dtype=np.int64) * self._each
        ids = wire.joined_ids(centroid_ids or b"", self._centroids)
        return CodedPassages(found, offsets, ids, _NO_RESIDUALS, wire.id_bytes(self._centroids))


class PendingCodes(Pending):
    """Passages of which all codes were asked for."""

    def __init__(self, tables: IndexTables, passage_ids: Int32Array, centroids: int) -> None:
        self._centroids = centroids
        super().__init__(tables, _SQL["codes_of"], {"passage_ids": Int4Array(passage_ids)})

    def read(self) -> CodedPassages:
        """The passages, in no particular order."""
        rows = self.rows()
        passage_ids = np.array([row[0] for row in rows], dtype=np.int32)
        offsets, ids = wire.read_centroid_ids([row[1] for row in rows], self._centroids)
        width = len(rows[0][2]) // int(offsets[1]) if rows else 1
        residuals = np.frombuffer(b"".join(row[2] for row in rows), dtype=np.uint8).reshape(-1, width)
        return CodedPassages(passage_ids, offsets, ids, residuals, wire.id_bytes(self._centroids))


class PendingVectors(Pending):
    """Passages whose stored vectors were asked for."""

    def read(self) -> StoredPassages:
        """The passages, in no particular order."""
        rows = self.rows()
        passage_ids = np.array([row[0] for row in rows], dtype=np.int32)
        if not rows:
            return StoredPassages(passage_ids, TokenMatrix(np.empty((0, 1), dtype=np.float32), np.zeros(1, dtype=np.int64)))
        return StoredPassages(passage_ids, TokenMatrix(*wire.read_halfvec_arrays([row[1] for row in rows])))


class PendingPostings(Pending):
    """Postings that were asked for, and which passages are gone."""

    def __init__(self, tables: IndexTables, probes: Probes) -> None:
        super().__init__(tables, _SQL["postings_of"], {"centroid_ids": Int4Array(probes.centroid_ids)}, raw_arrays=True)
        self._centroid_ids = probes.centroid_ids
        self._removed = Pending(tables, _SQL["removed_passages"], {})

    def read(self) -> ListedPassages:
        """The postings of passages that are there, in no particular order."""
        rows = self.rows()
        passage_ids, lengths = wire.read_int4_arrays([row[1] for row in rows])
        positions = np.searchsorted(self._centroid_ids, np.array([row[0] for row in rows], dtype=np.int32))
        probes = np.repeat(positions.astype(np.int32), lengths)
        if removed := [row[0] for row in self._removed.rows()]:
            there = ~np.isin(passage_ids, np.array(removed, dtype=np.int32))
            return ListedPassages(passage_ids[there], probes[there])
        return ListedPassages(passage_ids, probes)


class PendingScores(Pending):
    """Passages whose scores were asked for."""

    def read(self) -> tuple[Int32Array, Float32Array]:
        """(passages,) ids and scores, in no particular order."""
        passage_ids, scores = self.rows()[0]
        return np.array(passage_ids or [], dtype=np.int32), np.array(scores or [], dtype=np.float32)


class PendingTokens(Pending):
    """Tokens of centroids that were asked for, and perhaps which passages are gone."""

    def __init__(
        self, tables: IndexTables, statement: LiteralString, parameters: dict[str, Any], width: int, removed: Pending | None
    ) -> None:
        super().__init__(tables, statement, parameters, raw_arrays=True)
        self._width = width
        self._removed = removed

    def read(self) -> ListedTokens:
        """The tokens of passages that are there, in no particular order."""
        listed = listed_tokens(self.rows(), self._width)
        if self._removed and (removed := [row[0] for row in self._removed.rows()]):
            return listed.some(np.flatnonzero(~np.isin(listed.passage_ids, np.array(removed, dtype=np.int32))))
        return listed


class PendingSizes(Pending):
    """Numbers of tokens of centroids that were asked for."""

    def read(self, centroids: int) -> Int64Array:
        """(centroids,) tokens of each."""
        counts = np.zeros(centroids, dtype=np.int64)
        ((listed, tokens),) = self.rows()
        if listed:
            (centroid_ids, _), (values, _) = wire.read_int4_arrays([listed]), wire.read_int4_arrays([tokens])
            counts[centroid_ids] = values
        return counts


def listed_tokens(rows: list[TupleRow], width: int) -> ListedTokens:
    """Rows of a centroid, its tokens' passages as they were sent, and residuals of `width` bytes each."""
    passage_ids, lengths = wire.read_int4_arrays([row[1] for row in rows])
    centroid_ids = np.repeat(np.array([row[0] for row in rows], dtype=np.int32), lengths)
    residuals = np.frombuffer(b"".join(row[2] for row in rows), dtype=np.uint8).reshape(-1, width)
    return ListedTokens(passage_ids, centroid_ids, residuals)


def begin(tables: CollectionTables, candidates: int) -> Pending:
    """Ask for the active codebook's id and for row-level security, and let vector index scans return so many candidates."""
    parameters = {
        "ef_search": min(candidates, _EF_SEARCH_AT_MOST),
        "iterative_scan": "relaxed_order" if candidates > _EF_SEARCH_AT_MOST else "off",
    }
    return Pending(tables, _SQL["begin"], parameters)


def listed_by(tables: IndexTables, probes: Probes) -> PendingPostings:
    """Ask for the passages that the probed centroids list."""
    return PendingPostings(tables, probes)


def by_proxy(
    tables: IndexTables, proxy: Float32Array, limit: int, centroids: int, vectors_per_passage: int | None = None
) -> PendingCentroids:
    """Ask for the `limit` passages whose proxies are nearest to the query's (rank,), with the centroid ids of their tokens.

    There are `centroids` in all, here and in the following functions.
    """
    parameters = {"n": limit, "query": Float4Array(proxy)}
    return PendingCentroids(tables, _SQL["centroids_by_proxy"], parameters, centroids, vectors_per_passage)


def centroids_of(
    tables: IndexTables, passage_ids: Int32Array, centroids: int, vectors_per_passage: int | None = None
) -> PendingCentroids:
    """Ask for the centroid ids of the given passages: what centroid interaction needs."""
    parameters = {"passage_ids": Int4Array(passage_ids)}
    return PendingCentroids(tables, _SQL["centroids_of"], parameters, centroids, vectors_per_passage)


def codes_of(tables: IndexTables, passage_ids: Int32Array, centroids: int) -> PendingCodes:
    """Ask for all codes of the given passages."""
    return PendingCodes(tables, passage_ids, centroids)


def among(
    tables: IndexTables,
    probes: Probes,
    restriction: Restriction,
    limit: int,
    centroids: int,
    vectors_per_passage: int | None = None,
) -> PendingCentroids:
    """Ask for the best `limit` passages that the restriction and row-level security leave, with the centroid ids of their tokens.

    Never fewer than they leave.
    """
    parameters = {
        "n": limit,
        "centroid_ids": Int4Array(probes.centroid_ids),
        "centroid_scores": Float4Array(probes.scores),
        **restriction.named,
    }
    statement = _SQL["centroids_among"].format(among=restriction.ids)
    return PendingCentroids(tables, statement, parameters, centroids, vectors_per_passage)


def vectors_of(tables: CollectionTables, passage_ids: Int32Array) -> PendingVectors:
    """Ask for the stored vectors of the given passages."""
    parameters = {"passage_ids": Int4Array(passage_ids)}
    return PendingVectors(tables, _SQL["vectors_of"], parameters)


def vectors_after(tables: CollectionTables, after: int, restriction: Restriction, limit: int) -> PendingVectors:
    """Ask for the stored vectors of the next passages, in order of their ids, that the restriction leaves."""
    parameters = {"after": after, "n": limit, **restriction.named}
    return PendingVectors(tables, _SQL["vectors_after"].format(among=restriction.ids), parameters)


def by_words(tables: CollectionTables, restriction: Restriction, query_text: str, limit: int) -> PendingScores:
    """Ask for the best `limit` passages by BM25."""
    parameters = {"query_text": query_text, "n": limit}
    return _restricted(tables, _SQL["candidates_by_text"], parameters, restriction)


def by_dense(tables: CollectionTables, restriction: Restriction, query_dense: Float32Array, limit: int) -> PendingScores:
    """Ask for the `limit` passages with the nearest dense vectors."""
    parameters = {"query_dense": vector(query_dense), "n": limit}
    return _restricted(tables, _SQL["candidates_by_dense"], parameters, restriction)


def dense_scores(tables: CollectionTables, passage_ids: Int32Array, query_dense: Float32Array) -> PendingScores:
    """Ask for the similarity of the given passages' dense vectors."""
    parameters = {"passage_ids": Int4Array(passage_ids), "query_dense": vector(query_dense)}
    return PendingScores(tables, _SQL["score_dense"], parameters)


def _restricted(
    tables: CollectionTables, statement: LiteralString, parameters: dict[str, Any], restriction: Restriction
) -> PendingScores:
    return PendingScores(tables, statement.format(among=restriction.ids), parameters | restriction.named)


def tokens_of_centroids(
    tables: IndexTables, centroid_ids: Int32Array, width: int, restriction: Restriction | None
) -> PendingTokens:
    """Ask for the tokens of some centroids, `width` bytes each; only those that a restriction and row-level security leave."""
    parameters = {"centroid_ids": Int4Array(centroid_ids)}
    if restriction is None:
        removed = Pending(tables, _SQL["removed_passages"], {})
        return PendingTokens(tables, _SQL["tokens_of_centroids"], parameters, width, removed)
    statement = _SQL["tokens_among"].format(among=restriction.ids)
    return PendingTokens(tables, statement, parameters | restriction.named, width, None)


def centroid_sizes(tables: IndexTables, width: int) -> PendingSizes:
    """Ask for the number of tokens, of `width` bytes each, of every centroid."""
    return PendingSizes(tables, _SQL["centroid_sizes"], {"width": width}, raw_arrays=True)


def version_of_postings(tables: IndexTables) -> Pending:
    """Ask for what changes whenever the postings of the index change."""
    return Pending(tables, _SQL["version_of_postings"], {})


def count_matches(tables: CollectionTables, at_most: int, restriction: Restriction) -> int:
    """Return the number of passages that the restriction and row-level security leave, counted up to `at_most`."""
    return int(tables.value(_SQL["count_matches"].format(among=restriction.ids), n=at_most, **restriction.named))
