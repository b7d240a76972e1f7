"""Builds and rebuilds of an open collection."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress

from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.errors import PgRetrievalError, PgRetrievalWarning
from pgretrieval.index.build import BuildReport, build
from pgretrieval.index.opened import OpenCollection
from pgretrieval.index.work import Stage


def build_collection(opened: OpenCollection, stage: Stage | None, *, anew: bool = False) -> BuildReport:
    """Build the index with the collection's encoder; with `anew`, rebuild an existing one."""

    def work() -> BuildReport:
        encoder = opened.encoder_of_texts()
        return build(opened.database, opened.row, encoder, stage, opened.computing, anew=anew)

    return _built(opened, work)


def rebuild_with(opened: OpenCollection, encoder: CollectionEncoder, stage: Stage | None) -> BuildReport:
    """Rebuild the index with another encoder, which becomes the collection's."""

    def work() -> BuildReport:
        return build(opened.database, opened.row, encoder, stage, opened.computing, anew=True, changes_encoder=True)

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


def _built(opened: OpenCollection, work: Callable[[], BuildReport]) -> BuildReport:
    opened.refresh()
    report = opened.retry(work)
    if report.slow_plans:
        message = f"the server plans searches without an index ({'; '.join(report.slow_plans)}); see `pgretrieval doctor`"
        warnings.warn(message, PgRetrievalWarning, stacklevel=4)
    return report
