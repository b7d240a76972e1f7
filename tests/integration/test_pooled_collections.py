"""Collections whose encoder pools each passage to a constant number of vectors."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass
class Worded:
    collection: pgretrieval.Collection
    texts: list[str]
    vectors: np.ndarray
    queries: list[np.ndarray]

    def best(self, query: np.ndarray, among: list[str], k: int) -> list[str]:
        """The best of some passages by exact MaxSim."""
        scores = {key: float((query @ self.vectors[int(key)].T).max(axis=1).sum()) for key in among}
        return sorted(scores, key=lambda key: -scores[key])[:k]


@pytest.fixture(scope="module")
def worded(module_database: pgretrieval.RetrievalDatabase) -> Worded:
    """A built collection with a constant number of vectors and other texts than vectors, so that words and MaxSim disagree."""
    random = np.random.default_rng(3)
    texts = [" ".join(random.choice(WORDS[:6], size=random.integers(2, 9))) for _ in range(200)]
    vectors = random.standard_normal((200, 4, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    queries = list(vectors[random.permutation(200)[:20], :3])
    collection = module_database.create_collection("worded", dim=64, vectors_per_passage=4, keep_vectors=True)
    collection.add(
        [{"id": str(number), "text": text, "metadata": {"n": number}} for number, text in enumerate(texts)], vectors=list(vectors)
    )
    return Worded(collection, texts, vectors, queries)


@pytest.mark.parametrize("built", [False, True])
def test_words_choose_the_candidates_of_exact_maxsim(worded: Worded, built: bool):
    """generator="text": exact MaxSim of the best passages by BM25 alone, one query or many, before and after the build."""
    if built:
        worded.collection.build()
    questions = worded.texts[50:70]
    found = worded.collection.search_many(questions, 10, vectors=worded.queries, generator="text", candidates=30)
    for question, query, hits in zip(questions, worded.queries, found, strict=True):
        listed = [hit.id for hit in worded.collection.text_search(question, 30)]
        expected = worded.best(query, listed, 10)
        assert [hit.id for hit in hits] == expected
        assert expected != worded.best(query, [str(number) for number in range(200)], 10)
        one = worded.collection.explain(question, 10, vectors=query, generator="text", candidates=30)
        assert ([hit.id for hit in one.hits], one.candidates, one.passages_decoded) == (expected, 30, 30)


def test_words_choose_among_a_restriction(worded: Worded):
    """A filter and ids restrict the words' candidates, and a text that no passage has a word of finds nothing."""
    worded.collection.build()
    question, query = worded.texts[50], worded.queries[0]
    for options in ({"where": {"n": {"$lt": 60}}}, {"among": [str(number) for number in range(60)]}):
        listed = [hit.id for hit in worded.collection.text_search(question, 20, **options)]
        hits = worded.collection.search(question, 5, vectors=query, generator="text", candidates=20, **options)
        assert [hit.id for hit in hits] == worded.best(query, listed, 5)
    assert worded.collection.search("unheard", 5, vectors=query, generator="text") == []
    with pytest.raises(pgretrieval.InputError, match="the search by words reads texts"):
        worded.collection.search(vectors=query, generator="text")
