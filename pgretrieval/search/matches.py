"""Token matches of hits: for each query token the passage's best token, its similarity, and its share of the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgretrieval.db.candidates import CodedPassages, ListedTokens, StoredPassages
from pgretrieval.numerics.codebook import Codebook
from pgretrieval.numerics.kernels import best_of_vectors, by_lanes
from pgretrieval.search.fusion import Parts
from pgretrieval.search.maxsim import token_similarity
from pgretrieval.types import Float32Array, Hit, Int32Array, Int64Array, TokenMatch, TokenMatrix, TokenText

NOWHERE = -1
"""Position of a token that is not known, or of none."""

_Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BestTokens:
    """Best tokens of the hits of one query: arrays (hits, query tokens) of similarities, positions, and whether they are imputed.

    `lengths` (hits,) are the numbers of the passages' vectors, 0 where unknown. `vectors` (hits, query tokens, dim) are those of
    the best tokens where their positions are unknown.
    """

    similarities: Float32Array
    positions: Int64Array
    imputed: NDArray[np.bool_]
    lengths: Int64Array
    vectors: Float32Array | None = None


@dataclass(frozen=True, slots=True)
class HitMatches:
    """Best tokens of the hits of one query with their shares (hits, query tokens), and the parts (hits,) of the scores."""

    best: BestTokens
    shares: _Numbers
    components: dict[str, _Numbers]


def best_of(similarity: Float32Array, offsets: Int64Array) -> BestTokens:
    """Return the best token of each passage for each query token, of all similarities (tokens, query tokens)."""
    parts = [similarity[start:end] for start, end in pairwise(offsets)]
    shape = len(parts), similarity.shape[1]
    positions = np.array([part.argmax(axis=0) for part in parts], dtype=np.int64).reshape(shape)
    best = similarity[offsets[:-1, None] + positions, np.arange(shape[1])]
    return BestTokens(best, positions, np.zeros(shape, dtype=bool), np.diff(offsets))


def best_by_codes(query: Float32Array, codebook: Codebook, coded: CodedPassages, passage_ids: Int32Array) -> BestTokens:
    """Return the best tokens of some of the coded passages, by the similarities that scored them."""
    some = coded.some(places_of(passage_ids, coded.passage_ids))
    return best_of(coded_similarity(query, codebook, some), some.offsets)


def best_by_vectors(query: Float32Array, stored: StoredPassages, passage_ids: Int32Array) -> BestTokens:
    """Return the best tokens of some of the stored passages, by the similarities that scored them."""
    some = stored.tokens.some(places_of(passage_ids, stored.passage_ids).tolist())
    return best_of(stored_similarity(query, some), some.offsets)


def coded_similarity(query: Float32Array, codebook: Codebook, coded: CodedPassages) -> Float32Array:
    """Return the similarities (tokens, query tokens) of all tokens of coded passages."""
    owners = np.repeat(coded.passage_ids, np.diff(coded.offsets))
    return token_similarity(query, codebook, ListedTokens(owners, coded.centroid_ids, coded.residuals))[:, : len(query)]


def stored_similarity(query: Float32Array, tokens: TokenMatrix) -> Float32Array:
    """Return the similarities (tokens, query tokens) of all tokens of stored passages."""
    count = len(tokens.vectors)
    lanes = by_lanes(query)
    found = best_of_vectors(lanes, tokens.vectors, np.arange(count, dtype=np.int32), count)
    return found.reshape(count, -1)[:, : len(query)]


def located(best: BestTokens, tokens: TokenMatrix) -> BestTokens:
    """Return the best tokens with their positions: those of the nearest of the passages' vectors."""
    if best.vectors is None:
        return best
    positions = np.full(best.positions.shape, NOWHERE, dtype=np.int64)
    for hit, (start, end) in enumerate(pairwise(tokens.offsets)):
        vectors = tokens.vectors[start:end]
        distances = np.vecdot(vectors, vectors) / 2 - best.vectors[hit] @ vectors.T  # up to what all have in common
        positions[hit] = distances.argmin(axis=1)
    positions[best.imputed] = NOWHERE
    return replace(best, positions=positions, lengths=tokens.lengths, vectors=None)


def shared(best: BestTokens, scores: Float32Array, divisor: float, fused: Parts | None) -> HitMatches:
    """Return the best tokens with what each adds to its hit's score (hits,), which is their sum over `divisor` or a fused one.

    To a fused score a token adds `slope` times what it adds to the late-interaction score, and all tokens of a hit the same
    besides, so that they sum to "late"; without a slope they have the proportions of the late-interaction score.
    """
    own = best.similarities.astype(np.float64) / divisor
    if fused is None:
        return HitMatches(best, own, {"late": scores.astype(np.float64)})
    total, late = own.sum(axis=1), fused.kinds["late"]
    if fused.slope is None:
        factors = np.divide(late, total, out=np.zeros_like(late), where=total != 0)
    else:
        factors = np.full_like(late, fused.slope)
    besides = (late - factors * total) / own.shape[1]
    return HitMatches(best, own * factors[:, None] + besides[:, None], fused.kinds)


def described(
    hits: Sequence[Hit],
    found: HitMatches,
    query_tokens: Sequence[TokenText] | None,
    passage_tokens: Sequence[Sequence[TokenText]] | None,
) -> list[Hit]:
    """Return the hits with their matches; texts and offsets are left out where there are not as many tokens as vectors."""
    best = found.best
    count = best.similarities.shape[1]
    asked = query_tokens if query_tokens is not None and len(query_tokens) == count else None
    queries = [TokenText(None)] * count if asked is None else asked
    shown: list[Hit] = []
    for place, hit in enumerate(hits):
        told = passage_tokens[place] if passage_tokens is not None else None
        tokens = told if told is not None and len(told) == best.lengths[place] else None
        rows = (best.positions[place], best.similarities[place], found.shares[place], best.imputed[place])
        matches = tuple(
            _match(number, query, tokens, *values)
            for number, (query, *values) in enumerate(zip(queries, *(row.tolist() for row in rows), strict=True))
        )
        components = {name: float(part[place]) for name, part in found.components.items()}
        shown.append(replace(hit, matches=matches, components=components))
    return shown


def _match(
    number: int, query: TokenText, tokens: Sequence[TokenText] | None, position: int, similarity: float, share: float, imputed: Any
) -> TokenMatch:
    known = position != NOWHERE
    token = tokens[position] if tokens is not None and known else TokenText(None)
    return TokenMatch(
        query.text, number, token.text, position if known else None, token.start, token.end, similarity, share, imputed
    )


def places_of(wanted: Int32Array, passage_ids: Int32Array) -> Int64Array:
    """Return the places of the wanted passages."""
    order = np.argsort(passage_ids)
    places: Int64Array = order[np.searchsorted(passage_ids, wanted, sorter=order)].astype(np.int64)
    return places
