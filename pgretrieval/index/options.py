"""Options of a new collection: declared once, and checked in one place."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypedDict

from pgretrieval import presets, validate
from pgretrieval.buckets import MAX_BUCKETS
from pgretrieval.db.tables import collections
from pgretrieval.db.tables.collections import CollectionRow, NewCollection
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.encode.pooling import MAX_POOLING
from pgretrieval.errors import ConfigError
from pgretrieval.index.vectors import check_dim
from pgretrieval.types import GENERATORS, LEVELS, RERANKS, SCORERS, Generator, Levels, Rerank, Scorer, Scoring

DEFAULT_BITS = 4
MAX_TITLE_WEIGHT = 1e6
_LOG = logging.getLogger("pgretrieval")


class CollectionOptions(TypedDict, total=False):
    """Options of `RetrievalDatabase.create_collection`."""

    preset: str | None
    """System of a paper, whose options apply where none are given, also to later searches: "colbertv2", "plaid", "xtr", "colxtr",
    "constbert" (32 vectors a passage), "constbert16", "constbert64" or "anncur" (docs/papers.md).
    """

    dim: int | None
    """Dimension of the token vectors, 48 to 1,024. Default: the encoder's, or that of the first vectors added."""

    levels: Levels
    """Placement of the residual codec's levels: "lloyd-max" (default), or "quantile" as in the paper."""

    generator: Generator
    """Candidate generator: "postings" of probed centroids; "proxy", a learned vector for each passage in addition to postings; or
    "auto" (default), which uses postings, since they measured better at every size (docs/design/candidates.md).
    """

    keep_vectors: bool
    """Store token vectors in half precision in addition to codes: four times the bytes, exact scores, a fast last stage in SQL."""

    language: str | None
    """Text search configuration of the server for searches by words, or None. Default: "english"."""

    title_weight: float
    """Weight of a word of the title in searches by words. Default: 1."""

    dense: str | None
    """Location of a dense vector for each passage, for hybrid searches: "auto" (default) in the collection if the encoder computes
    them in the same pass, or `add` gives them; "kept" in the collection for every passage, from the encoder or `add`;
    "schema.table.column" in the application; or None.
    """

    dense_key: str | None
    """Column of that table with the passages' ids. Default: its primary key."""

    token_pooling: int | None
    """Divisor of the number of token vectors that the encoder computes of a passage: means of clusters of similar tokens are stored
    instead (docs/design/pooling.md). Given vectors are stored as they are. Default: 1, no pooling.
    """

    vectors_per_passage: int | None
    """Constant number of vectors of every passage (ConstBERT). Default: that of the encoder, if it pools to a constant number."""

    scorer: Scorer
    """Scorer of passages: "maxsim" (default) uses all tokens; "xtr" and "colxtr" use the tokens that a query retrieves, whose codes
    are stored by centroid.
    """

    rerank: Rerank | None
    """Scorer of the best passages after "xtr" or "colxtr": "maxsim", which also stores codes by passage, or "none" (default)."""

    unit_vectors: bool | None
    """True to scale token vectors to unit length, False to keep their lengths. Default: True, or that of a `CollectionEncoder` for
    "xtr" and "colxtr".
    """

    buckets: int | None
    """Number of buckets, 1 to 1,024, that the rows of passages are in by a hash of their ids. A distributed Postgres spreads them
    over its nodes. Hits and scores do not depend on their number, which cannot be changed later. Default: 64 on a distributed
    schema, else 1.
    """


def with_preset(encoder: Any, bits: Any, options: Mapping[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Return encoder, bits and other options of a new collection, completed by those of its preset, which are logged."""
    if options.get("preset") is None:
        return encoder, bits, dict(options)
    name, given = presets.read_name(options["preset"]), {**options, "encoder": encoder, "bits": bits}
    _LOG.info("%s", presets.collection_summary(name, given))
    completed = presets.completed(given, presets.PRESETS[name].collection)
    return completed.pop("encoder"), completed.pop("bits"), completed


def read_settings(name: Any, bits: Any, options: Mapping[str, Any]) -> NewCollection:
    """Check name and options of a new collection, except those that depend on its encoder. Raises ConfigError."""
    if "candidates" in options:
        given = validate.shown(options["candidates"])
        msg = f"candidates is {given}; use generator instead: generator={given}"
        raise ConfigError(msg)
    validate.option_names("create_collection", options, CollectionOptions)
    name = validate.collection_name(name)
    bits = validate.whole("bits", DEFAULT_BITS if bits is None else bits)
    if bits not in (1, 2, 4):
        msg = f"bits is {bits!r}; the residual codec supports 1, 2 and 4"
        raise ConfigError(msg)
    dim, unit_vectors = options.get("dim"), options.get("unit_vectors")
    settings = NewCollection(
        name=name,
        dim=None if dim is None else check_dim(dim),
        bits=bits,
        levels=validate.choice("levels", options.get("levels", "lloyd-max"), LEVELS),
        generator=validate.choice("generator", options.get("generator", "auto"), GENERATORS),
        keep_vectors=validate.flag("keep_vectors", options.get("keep_vectors", False)),
        language=validate.text_or_none("language", options.get("language", "english"), most=validate.MAX_NAME),
        title_weight=validate.number("title_weight", options.get("title_weight", 1.0), 0, MAX_TITLE_WEIGHT),
        dense=validate.text_or_none("dense", options.get("dense", collections.AUTO), most=validate.MAX_NAME),
        dense_key=validate.text_or_none("dense_key", options.get("dense_key"), most=validate.MAX_NAME),
        vectors_per_passage=validate.whole_or_none("vectors_per_passage", options.get("vectors_per_passage")),
        scoring=_read_scoring(options.get("scorer", "maxsim"), options.get("rerank")),
        unit_vectors=None if unit_vectors is None else validate.flag("unit_vectors", unit_vectors),
        preset=_stored(options.get("preset")),
        buckets=validate.whole_or_none("buckets", options.get("buckets"), most=MAX_BUCKETS),
        token_pooling=validate.whole_or_none("token_pooling", options.get("token_pooling"), most=MAX_POOLING),
    )
    _check_together(settings)
    return settings


def with_encoder(settings: NewCollection, encoder: CollectionEncoder | None) -> NewCollection:
    """Return the settings completed by the encoder's. Raises ConfigError if they contradict."""
    unit = settings.unit_vectors
    if unit is None:
        unit = encoder is None or encoder.unit or not settings.scoring.by_tokens
    settings = replace(settings, unit_vectors=unit)
    if encoder is None:
        return settings
    if settings.dense == collections.AUTO and not encoder.has_dense:
        settings = replace(settings, dense=None)
    if encoder.token_pooling > 1:
        check_pooling(encoder, unit=unit, vectors_per_passage=settings.vectors_per_passage)
    encoder_dim, encoder_vectors = check_dim(encoder.dim), encoder.vectors_per_passage
    if settings.dim not in (None, encoder_dim):
        msg = f"dim is {settings.dim}, but encoder {encoder.spec} has {encoder_dim}; leave it out"
        raise ConfigError(msg)
    given = settings.vectors_per_passage
    if given is not None and encoder_vectors not in (None, given):
        msg = f"vectors_per_passage is {given}, but encoder {encoder.spec} returns {encoder_vectors}; leave it out"
        raise ConfigError(msg)
    return replace(
        settings,
        encoder=encoder.spec,
        dim=encoder_dim,
        vectors_per_passage=given if encoder_vectors is None else encoder_vectors,
    )


def without_token_vectors(settings: NewCollection) -> NewCollection:
    """Return the settings of a collection of texts only. Raises ConfigError for options of token vectors."""
    if settings.dim is not None or settings.keep_vectors or settings.dense == collections.KEPT or settings.scoring.by_tokens:
        msg = 'encoder "none" creates a collection of texts only; leave dim, keep_vectors, dense="kept" and scorer out'
        raise ConfigError(msg)
    if settings.token_pooling not in (None, 1):
        msg = f'token_pooling is {settings.token_pooling}, but encoder "none" computes no token vectors; leave it out'
        raise ConfigError(msg)
    dense = None if settings.dense == collections.AUTO else settings.dense
    return replace(with_encoder(settings, None), encoder=collections.TEXTS_ALONE, dense=dense)


def check_pooling(encoder: CollectionEncoder, *, unit: bool, vectors_per_passage: int | None) -> None:
    """Raise ConfigError if an encoder that pools tokens does not fit: without unit vectors, or with a constant number of them."""
    msg = f"token_pooling is {encoder.token_pooling}, but "
    if not unit:
        raise ConfigError(msg + "clusters of tokens need unit vectors; leave token_pooling out, or give unit_vectors=True")
    if encoder.vectors_per_passage is not None or vectors_per_passage is not None:
        raise ConfigError(msg + "every passage has a constant number of vectors (vectors_per_passage); leave one of them out")


def makes_dense(row: CollectionRow, encoder: CollectionEncoder) -> bool:
    """Return whether the encoder computes the dense vectors of a collection that keeps them."""
    return row.dense == collections.KEPT or (row.dense == collections.AUTO and encoder.has_dense)


def _stored(preset: Any) -> dict[str, Any] | None:
    """Return what a collection stores of its preset."""
    return None if preset is None else {"name": preset, "search": list(presets.PRESETS[preset].search)}


def _read_scoring(scorer: Any, rerank: Any) -> Scoring:
    scorer = validate.choice("scorer", scorer, SCORERS)
    rerank = None if rerank is None else validate.choice("rerank", rerank, RERANKS)
    return Scoring(scorer, "maxsim" if rerank == "maxsim" else None)


def _check_together(settings: NewCollection) -> None:
    scoring = settings.scoring
    if scoring.by_tokens:
        if settings.generator == "proxy":
            msg = f'generator is "proxy", but scorer {scoring.scorer!r} retrieves tokens; leave generator out'
            raise ConfigError(msg)
        return
    if scoring.rerank is not None:
        msg = 'rerank is "maxsim", which scorer "maxsim" includes; leave rerank out, or give scorer="xtr" or "colxtr"'
        raise ConfigError(msg)
