"""Taking passages in: check, encode, and write them with their vectors or, once there is an index, with their codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch

from pgretrieval.db import catalog, codes, passages, vectors
from pgretrieval.db.catalog import AddState
from pgretrieval.db.connection import Connection, Database
from pgretrieval.errors import DimensionMismatchError, DuplicateIdError, EncoderChangedError
from pgretrieval.index.coding import (
    Coder,
    load_coder,
    write_segment,
)
from pgretrieval.index.sources import VectorSource
from pgretrieval.index.vectors import token_matrix
from pgretrieval.types import AddReport, CollectionId, Float32Array, Passage, TokenMatrix

BATCH = 512  # passages checked, encoded and written together: some hundred megabytes at 1,024 dimensions
_SHOWN = 5  # duplicate ids that an error names


@dataclass(frozen=True, slots=True)
class Target:
    """The collection that passages go to, and which of its encoders their vectors are of."""

    database: Database
    collection_id: CollectionId
    name: str
    encoding: int


def add(target: Target, source: Iterable[Passage], vector_source: VectorSource, device: torch.device | None = None) -> AddReport:
    """Store passages with their token vectors, in one transaction: all of them or none.

    While a batch is written, the next one is encoded. Raises InputError, DuplicateIdError, VectorError, DimensionMismatchError,
    EncoderError, and DatabaseUnavailableError where the connection is lost, after which the same call can be made again.
    """
    report = AddReport(0, 0, 0)
    seen: set[str] = set()
    with (
        target.database.writing(f"adding to collection {target.name!r}") as connection,
        ThreadPoolExecutor(1, thread_name_prefix="pgretrieval-write") as writer,
    ):
        held = catalog.lock_for_add(connection, target.collection_id)
        if held.encoding != target.encoding:
            raise EncoderChangedError(target.name)
        device = device or torch.device("cpu")
        coder = load_coder(connection, target.collection_id, held.codebook_id, device) if held.codebook_id is not None else None
        written: Future[None] | None = None
        for batch in batches(source, BATCH):
            _refuse_repeated(batch, seen)
            taken = vector_source.take(batch, held.dim)
            tokens = token_matrix(taken.arrays)
            if written:
                written.result()
            held = _settle(connection, target, vector_source, tokens.vectors.shape[1], taken.dense, held)
            written = writer.submit(_write, connection, target, held, coder, batch, tokens, taken.dense)
            added = int(tokens.offsets[-1])
            report = AddReport(report.passages + len(batch), report.tokens + added, report.truncated + taken.truncated)
        if written:
            written.result()
        vector_source.finish()
    return report


def _write(
    connection: Connection,
    target: Target,
    held: AddState,
    coder: Coder | None,
    batch: Sequence[Passage],
    tokens: TokenMatrix,
    dense: Float32Array | None,
) -> None:
    """One batch: its passages, and their vectors and, once there is an index, codes, proxies and one segment of postings."""
    _refuse_stored(connection, target, batch)
    passage_ids = passages.reserve_ids(connection, target.collection_id, len(batch))
    passages.copy(connection, target.collection_id, passage_ids, batch, tokens.lengths)
    if held.keep_vectors or coder is None:
        vectors.copy(connection, target.collection_id, held.encoding, passage_ids, tokens)
    if dense is not None:
        vectors.copy_dense(connection, target.collection_id, held.dense_encoding, passage_ids, dense)
    if coder is not None and held.codebook_id is not None:
        write_segment(connection, target.collection_id, held.codebook_id, coder.code(passage_ids, tokens, measured=True))
        codes.index_words(connection, target.collection_id, passage_ids)


def not_yet_added(target: Target, batch: Sequence[Passage]) -> list[Passage]:
    """Those of the passages that the collection does not hold; for taking up an interrupted load.

    Raises DuplicateIdError where it holds an id with another title, text or metadata.
    """
    with target.database.connection(f"reading collection {target.name!r}") as connection:
        there = passages.existing(connection, target.collection_id, [passage.id for passage in batch])
    different = [passage.id for passage in batch if there.get(passage.id, passage) != passage]
    if different:
        msg = (
            f"ids are in collection {target.name!r} already, with other content: {_shown(different)}. Give these passages other ids"
        )
        raise DuplicateIdError(msg)
    return [passage for passage in batch if passage.id not in there]


def batches(source: Iterable[Passage], size: int) -> Iterator[list[Passage]]:
    """Lists of `size` items, the last one shorter."""
    items = iter(source)
    while batch := list(islice(items, size)):
        yield batch


def _refuse_repeated(batch: Sequence[Passage], seen: set[str]) -> None:
    repeated = []
    for passage in batch:
        if passage.id in seen:
            repeated.append(passage.id)
        seen.add(passage.id)
    if repeated:
        msg = f"ids occur twice in this add: {_shown(repeated)}. Nothing of this call was stored; give each passage its own id"
        raise DuplicateIdError(msg)


def _refuse_stored(connection: Connection, target: Target, batch: Sequence[Passage]) -> None:
    there = passages.existing(connection, target.collection_id, [passage.id for passage in batch])
    if there:
        msg = (
            f"ids are in collection {target.name!r} already: {_shown(list(there))}. Nothing of this call was stored; leave them "
            "out or give the new passages other ids"
        )
        raise DuplicateIdError(msg)


def _shown(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(repr(key) for key in ids[:_SHOWN]) + more


def _settle(
    connection: Connection, target: Target, source: VectorSource, width: int, dense: Float32Array | None, held: AddState
) -> AddState:
    """Write down what this add decides for the collection: dimensions and encoder, if it is the first, and given vectors."""
    dense_width = None if dense is None else dense.shape[1]
    given, given_dense = held.given_vectors or source.given, held.given_dense or source.given_dense
    settled = held._replace(
        dim=held.dim or width, given_vectors=given, dense_dim=held.dense_dim or dense_width, given_dense=given_dense
    )
    if settled != held:
        held = catalog.settle(connection, target.collection_id, width, source.spec, given, dense_width, given_dense)
    if width != held.dim:
        msg = f"{source} has {width} dimensions, collection {target.name!r} has {held.dim}"
        raise DimensionMismatchError(msg)
    if dense_width is not None and dense_width != held.dense_dim:
        msg = f"dense vectors have {dense_width} dimensions, those of collection {target.name!r} have {held.dense_dim}"
        raise DimensionMismatchError(msg)
    return held
