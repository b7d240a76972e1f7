"""Taking passages in: check, encode, and write them with their vectors or, once there is an index, with their codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pgretrieval.db import catalog, codebooks, codes, passages, vectors
from pgretrieval.db.connection import Connection, Database
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.errors import DimensionMismatchError, DuplicateIdError, InputError
from pgretrieval.index.coding import centroid_passage_pairs, codebook_from_row, postings_of
from pgretrieval.index.vectors import token_array, token_matrix
from pgretrieval.quantize.codebook import Codebook
from pgretrieval.types import AddReport, CodebookId, CollectionId, Float32Array, Int32Array, Passage, TokenMatrix

Progress = Callable[[int], None]

BATCH = 1024
_SHOWN = 5  # duplicate ids that an error names


@dataclass(frozen=True, slots=True)
class Target:
    """Where passages go: a collection, how it encodes, and the spec to store with the first of them."""

    database: Database
    collection_id: CollectionId
    name: str
    encoder: CollectionEncoder | None


def add(
    target: Target, source: Iterable[Passage], given: Iterable[Any] | None = None, progress: Progress | None = None
) -> AddReport:
    """Store passages with their token vectors, in one transaction: all of them or none.

    `given` has one (tokens, dim) array a passage; without it the target's encoder makes them. `progress` is told how many
    passages were just finished. Raises InputError, DuplicateIdError, VectorError, DimensionMismatchError, and
    DatabaseUnavailableError where the connection is lost, after which the same call can be made again.
    """
    vectors_of = _given_vectors(given) if given is not None else None
    report = AddReport(0, 0, 0)
    seen: set[str] = set()
    with target.database.writing(f"adding to collection {target.name!r}") as connection:
        dim, codebook_id = catalog.lock_for_add(connection, target.collection_id)
        codebook = _load(connection, target.collection_id, codebook_id)
        for batch in batches(source, BATCH):
            _refuse_duplicates(connection, target, batch, seen)
            arrays, truncated = (vectors_of(batch, dim), 0) if vectors_of else _encoded(target, batch, progress)
            dim = _settle(connection, target, arrays, dim, encoded=vectors_of is None)
            tokens = token_matrix(arrays)
            passage_ids = passages.reserve_ids(connection, target.collection_id, len(batch))
            passages.copy(connection, target.collection_id, passage_ids, batch, tokens.lengths)
            if codebook is None or codebook_id is None:
                vectors.copy(connection, target.collection_id, passage_ids, tokens)
            else:
                write_coded(connection, target.collection_id, codebook_id, codebook, passage_ids, tokens)
            report = AddReport(report.passages + len(batch), report.tokens + int(tokens.offsets[-1]), report.truncated + truncated)
            if progress and vectors_of:
                progress(len(batch))
        if vectors_of:
            vectors_of([], dim)
    return report


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


def write_coded(
    connection: Connection,
    collection_id: CollectionId,
    codebook_id: CodebookId,
    codebook: Codebook,
    passage_ids: Int32Array,
    tokens: TokenMatrix,
) -> None:
    """Quantise the vectors of new passages and write codes and one segment of postings."""
    centroid_ids, residuals = codebook.encode(tokens.vectors)
    codes.copy_codes(connection, collection_id, codebook_id, passage_ids, tokens.offsets, centroid_ids, residuals)
    postings = postings_of(centroid_passage_pairs(centroid_ids, tokens.offsets, passage_ids))
    codes.copy_postings(connection, collection_id, codebook_id, int(passage_ids[0]), *postings)


def batches(source: Iterable[Passage], size: int) -> Iterator[list[Passage]]:
    """Lists of `size` items, the last one shorter."""
    items = iter(source)
    while batch := list(islice(items, size)):
        yield batch


def _load(connection: Connection, collection_id: CollectionId, codebook_id: CodebookId | None) -> Codebook | None:
    if codebook_id is None:
        return None
    return codebook_from_row(codebooks.load(connection, collection_id, codebook_id))


def _refuse_duplicates(connection: Connection, target: Target, batch: Sequence[Passage], seen: set[str]) -> None:
    repeated = []
    for passage in batch:
        if passage.id in seen:
            repeated.append(passage.id)
        seen.add(passage.id)
    if repeated:
        msg = f"ids occur twice in this add: {_shown(repeated)}. Nothing of this call was stored; give each passage its own id"
        raise DuplicateIdError(msg)
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


def _encoded(target: Target, batch: Sequence[Passage], progress: Progress | None) -> tuple[list[Float32Array], int]:
    if target.encoder is None:
        msg = (
            f"collection {target.name!r} has no encoder; pass vectors= with one (tokens, dim) array a passage, or open it with "
            "get_collection(name, encoder=…)"
        )
        raise InputError(msg)
    texts = [passage.encoded_text for passage in batch]
    return target.encoder.encode_document(texts, progress=progress), target.encoder.count_truncated(texts)


def _settle(connection: Connection, target: Target, arrays: Sequence[Float32Array], dim: int | None, *, encoded: bool) -> int:
    """The first passages decide what creation left open."""
    width = arrays[0].shape[1]
    if dim is None:
        spec = target.encoder.spec if encoded and target.encoder else None
        dim = catalog.settle(connection, target.collection_id, width, spec)
    if width != dim:
        origin = f"encoder {target.encoder.spec}" if encoded and target.encoder else "the given vectors"
        msg = f"{origin} has {width} dimensions, collection {target.name!r} has {dim}"
        raise DimensionMismatchError(msg)
    return dim


def _given_vectors(given: Iterable[Any]) -> Callable[[Sequence[Passage], int | None], list[Float32Array]]:
    """Hands out the caller's arrays batch by batch; asked with no passages left, checks that no array is left either."""
    rest = iter(given)

    def take(batch: Sequence[Passage], dim: int | None) -> list[Float32Array]:
        if not batch:
            if next(rest, None) is not None:
                msg = "there are more arrays in vectors= than passages; give one (tokens, dim) array a passage"
                raise InputError(msg)
            return []
        arrays: list[Float32Array] = []
        for passage, vectors_given in zip(batch, rest, strict=False):
            arrays.append(token_array(vectors_given, f"passage {passage.id!r}", dim))
            dim = arrays[-1].shape[1]
        if len(arrays) < len(batch):
            msg = f"vectors= ended before passage {batch[len(arrays)].id!r}; give one (tokens, dim) array a passage"
            raise InputError(msg)
        return arrays

    return take
