"""Collections of a few texts, with the default encoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import pgretrieval
from pgretrieval.encode import CollectionEncoder, load_encoder
from tests.support.serving import Serving, serving

TEXTS = [
    {"id": "river", "title": "Rivers", "text": "A river flows to the sea.", "metadata": {"year": 1990, "kind": "water"}},
    {"id": "bank", "title": "Banks", "text": "A bank lends money.", "metadata": {"year": 2005, "kind": "money"}},
    {"id": "loan", "text": "Money of a loan is paid back.", "metadata": {"year": 2015, "kind": "money"}},
    {"id": "sea", "text": "The sea is salty.", "metadata": {"year": 1995, "kind": "water"}},
]


KINDS: dict[str, dict[str, Any]] = {
    "docs": {"encoder": "minilm", "dense": None},
    "dense": {"encoder": "minilm"},
    "late": {"encoder": "minilm", "language": None, "dense": None},
    "texts": {"encoder": "none"},
    "a/b ü": {"encoder": "minilm", "dense": None},
}
"""Collections of `module_service`: with words, with dense vectors as well, with neither, with words only, and with an odd name."""


@pytest.fixture(scope="session")
def minilm() -> CollectionEncoder:
    """The default encoder, loaded once for all services of this process."""
    encoder = load_encoder("minilm")
    encoder.encode_query("load")
    return encoder


@pytest.fixture(scope="module")
def module_service(module_database: pgretrieval.RetrievalDatabase, minilm: CollectionEncoder) -> Iterator[Serving]:
    """A service for tests that change nothing, with collections of each kind."""
    for name, options in KINDS.items():
        collection = module_database.create_collection(name, **options)
        collection.add(TEXTS)
        if name != "texts":
            collection.build()
    given = module_database.create_collection("given")
    given.add([{"id": "x", "text": "one"}], vectors=[[[1.0] + [0.0] * 63]])
    with serving(module_database) as running:
        yield running


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase, minilm: CollectionEncoder) -> pgretrieval.Collection:
    """A collection with words, built, of a test's own database."""
    collection = database.create_collection("docs", encoder="minilm", dense=None)
    collection.add(TEXTS)
    collection.build()
    return collection


@pytest.fixture
def service(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection) -> Iterator[Serving]:
    """A service of a test's own database, which may change passages."""
    with serving(database, write=True, patience=1.0) as running:
        yield running
