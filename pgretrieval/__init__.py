"""Late-interaction retrieval in the Postgres you already run.

>>> import pgretrieval
>>> with pgretrieval.connect() as db:                                    # doctest: +SKIP
...     docs = db.create_collection("docs", encoder="minilm")
...     docs.add([{"id": "a", "text": "a text"}])
...     docs.build()
...     docs.search("a question", k=10)
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pgretrieval.errors import (
    BuildWorkerError,
    CollectionExistsError,
    CollectionNotFoundError,
    ConfigError,
    ConflictError,
    DatabaseUnavailableError,
    DimensionMismatchError,
    DuplicateIdError,
    EncoderChangedError,
    EncoderError,
    ExtensionError,
    IndexNotBuiltError,
    InputError,
    MissingExtraError,
    PassageNotFoundError,
    PgRetrievalError,
    PgRetrievalWarning,
    SchemaError,
    StorageError,
    TimedOutError,
    UnknownOptionError,
    VectorError,
)
from pgretrieval.importing import whole

if TYPE_CHECKING:
    from pgretrieval.anncur.factorize import Costs, FactorizationReport
    from pgretrieval.asynchronous import AsyncCollection, AsyncRetrievalDatabase, Connecting, connect_async
    from pgretrieval.collection import Collection
    from pgretrieval.corpus.page_images import read_page_images
    from pgretrieval.corpus.reading import read_passages
    from pgretrieval.database import RetrievalDatabase, connect
    from pgretrieval.db.doctor import Finding
    from pgretrieval.encode.base import CollectionEncoder
    from pgretrieval.index.build import BuildReport
    from pgretrieval.index.options import CollectionOptions
    from pgretrieval.search.explain import Explanation
    from pgretrieval.search.explained import ComponentRank, MatchExplanation
    from pgretrieval.search.options import SearchOptions
    from pgretrieval.types import AddReport, CollectionSettings, Hit, Passage, TokenMatch, Violation, WorkReport

__all__ = [
    "AddReport",
    "AsyncCollection",
    "AsyncRetrievalDatabase",
    "BuildReport",
    "BuildWorkerError",
    "Collection",
    "CollectionEncoder",
    "CollectionExistsError",
    "CollectionNotFoundError",
    "CollectionOptions",
    "CollectionSettings",
    "ComponentRank",
    "ConfigError",
    "ConflictError",
    "Connecting",
    "Costs",
    "DatabaseUnavailableError",
    "DimensionMismatchError",
    "DuplicateIdError",
    "EncoderChangedError",
    "EncoderError",
    "Explanation",
    "ExtensionError",
    "FactorizationReport",
    "Finding",
    "Hit",
    "IndexNotBuiltError",
    "InputError",
    "MatchExplanation",
    "MissingExtraError",
    "Passage",
    "PassageNotFoundError",
    "PgRetrievalError",
    "PgRetrievalWarning",
    "RetrievalDatabase",
    "SchemaError",
    "SearchOptions",
    "StorageError",
    "TimedOutError",
    "TokenMatch",
    "UnknownOptionError",
    "VectorError",
    "Violation",
    "WorkReport",
    "connect",
    "connect_async",
    "read_page_images",
    "read_passages",
]

_LAZY = {
    "connect": "pgretrieval.database",
    "RetrievalDatabase": "pgretrieval.database",
    "Collection": "pgretrieval.collection",
    "read_page_images": "pgretrieval.corpus.page_images",
    "read_passages": "pgretrieval.corpus.reading",
    "BuildReport": "pgretrieval.index.build",
    "CollectionEncoder": "pgretrieval.encode.base",
    "CollectionOptions": "pgretrieval.index.options",
    "Explanation": "pgretrieval.search.explain",
    "SearchOptions": "pgretrieval.search.options",
    "Finding": "pgretrieval.db.doctor",
    **dict.fromkeys(("AsyncCollection", "AsyncRetrievalDatabase", "Connecting", "connect_async"), "pgretrieval.asynchronous"),
    **dict.fromkeys(("ComponentRank", "MatchExplanation"), "pgretrieval.search.explained"),
    **dict.fromkeys(("Costs", "FactorizationReport"), "pgretrieval.anncur.factorize"),
    **dict.fromkeys(
        ("AddReport", "CollectionSettings", "Hit", "Passage", "TokenMatch", "Violation", "WorkReport"), "pgretrieval.types"
    ),
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        whole(_LAZY[name])
        found = globals()[name] = getattr(sys.modules[_LAZY[name]], name)
        return found
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
