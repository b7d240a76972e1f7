"""Collections that compute on a second device, from `connect` to hits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pgretrieval
from pgretrieval.errors import ConfigError
from pgretrieval.rerank.markers import new_cross_encoder
from tests.fixtures.models import WORDS
from tests.support.pretended import DEVICE, DONE, NAME

PASSAGES = [
    {"id": f"p{number}", "text": " ".join(np.random.default_rng(number).choice(WORDS, 3 + number % 9))} for number in range(400)
]
QUERIES = ["the river flows", "a loan of money", "water to the bank", "sea"]
SETTINGS: dict[str, dict[str, Any]] = {
    "postings": {},
    "proxy": {"generator": "proxy"},
    "xtr": {"scorer": "xtr"},
    "reranked": {"scorer": "colxtr", "rerank": "maxsim"},
    "long": {"scorer": "xtr", "unit_vectors": False, "bits": 2},
    "kept": {"keep_vectors": True},
}


@pytest.fixture
def there(database_url: str) -> Iterator[pgretrieval.RetrievalDatabase]:
    with pgretrieval.connect(url=database_url, device=NAME) as opened:
        yield opened


@pytest.fixture
def here(database_url: str) -> Iterator[pgretrieval.RetrievalDatabase]:
    with pgretrieval.connect(url=database_url, device="cpu") as opened:
        yield opened


def assert_alike(found: list[list[pgretrieval.Hit]], expected: list[list[pgretrieval.Hit]]) -> None:
    """Equal scores in every place: passages that score alike may change places."""
    for hits, others in zip(found, expected, strict=True):
        assert hits
        np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in others], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
def test_built_searched_and_changed(
    there: pgretrieval.RetrievalDatabase, here: pgretrieval.RetrievalDatabase, library_folder: Path, settings: dict[str, Any]
):
    """A collection encoded and built on the device has the hits and matches that a processor finds, one by one and together."""
    docs = there.create_collection("docs", encoder=str(library_folder), **settings)
    docs.add(PASSAGES[:350])
    before = DONE["bucketize"]
    docs.build()
    docs.add(PASSAGES[350:])
    assert DONE["bucketize"] >= before + 2
    same = here.get_collection("docs", encoder=str(library_folder))
    expected = [same.search(query) for query in QUERIES]
    assert_alike([docs.search(query) for query in QUERIES], expected)
    assert_alike(docs.search_many(QUERIES), expected)
    for hit in docs.search(QUERIES[0], matches=True):
        assert sum(match.share for match in hit.matches) == pytest.approx(hit.score, rel=1e-5)
        assert docs.explain_match(QUERIES[0], hit.id).matches == pytest.approx(hit.matches)
    assert docs.check() == []
    docs.rebuild()
    assert docs.search(QUERIES[0])


def test_vectors_that_are_on_the_device(there: pgretrieval.RetrievalDatabase):
    """Token vectors and dense vectors may be tensors on the device, in passages and in queries."""
    generator = np.random.default_rng(0)
    docs = there.create_collection("docs", dense="kept")
    arrays = [torch.tensor(generator.standard_normal((5, 64)), device=DEVICE) for _ in PASSAGES]
    dense = torch.tensor(generator.standard_normal((len(PASSAGES), 16)), device=DEVICE)
    docs.add(PASSAGES, vectors=arrays, dense=dense)
    docs.build()
    assert docs.search(vectors=arrays[7])[0].id == "p7"
    assert docs.hybrid_search("money", vectors=arrays[9], dense=dense[9])[0].id == "p9"


@pytest.mark.parametrize("head", ["cls", "emb"])
def test_a_cross_encoder_on_the_device(
    there: pgretrieval.RetrievalDatabase, here: pgretrieval.RetrievalDatabase, tiny_bert: Path, tmp_path: Path, head: Any
):
    """A factorisation by a model on the device, searched there and on the processor."""
    torch.manual_seed(0)
    new_cross_encoder(tiny_bert, head, max_length=24, device="cpu").save(str(tmp_path / "model"), create_model_card=False)
    docs = there.create_collection("docs", encoder="none")
    docs.add(PASSAGES)
    before = DONE.total()
    texts = [f"{first} {second}" for first in WORDS for second in WORDS[:4]]
    report = docs.factorize(tmp_path / "model", texts, anchor_items=20)
    assert report.solved
    assert DONE.total() > before
    same = here.get_collection("docs")
    same.use_cross_encoder(tmp_path / "model")
    options: dict[str, Any] = {"scorer": "cross_encoder", "budget": 60}
    assert_alike([docs.search(query, **options) for query in QUERIES], [same.search(query, **options) for query in QUERIES])


def test_an_unknown_device_is_refused(database_url: str):
    """A build on a device that torch does not find raises ConfigError with its name."""
    with pgretrieval.connect(url=database_url, device="abacus") as opened:
        docs = opened.create_collection("docs")
        docs.add(PASSAGES[:20], vectors=np.random.default_rng(0).standard_normal((20, 5, 64)))
        with pytest.raises(ConfigError, match="device 'abacus' cannot be used"):
            docs.build()
