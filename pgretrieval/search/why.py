"""Why a search returns a passage or not: its similarities, its ranks by each kind of score, and what it lacks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from pgretrieval import validate
from pgretrieval.assets import statements
from pgretrieval.db import candidates as read
from pgretrieval.db.selection import array_of
from pgretrieval.errors import PassageNotFoundError
from pgretrieval.index.opened import OpenCollection
from pgretrieval.index.vectors import token_matrix
from pgretrieval.search.explained import SEARCHES, ComponentRank, MatchExplanation
from pgretrieval.search.matches import described, located
from pgretrieval.search.options import QueryVectors, ScanOptions, ScanRequest, SearchRequest, as_list, texts_for
from pgretrieval.search.page_matches import is_page_image, patches_of, tokens_of
from pgretrieval.search.pipeline import SearchPipeline, encode_hybrid_query
from pgretrieval.search.watched import Watched
from pgretrieval.types import Float32Array, Hit, Mode, Passage, Restriction, TokenText

_SQL = statements("search")
_COUNTED = 1000  # hits of each kind among which a rank is counted
_CHARACTERS = 64_000  # of a query that are read for words
_SHOWN_WORDS = 10
_SHOWN_METADATA = 200
_NOTHING = np.zeros((0, 0), dtype=np.float32)
_TEXTS_ALONE = "The collection stores texts only, so there are no token vectors to compare."
_FACTORIZED = (
    'The collection has a factorisation. A search with scorer="cross_encoder" has other scores than these: a cross-encoder reads '
    "query and passage together, so there are no token matches."
)
_NO_PATCHES = (
    "The encoder does not tell which vector is of which patch of the page's image, so the page's vectors are named by number."
)


class _Found(NamedTuple):
    """Row of the passage: its number and fields, what a filter says of it, and words of the query that it lacks."""

    passage_id: int
    title: str | None
    text: str
    metadata: dict[str, Any]
    passes_filter: bool
    passes_among: bool
    missing_words: list[str]
    is_factorized: bool


def explain_match(
    opened: OpenCollection,
    pipeline: SearchPipeline,
    key: str,
    query: str | None,
    vectors: Any,
    dense: Any,
    request: SearchRequest,
    mode: Mode,
    hits: Sequence[Hit] | None,
) -> MatchExplanation:
    """Compare a passage with a query, and follow it through the search by late interaction, or find it among another's hits.

    Raises PassageNotFoundError.
    """
    row = opened.refresh()
    found = _find(opened, key, query, request.scan.restriction or Restriction())
    passage, lacks = Passage(key, found.text, found.title, found.metadata), _excluded(found, request)
    note = _FACTORIZED if found.is_factorized else None
    if row.texts_alone:
        ranks = _other_ranks(opened, found, passage, query, None, request)
        place = _place(hits or (), key)
        lacks += _missing(found)
        return MatchExplanation(query, passage, (), (), _NOTHING, None, (), mode, place, ranks, tuple(lacks), note or _TEXTS_ALONE)

    queries, query_dense = _encode(opened, query, vectors, dense, request)
    watched = Watched(found.passage_id)
    restriction = None if lacks else request.scan.restriction
    report = pipeline.search_encoded(queries, replace(request.scan, matches=True, watched=watched, restriction=restriction))[0]
    if watched.found is None:  # deleted in the meantime
        raise _unknown(opened, key)
    score = float(watched.found.components["late"][0])
    place = None if lacks else _place(report.hits if hits is None else hits, key)
    if hits is not None:
        lacks += [] if place or lacks else [_unfound(mode, len(hits), request.k)]
    elif request.min_score is not None and np.float32(score) < np.float32(request.min_score):
        place = None
        lacks.append(f"Its score, {score:.4f}, is below min_score, {request.min_score:g}.")
    elif place is None and not lacks:
        lacks.append(watched.lacks or _too_low(score, report.hits))
    similarity = _in_order(opened, watched, queries.vectors[0], passage)
    query_tokens, passage_tokens = _tokens(opened, queries, passage, len(similarity))
    itself = [Hit(0, key, score, found.title, found.text, {})]
    (hit,) = described(itself, watched.found, query_tokens, None if passage_tokens is None else [passage_tokens])
    patches = patches_of(opened.encoder_or_none(), passage, len(similarity))
    if patches is None and is_page_image(opened.encoder_or_none(), passage):
        note = _NO_PATCHES if note is None else f"{note} {_NO_PATCHES}"
    late = _late_rank(pipeline, queries, request, key, score, report.candidates)
    return MatchExplanation(
        query=query,
        passage=passage,
        query_tokens=tuple(query_tokens or [TokenText(None)] * len(queries.vectors[0])),
        passage_tokens=tuple(passage_tokens or [TokenText(None)] * len(similarity)),
        similarities=similarity.T,
        score=score,
        matches=hit.matches or (),
        mode=mode,
        rank=place,
        ranks={"late": late} | _other_ranks(opened, found, passage, query, query_dense, request),
        lacks=tuple(lacks + _missing(found)),
        note=note,
        patches=patches,
    )


def _place(hits: Sequence[Hit], key: str) -> int | None:
    """Return the rank of a passage among hits, or None."""
    return next((hit.rank for hit in hits if hit.id == key), None)


def _find(opened: OpenCollection, key: str, query: str | None, restriction: Restriction) -> _Found:
    words = list(dict.fromkeys(re.findall(r"\w+", (query or "")[:_CHARACTERS])))
    parameters = {"key": key, "words": words, "language": opened.row.language or "simple", **restriction.named}
    statement = _SQL["passage_to_explain"].format(among=restriction.ids)
    with opened.database.reading(f"reading passage {validate.shown(key)}") as connection:
        rows = opened.row.tables(connection).rows(statement, **parameters)
    if not rows:
        raise _unknown(opened, key)
    return _Found(*rows[0])


def _unknown(opened: OpenCollection, key: str) -> PassageNotFoundError:
    return PassageNotFoundError(f"collection {opened.name!r} has no passage {validate.shown(key)}; give the id of a stored passage")


def _excluded(found: _Found, request: SearchRequest) -> list[str]:
    """Return why the restriction leaves the passage out, or nothing."""
    lacks = []
    if not found.passes_filter:
        metadata = json.dumps(found.metadata, ensure_ascii=False, default=str)
        more = "…" if len(metadata) > _SHOWN_METADATA else ""
        lacks.append(f"The filter where= excludes it; its metadata are {metadata[:_SHOWN_METADATA]}{more}.")
    if not found.passes_among:
        lacks.append("The ids in among= do not include it.")
    return lacks


def _missing(found: _Found) -> list[str]:
    """Return which words of the query the passage does not contain, in a sentence, or nothing."""
    missing = found.missing_words
    if not missing:
        return []
    more = f" and {len(missing) - _SHOWN_WORDS:,} more" if len(missing) > _SHOWN_WORDS else ""
    return [f"Of the query's words it does not contain: {', '.join(missing[:_SHOWN_WORDS])}{more}."]


def _encode(
    opened: OpenCollection, query: str | None, vectors: Any, dense: Any, request: SearchRequest
) -> tuple[QueryVectors, Float32Array | None]:
    queries, query_dense = encode_hybrid_query(opened, query or "", vectors, dense)
    if request.scan.options.generator == "text":
        queries = replace(queries, texts=texts_for("the search by words", as_list(query), None))
    return queries, query_dense


def _too_low(score: float, hits: Sequence[Hit]) -> str:
    return (
        f"Its score, {score:.4f}, does not reach that of hit {len(hits):,}, {hits[-1].score:.4f}."
        if hits
        else "The search has no hits."
    )


def _unfound(mode: Mode, hits: int, k: int) -> str:
    search = SEARCHES[mode]
    return f"It ranks below hit {k:,} of the {search}." if hits == k else f"The {search} does not find it."


def _in_order(opened: OpenCollection, watched: Watched, query: Float32Array, passage: Passage) -> Float32Array:
    """Return the similarities (passage tokens, query tokens).

    Where the index does not store the passage's vectors in order, the text is encoded again; without an encoder there are none.
    """
    if watched.similarity is not None:
        return watched.similarity
    if (encoder := opened.encoder_of_texts()) is None or watched.found is None:
        return np.zeros((0, len(query)), dtype=np.float32)
    tokens = token_matrix(encoder.encode_document([passage.encoded_text]), unit=opened.row.unit_vectors)
    watched.found = replace(watched.found, best=located(watched.found.best, tokens))
    similarity: Float32Array = tokens.vectors @ query.T
    return similarity


def _tokens(
    opened: OpenCollection, queries: QueryVectors, passage: Passage, count: int
) -> tuple[list[TokenText] | None, list[TokenText] | None]:
    """Return the tokens of query and passage where the encoder tells as many as there are vectors."""
    encoder = opened.encoder_or_none()
    asked = encoder.query_tokens(queries.encoded) if encoder and queries.encoded else None
    told = tokens_of(encoder, [passage]) if encoder else None
    return (
        asked[0] if asked and len(asked[0]) == len(queries.vectors[0]) else None,
        told[0] if told and len(told[0]) == count else None,
    )


def _late_rank(
    pipeline: SearchPipeline, queries: QueryVectors, request: SearchRequest, key: str, score: float, candidates: int
) -> ComponentRank:
    """Return the rank among the hits of a deep search by the same scorer."""
    given = request.scan.options
    options = ScanOptions(reduction=given.reduction, scorer=given.scorer, rerank=given.rerank)
    deep = _COUNTED
    if given.scorer != "maxsim":
        options = replace(options, probes=given.probes, k_tokens=given.k_tokens, imputation=given.imputation)
        deep = min(deep, max(candidates, 1))  # a search for more than have a retrieved token retrieves more, which changes scores
    searched = ScanRequest(deep, options, request.scan.restriction)
    hits = pipeline.search_encoded(replace(queries, texts=None), searched)[0].hits
    if place := next((hit.rank for hit in hits if hit.id == key), None):
        return ComponentRank(place, True, score)
    return _rank(np.array([hit.score for hit in hits], dtype=np.float32), score, deep)


def _other_ranks(
    opened: OpenCollection, found: _Found, passage: Passage, query: str | None, dense: Float32Array | None, request: SearchRequest
) -> dict[str, ComponentRank]:
    """Return the ranks by words and by dense vectors, of those that collection and query have."""
    restriction, itself = request.scan.restriction or Restriction(), Restriction(None, *array_of([passage.id], "id"))
    pending: dict[str, tuple[read.PendingScores, read.PendingScores]] = {}
    with opened.database.reading(f"searching collection {opened.name!r}", pipelined=True) as connection:
        tables = opened.row.tables(connection)
        if query is not None and opened.row.language is not None:
            pending["words"] = read.by_words(tables, itself, query, 1), read.by_words(tables, restriction, query, _COUNTED)
        if dense is not None:
            ids = np.array([found.passage_id], dtype=np.int32)
            pending["dense"] = read.dense_scores(tables, ids, dense), read.by_dense(tables, restriction, dense, _COUNTED)
        ranks = {}
        for name, (own, best) in pending.items():
            (_, own_scores), (_, scores) = own.read(), best.read()
            ranks[name] = _rank(scores, float(own_scores[0]) if len(own_scores) else None, _COUNTED)
        return ranks


def _rank(scores: Float32Array, own: float | None, counted: int) -> ComponentRank:
    """Return the rank of a passage's own score among the best scores, `counted` at most."""
    if own is None:
        return ComponentRank(None, True, None)
    higher = int((scores > np.float32(own)).sum())
    return ComponentRank(higher + 1, higher < counted, own)
