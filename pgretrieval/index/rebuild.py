"""Builds and rebuilds of an open collection."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from pgretrieval import validate
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.encode.registry import load_encoder
from pgretrieval.errors import ConfigError, EncoderError, PgRetrievalError, PgRetrievalWarning
from pgretrieval.importing import whole
from pgretrieval.index.build_workers import Processes
from pgretrieval.index.opened import OpenCollection
from pgretrieval.index.options import check_pooling
from pgretrieval.index.vectors import check_dim
from pgretrieval.index.work import Stage

if TYPE_CHECKING:
    from pgretrieval.index.build import BuildReport


def build_collection(
    opened: OpenCollection, stage: Stage | None, processes: Processes | None, *, anew: bool = False
) -> BuildReport:
    """Build the index with the collection's encoder, by other processes if any; with `anew`, rebuild an existing one."""

    def work() -> BuildReport:
        return _build(opened, opened.encoder_of_texts(), stage, processes, anew=anew)

    return _built(opened, work)


def rebuild_with(
    opened: OpenCollection,
    given: str | object | None,
    token_pooling: int | None,
    stage: Stage | None,
    processes: Processes | None,
) -> BuildReport:
    """Load another encoder, None for the same, and rebuild the index with it; it becomes the collection's.

    `token_pooling` is its factor, None for that of the collection.
    """
    row = opened.refresh()
    named = opened.encoder()[1] if given is None else validate.names_or_object("encoder", given, EncoderError)
    factor = row.token_pooling if token_pooling is None else token_pooling
    encoder = load_encoder(named, opened.device, unit=row.unit_vectors, token_pooling=factor)
    check_dim(encoder.dim)
    if row.given_vectors and encoder.takes_images:
        msg = (
            f"rebuild would encode the texts of collection {row.name!r}, whose vectors were given, not its page images; index the "
            "pages into a new collection with this encoder or token_pooling"
        )
        raise ConfigError(msg)
    if factor > 1:
        check_pooling(encoder, unit=row.unit_vectors, vectors_per_passage=None)

    def work() -> BuildReport:
        return _build(opened, encoder, stage, processes, anew=True, changes_encoder=True)

    before = opened.refresh().encoding
    try:
        report = _built(opened, work)
    except BaseException:
        with suppress(PgRetrievalError):
            if opened.refresh().encoding != before:  # interrupted after the switch
                opened.take_encoder(encoder)
        raise
    opened.refresh()
    opened.take_encoder(encoder)
    return report


def _build(
    opened: OpenCollection,
    encoder: CollectionEncoder | None,
    stage: Stage | None,
    processes: Processes | None,
    *,
    anew: bool,
    changes_encoder: bool = False,
) -> BuildReport:
    """Import the build, which imports torch, and run it."""
    whole("torch")
    from pgretrieval.index.build import build
    from pgretrieval.numerics.hardware import compute_device

    devices = [compute_device(named) for named in processes.devices] if processes else []
    database, row, device = opened.database, opened.row, devices[0] if devices else opened.coders.device
    return build(database, row, encoder, stage, device, anew=anew, changes_encoder=changes_encoder, processes=processes)


def _built(opened: OpenCollection, work: Callable[[], BuildReport]) -> BuildReport:
    opened.refresh()
    report = opened.retry(work)
    if report.slow_plans:
        message = f"the server plans searches without an index ({'; '.join(report.slow_plans)}); see `pgretrieval doctor`"
        warnings.warn(message, PgRetrievalWarning, stacklevel=4)
    return report
