"""Last stages of a build: catch up with changes, switch over, drop the replaced index."""

from __future__ import annotations

import time

from pgretrieval.db.connection import Connection
from pgretrieval.db.handles import IndexTables
from pgretrieval.db.tables import codes, collections, proxies, rebuilds, vectors
from pgretrieval.errors import IndexNotBuiltError
from pgretrieval.index.coding import Coder, write_segment
from pgretrieval.index.encoding import encode, next_texts
from pgretrieval.index.ingest import BATCH
from pgretrieval.index.work import Work

_LEFT_TO_THE_SWITCH = 16  # passages that are coded in a fraction of a second
_TRIES_WITHOUT_MODEL = 20
_BETWEEN_ATTEMPTS = 0.2


def switch(work: Work, index: IndexTables, coder: Coder, lock: Connection) -> None:
    """Catch up with changes in rounds, until the rest fits in the short transaction that switches over.

    The transaction makes the codebook active; adds, updates and deletes wait only for it. Texts are encoded before it; only if
    passages are added again and again are a few encoded within it. `lock` keeps other builds waiting.
    """
    work.stage("switch", 0, 1)
    dense_dim = _dense_dim(work)
    switched, without_model, left = False, 0, 0 if work.encodes else _LEFT_TO_THE_SWITCH
    while not switched:
        coded = catch_up(work, index, coder) if len(codes.uncoded(index)) > left else 1
        with rebuilds.trying_to_switch(work.tables) as locked:
            if locked and without_model < _TRIES_WITHOUT_MODEL and next_texts(work):
                without_model += 1
            elif locked and (len(codes.uncoded(index)) <= _LEFT_TO_THE_SWITCH or not coded):
                rebuilds.lock(work.collection.tables(lock))  # raises if the lock was lost, since another build may have run
                catch_up(work, index, coder)
                _forget_removed(work, index)
                _refuse_uncoded(work, len(codes.uncoded(index)))
                rebuilds.switch(index, dense_dim)
                switched = True
        if not switched:
            time.sleep(_BETWEEN_ATTEMPTS)
    work.stage("switch", 1, 1)


def catch_up(work: Work, index: IndexTables, coder: Coder) -> int:
    """Encode and code new passages as segments, with a commit for each; return the number of coded passages."""
    while batch := next_texts(work):
        encode(work, batch)
    coded = 0
    missing = codes.uncoded(index)
    for start in range(0, len(missing), BATCH):
        ids, tokens = vectors.read(work.tables, work.making.encoding, missing[start : start + BATCH])
        if not len(ids):
            continue
        with work.connection.transaction():
            write_segment(index, coder.code(ids, tokens, measured=True), coder.scoring)
            if work.writes_words:
                making = rebuilds.find(work.tables)
                codes.index_first_words(work.tables, ids.ids, int(ids.ids.min()), making.mean_words if making else None)
        coded += len(ids)
    return coded


def _refuse_uncoded(work: Work, missing: int) -> None:
    if missing:
        msg = (
            f"{missing} passages of collection {work.collection.name!r} have no vectors to code; encode their texts again by "
            "rebuild(encoder=…)"
        )
        raise IndexNotBuiltError(msg)


def _forget_removed(work: Work, index: IndexTables) -> None:
    """Delete the new index's entries of removed passages."""
    codes.drop_removed(index)
    if work.wants_proxies:
        proxies.drop_removed(index)
    if work.encodes:
        vectors.drop_removed(work.tables, work.making.encoding)


def _dense_dim(work: Work) -> int | None:
    if not work.makes_dense or work.encoder is None:
        return None
    return int(work.encoder.encode_document_with_dense(["dimension"])[1].shape[1])


def drop_replaced(work: Work, index: IndexTables) -> None:
    """Drop the replaced index without blocking other sessions, and release its space."""
    connection, collection_id = work.connection, work.collection_id
    work.stage("drop", 0, 1)
    rebuilds.drop_replaced(work.tables)
    postings = work.collection.scoring.postings
    halved = ("token_code", "token_vector", postings, *(["dense_vector"] if work.collection.keeps_dense else []))
    collections.vacuum(connection, collection_id, *halved, shorten=True)
    collections.vacuum(connection, collection_id, "centroid", "passage", "word_posting")
    if work.wants_proxies:
        collections.vacuum(connection, index.codebook_id, "proxy")
    vectors.clear(work.tables)
    collections.drop_leftovers(connection)
    work.stage("drop", 1, 1)
