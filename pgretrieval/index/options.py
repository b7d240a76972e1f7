"""Options of a new collection: declared once, and read in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypedDict

from pgretrieval import validate
from pgretrieval.db.tables import collections
from pgretrieval.db.tables.collections import CollectionSettings
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.errors import ConfigError
from pgretrieval.index.vectors import check_dim
from pgretrieval.types import GENERATORS, LEVELS, RERANKS, SCORERS, Generator, Levels, Rerank, Scorer, Scoring

MAX_TITLE_WEIGHT = 1e6


class CollectionOptions(TypedDict, total=False):
    """Options of `RetrievalDatabase.create_collection`."""

    dim: int | None
    """Dimension of the token vectors, 48 to 1,024. Default: the encoder's, or that of the first vectors added."""

    levels: Levels
    """Where the residual codec places its levels: "lloyd-max" (default), or "quantile" as in the paper."""

    generator: Generator
    """What generates candidates: "postings" of probed centroids, "proxy" (one learned vector a passage, beside the postings), or
    "auto" (default), which is postings, since they measured better at every size (docs/design/candidates.md).
    """

    keep_vectors: bool
    """Keep the token vectors in half precision beside their codes: four times the bytes, exact scores, a fast last stage in SQL."""

    language: str | None
    """Text search configuration of the server for searches by words. Default: "english"; None for none."""

    title_weight: float
    """How many times a word of the title counts in searches by words. Default: 1."""

    dense: str | None
    """Where one dense vector per passage is, for hybrid searches: "kept" in the collection, from the encoder or given to `add`; or
    "schema.table.column", a table of yours. Default: nowhere.
    """

    dense_key: str | None
    """Column of that table that holds the passages' ids. Default: its primary key."""

    vectors_per_passage: int | None
    """Number of vectors of every passage, which makes rows of one size (ConstBERT). Default: that of an encoder which pools so."""

    scorer: Scorer
    """What scores passages: "maxsim" (default), all their tokens; "xtr" or "colxtr", the tokens that a query retrieves, whose codes
    are stored by centroid.
    """

    rerank: Rerank | None
    """What scores the best by "xtr" or "colxtr" again: "maxsim", for which codes are stored by passage, too; "none" (default)."""

    unit_vectors: bool | None
    """Whether token vectors are scaled to length one; "xtr" and "colxtr" can keep lengths. Default: what the encoder does."""


def read_settings(name: Any, bits: Any, options: Mapping[str, Any]) -> CollectionSettings:
    """Check the name and options of a new collection, all that can be checked without its encoder. Raises ConfigError."""
    if "candidates" in options:
        given = validate.shown(options["candidates"])
        msg = f"candidates is {given}; use generator instead: generator={given}"
        raise ConfigError(msg)
    validate.option_names("create_collection", options, CollectionOptions)
    name = validate.collection_name(name)
    bits = validate.whole("bits", bits)
    if bits not in (1, 2, 4):
        msg = f"bits is {bits!r}; the residual codec knows 1, 2 and 4"
        raise ConfigError(msg)
    dim, unit_vectors = options.get("dim"), options.get("unit_vectors")
    settings = CollectionSettings(
        name=name,
        dim=None if dim is None else check_dim(dim),
        bits=bits,
        levels=validate.choice("levels", options.get("levels", "lloyd-max"), LEVELS),
        generator=validate.choice("generator", options.get("generator", "auto"), GENERATORS),
        keep_vectors=validate.flag("keep_vectors", options.get("keep_vectors", False)),
        language=validate.text_or_none("language", options.get("language", "english"), most=validate.MAX_NAME),
        title_weight=validate.number("title_weight", options.get("title_weight", 1.0), 0, MAX_TITLE_WEIGHT),
        dense=validate.text_or_none("dense", options.get("dense"), most=validate.MAX_NAME),
        dense_key=validate.text_or_none("dense_key", options.get("dense_key"), most=validate.MAX_NAME),
        vectors_per_passage=validate.whole_or_none("vectors_per_passage", options.get("vectors_per_passage")),
        scoring=_read_scoring(options.get("scorer", "maxsim"), options.get("rerank")),
        unit_vectors=None if unit_vectors is None else validate.flag("unit_vectors", unit_vectors),
    )
    _check_together(settings)
    return settings


def with_encoder(settings: CollectionSettings, encoder: CollectionEncoder | None) -> CollectionSettings:
    """Return the settings with what the encoder decides. Raises ConfigError where the two do not fit."""
    unit = settings.unit_vectors
    if unit is None:
        unit = encoder is None or encoder.unit or not settings.scoring.by_tokens
    settings = replace(settings, unit_vectors=unit)
    if encoder is None:
        return settings
    made_dim, made_vectors = check_dim(encoder.dim), encoder.vectors_per_passage
    if settings.dim not in (None, made_dim):
        msg = f"dim is {settings.dim}, encoder {encoder.spec} has {made_dim}"
        raise ConfigError(msg)
    given = settings.vectors_per_passage
    if given is not None and made_vectors not in (None, given):
        msg = f"vectors_per_passage is {given}, encoder {encoder.spec} makes {made_vectors}; leave it out"
        raise ConfigError(msg)
    return replace(
        settings,
        encoder=encoder.spec,
        dim=made_dim,
        vectors_per_passage=given if made_vectors is None else made_vectors,
    )


def without_token_vectors(settings: CollectionSettings) -> CollectionSettings:
    """Return the settings of a collection of texts alone. Raises ConfigError for options that are of token vectors."""
    if settings.dim is not None or settings.keep_vectors or settings.dense == collections.KEPT or settings.scoring.by_tokens:
        msg = 'encoder "none" makes a collection of texts alone; leave dim, keep_vectors, dense="kept" and scorer out'
        raise ConfigError(msg)
    return replace(with_encoder(settings, None), encoder=collections.TEXTS_ALONE)


def _read_scoring(scorer: Any, rerank: Any) -> Scoring:
    scorer = validate.choice("scorer", scorer, SCORERS)
    rerank = None if rerank is None else validate.choice("rerank", rerank, RERANKS)
    return Scoring(scorer, "maxsim" if rerank == "maxsim" else None)


def _check_together(settings: CollectionSettings) -> None:
    scoring = settings.scoring
    if scoring.by_tokens:
        if settings.generator == "proxy":
            msg = f'generator is "proxy", and scorer {scoring.scorer!r} finds passages by their tokens; leave generator out'
            raise ConfigError(msg)
        return
    if scoring.rerank is not None:
        msg = 'rerank is "maxsim", which scorer "maxsim" does anyway; leave rerank out, or give scorer="xtr" or "colxtr"'
        raise ConfigError(msg)
    if settings.unit_vectors is False:
        msg = 'unit_vectors is False, and scorer "maxsim" is over unit vectors; leave it out, or give scorer="xtr" or "colxtr"'
        raise ConfigError(msg)
