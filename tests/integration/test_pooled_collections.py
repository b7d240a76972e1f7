"""Collections whose encoder pools each passage to a constant number of vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import pgretrieval
from pgretrieval.encode.modules import load_model, with_pooling
from tests.fixtures.models import WORDS


@pytest.mark.parametrize("shape", ["tokens", "full"])
def test_a_collection_of_pooled_passages(
    database: pgretrieval.RetrievalDatabase, library_folder: Path, tmp_path: Path, shape: str
) -> None:
    """Each passage has the pooling's number of vectors, the model's folder is an encoder, and searches find the best."""
    torch.manual_seed(0)
    model = with_pooling(load_model(library_folder, "cpu"), 4, tokens=24, shape=shape)
    model.save(str(tmp_path / "model"), create_model_card=False)
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, size=random.integers(1, 30))) for _ in range(60)]
    collection = database.create_collection("pooled", encoder=str(tmp_path / "model"))
    with pytest.warns(pgretrieval.PgRetrievalWarning, match="longer than the model's limit"):
        collection.add({"id": str(number), "text": text} for number, text in enumerate(texts))
    collection.build()
    assert collection.stats()["tokens"] == 4 * len(texts)
    assert collection.stats()["vectors_per_passage"] == 4
    assert collection.check() == []
    query = "money flows to the bank"
    rows = model.encode_query([query])[0]
    exact = [float((rows @ vectors.T).max(dim=1).values.sum()) for vectors in model.encode_document(texts)]
    best = {str(number) for number in np.argsort(exact)[-5:]}
    found = database.get_collection("pooled").search(query, k=10)
    assert best <= {hit.id for hit in found}


def test_a_collection_of_hierarchically_pooled_passages(
    database: pgretrieval.RetrievalDatabase, library_folder: Path, tmp_path: Path
) -> None:
    """A model saved with the library's pooling and skip list is loaded with them, and passages differ in length."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask

    plain = load_model(library_folder, "cpu")
    modules = [MultiVectorMask(["."]) if isinstance(module, MultiVectorMask) else module for module in plain]
    pooled = MultiVectorEncoder(modules=[*modules, HierarchicalTokenPooling(2.0)], prompts=plain.prompts, device="cpu")
    pooled.save(str(tmp_path / "model"), create_model_card=False)
    random = np.random.default_rng(0)
    texts = [". ".join(random.choice(WORDS, size=random.integers(4, 8))) for _ in range(60)]
    collection = database.create_collection("pooled", encoder=str(tmp_path / "model"))
    collection.add({"id": str(number), "text": text} for number, text in enumerate(texts))
    collection.build()
    skipped = [len(rows) - text.count(".") for rows, text in zip(plain.encode_document(texts), texts, strict=True)]
    assert collection.stats()["tokens"] == sum(1 + (count - 1) // 2 for count in skipped)
    assert collection.stats()["vectors_per_passage"] is None
    assert collection.check() == []
    query = "money flows to the bank"
    rows = plain.encode_query([query])[0]
    exact = [float((rows @ vectors.T).max(dim=1).values.sum()) for vectors in pooled.encode_document(texts)]
    assert {str(number) for number in np.argsort(exact)[-5:]} <= {hit.id for hit in collection.search(query, k=10)}
