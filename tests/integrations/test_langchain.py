"""The adapters to LangChain pass its own suites, and keep what it has no test for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.runnables import ConfigurableField
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests

import pgretrieval
from pgretrieval.errors import ConfigError, InputError, UnknownOptionError
from pgretrieval.integrations.langchain import PgRetrievalRetriever, PgRetrievalVectorStore
from tests.support.encoder import HashedEncoder

TEXTS = ["green tea", "black tea", "strong coffee", "cold milk"]


@pytest.fixture
def store(database: pgretrieval.RetrievalDatabase) -> PgRetrievalVectorStore:
    """A store of four drinks with the ids 0 to 3 and their prices."""
    return PgRetrievalVectorStore.from_texts(
        TEXTS,
        metadatas=[{"price": number, "name": text} for number, text in enumerate(TEXTS)],
        ids=list("0123"),
        collection=database.create_collection("drinks", encoder=HashedEncoder()),
    )


class TestVectorStore(VectorStoreIntegrationTests):
    """LangChain's suite over an empty collection, by hybrid search."""

    @pytest.fixture
    def vectorstore(self, database: pgretrieval.RetrievalDatabase) -> PgRetrievalVectorStore:
        return PgRetrievalVectorStore(database.create_collection("empty", encoder=HashedEncoder()))


class TestVectorStoreByName(VectorStoreIntegrationTests):
    """LangChain's suite over a collection that the store creates, by late interaction."""

    @pytest.fixture
    def vectorstore(self, database_url: str) -> Iterator[PgRetrievalVectorStore]:
        store = PgRetrievalVectorStore("new", url=database_url, encoder=HashedEncoder(), mode="late")
        yield store
        store.close()


class TestRetriever(RetrieversIntegrationTests):
    """LangChain's suite of retrievers over a built collection."""

    @pytest.fixture(autouse=True)
    def _drinks(self, store: PgRetrievalVectorStore) -> None:
        store.collection.build()
        self._collection = store.collection

    @property
    def retriever_constructor(self) -> type[PgRetrievalRetriever]:
        return PgRetrievalRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"collection": self._collection}

    @property
    def retriever_query_example(self) -> str:
        return "a cup of tea"


def ids_of(documents: list[Document]) -> list[str | None]:
    """The ids of documents."""
    return [document.id for document in documents]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"price": 1}, "1"),
        ({"price": {"$gte": 1, "$lt": 3}}, "12"),
        ({"price": {"$between": [1, 2]}}, "12"),
        ({"price": {"$in": [0, 3]}}, "03"),
        ({"price": {"$nin": [0, 3]}}, "12"),
        ({"price": {"$ne": 0}}, "123"),
        ({"name": {"$like": "%tea"}}, "01"),
        ({"name": {"$ilike": "GREEN%"}}, "0"),
        ({"name": {"$exists": False}}, ""),
        ({"$or": [{"price": 0}, {"name": {"$eq": "cold milk"}}]}, "03"),
        ({"$and": [{"price": {"$gt": 0}}, {"$not": {"name": "cold milk"}}]}, "12"),
        ("$.price >= 2", "23"),
    ],
)
def test_filters_restrict_every_search(store: PgRetrievalVectorStore, given: Any, expected: str):
    assert set(ids_of(store.similarity_search("tea", k=4, filter=given))) == set(expected)
    retriever = PgRetrievalRetriever(collection=store.collection, filter=given)
    assert set(ids_of(retriever.invoke("tea"))) == set(expected)
    assert set(ids_of(retriever.invoke("tea", filter={"price": 2}))) == {"2"}
    assert set(ids_of(store.as_retriever(search_kwargs={"filter": given}).invoke("tea"))) == set(expected)


@pytest.mark.parametrize("given", [{"price": {"$near": 1}}, {"$nor": []}, {"price": [1]}, lambda document: True])
def test_a_filter_that_cannot_be_translated_is_an_error(store: PgRetrievalVectorStore, given: Any):
    with pytest.raises(ConfigError, match="where"):
        store.similarity_search("tea", filter=given)


def test_arguments_that_nothing_reads_are_errors(store: PgRetrievalVectorStore):
    """A misspelt filter is not ignored."""
    with pytest.raises(UnknownOptionError, match="'where'; give one of filter, mode, min_score"):
        store.similarity_search("tea", where={"price": 1})
    with pytest.raises(UnknownOptionError, match="'where'"):
        PgRetrievalRetriever(collection=store.collection).invoke("tea", where={"price": 1})
    with pytest.raises(UnknownOptionError, match="'where'; give one of ids, filter"):
        store.delete(where={"price": 1})
    with pytest.raises(UnknownOptionError, match="'where'"):
        store.add_texts(["a"], where={"price": 1})


def test_searches_are_hybrid_unless_a_mode_is_given(store: PgRetrievalVectorStore):
    """The scores are those of the collection's own searches."""

    def scores(**options: Any) -> list[tuple[str | None, float]]:
        return [(document.id, score) for document, score in store.similarity_search_with_score("green tea", k=4, **options)]

    docs = store.collection
    for found, hits in (
        (scores(), docs.hybrid_search("green tea", k=4)),
        (scores(mode="late"), docs.search("green tea", k=4)),
        (scores(mode="words"), docs.text_search("green tea", k=4)),
        (scores(mode="words", min_score=1), docs.text_search("green tea", k=4, min_score=1)),
    ):
        assert found == [(hit.id, hit.score) for hit in hits]
    assert len(scores(mode="words")) == 2
    assert ids_of(PgRetrievalRetriever(collection=docs, mode="words", k=1).invoke("green tea")) == ["0"]
    assert ids_of(PgRetrievalRetriever(collection=docs, mode="words").invoke("green tea", min_score=1)) == ["0"]


def test_modes_that_the_collection_has_not_are_refused(database: pgretrieval.RetrievalDatabase):
    plain = database.create_collection("plain", encoder=HashedEncoder(), language=None)
    assert PgRetrievalVectorStore(plain)._adapted.mode == "late"
    with pytest.raises(ConfigError, match="mode is 'hybrid', but collection 'plain' has late"):
        PgRetrievalVectorStore(plain, mode="hybrid")
    with pytest.raises(ConfigError, match="mode is 'fast'; choose hybrid, late, words or dense"):
        PgRetrievalVectorStore(plain, mode="fast")
    texts = database.create_collection("texts", encoder="none")
    assert PgRetrievalVectorStore(texts)._adapted.mode == "words"
    nothing = database.create_collection("nothing", encoder="none", language=None)
    with pytest.raises(ConfigError, match="has neither token vectors nor words"):
        PgRetrievalVectorStore(nothing)


def test_relevance_is_the_mean_cosine(store: PgRetrievalVectorStore):
    """Scores of hybrid searches and of words have no scale, so thresholds of relevance are refused."""
    (best, score), *others = store.similarity_search_with_relevance_scores("green tea", mode="late")
    assert (best.id, score) == ("0", pytest.approx(1, abs=1e-3))
    assert all(0 <= other < 0.9 for _, other in others)
    assert ids_of(store.search("green tea", "similarity_score_threshold", score_threshold=0.9, mode="late")) == ["0"]
    with pytest.raises(ConfigError, match="scores by mode 'hybrid' are no relevance"):
        store.similarity_search_with_relevance_scores("green tea")
    assert asyncio.run(store.asimilarity_search_with_relevance_scores("green tea", 1, mode="late")) == [(best, score)]


def test_dense_vectors_alone(database: pgretrieval.RetrievalDatabase):
    """Where the encoder computes them; their cosines are relevance."""
    store = PgRetrievalVectorStore(database.create_collection("docs", encoder="minilm", dense="kept"), mode="dense")
    store.add_texts(TEXTS, ids=list("0123"))
    hits = store.collection.dense_search("espresso", k=2)
    found = store.similarity_search_with_score("espresso", k=2)
    assert [(document.id, score) for document, score in found] == [(hit.id, hit.score) for hit in hits]
    assert found[0][0].id == "2"
    assert store.similarity_search_with_relevance_scores("espresso", k=2) == found


def test_texts_need_as_many_metadata_and_ids(store: PgRetrievalVectorStore):
    with pytest.raises(InputError, match="2 ids for 1 texts"):
        store.add_texts(["a"], ids=["1", "2"])
    with pytest.raises(InputError, match="0 metadatas for 1 texts"):
        store.add_texts(["a"], [])
    with pytest.raises(InputError):
        store.add_texts([" "])
    assert store.add_texts(["first", "second"], ids=["a", "a"]) == ["a", "a"]
    assert [document.page_content for document in store.get_by_ids(["a"])] == ["second"]


def test_delete_by_metadata_and_of_everything(store: PgRetrievalVectorStore):
    assert store.delete(["0", "1"], filter={"price": {"$gt": 0}})
    assert set(store.collection.get(where={})) == {"0", "2", "3"}
    assert store.delete(filter={"price": 3})
    assert set(store.collection.get(where={})) == {"0", "2"}
    assert store.delete()
    assert store.collection.get(where={}) == {}


def test_embeddings_are_refused(database: pgretrieval.RetrievalDatabase):
    with pytest.raises(ConfigError, match="the collection's encoder computes the vectors; give embedding=None"):
        PgRetrievalVectorStore.from_texts(["a"], DeterministicFakeEmbedding(size=6), collection=database.create_collection("docs"))


def test_titles_are_shown_in_metadata(database: pgretrieval.RetrievalDatabase):
    """A title is not lost, and a document's own field of this name is kept."""
    docs = database.create_collection("docs", encoder=HashedEncoder())
    docs.add(
        [
            {"id": "1", "title": "Tea", "text": "green", "metadata": {"page": 3}},
            {"id": "2", "title": "Tea", "text": "green", "metadata": {"title": "own"}},
        ]
    )
    store = PgRetrievalVectorStore(docs)
    assert [document.metadata for document in store.get_by_ids(["1", "2"])] == [{"title": "Tea", "page": 3}, {"title": "own"}]
    assert {document.metadata["title"] for document in store.similarity_search("green tea")} == {"Tea", "own"}


def test_a_store_of_a_name_creates_and_opens(database_url: str):
    options: dict[str, Any] = {"url": database_url, "encoder": HashedEncoder()}
    store = PgRetrievalVectorStore("notes", **options, bits=2, language="german")
    assert (store.collection.settings.bits, store.collection.settings.language) == (2, "german")
    store.add_texts(["ein Satz"], ids=["1"])
    store.close()
    again = PgRetrievalRetriever(collection="notes", **options)
    assert ids_of(again.invoke("Satz")) == ["1"]
    assert "url" not in repr(again)
    again.close()
    with pytest.raises(ConfigError, match="was created with encoder"):
        PgRetrievalVectorStore("notes", url=database_url, encoder="minilm")


def test_an_open_collection_takes_no_options(store: PgRetrievalVectorStore, database_url: str):
    with pytest.raises(ConfigError, match="bits is 2, but the collection is open already"):
        PgRetrievalVectorStore(store.collection, bits=2)
    with pytest.raises(ValueError, match=r"url is .* but the collection is open already"):  # pydantic's
        PgRetrievalRetriever(collection=store.collection, url=database_url)
    with pytest.raises(ConfigError, match="collection is 3; give a Collection, or the name of one"):
        PgRetrievalVectorStore(3)
    waiting = pgretrieval.AsyncCollection(store.collection)
    assert PgRetrievalVectorStore(waiting).collection is store.collection


async def test_calls_for_asyncio_are_cancelled_on_the_server(store: PgRetrievalVectorStore):
    """They run in the collection's threads, not in LangChain's, whose calls nothing cancels."""
    retriever = PgRetrievalRetriever(collection=store.collection, k=1)
    found = await asyncio.gather(*(retriever.ainvoke("green tea", filter={"price": number}) for number in range(4)))
    assert [ids_of(documents) for documents in found] == [["0"], ["1"], ["2"], ["3"]]
    running = asyncio.create_task(store.asimilarity_search("tea"))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await store.asimilarity_search_with_score("green tea", k=1))[0][0].id == "0"


def test_langchain_keeps_the_store_in_step_with_its_sources(store: PgRetrievalVectorStore):
    """LangChain's `index` adds, skips and deletes."""
    records = InMemoryRecordManager(namespace="drinks")
    records.create_schema()
    documents = [Document(page_content=text, metadata={"source": text}) for text in ("juice", "water")]
    options: dict[str, Any] = {"cleanup": "full", "source_id_key": "source", "key_encoder": "sha256"}
    assert index(documents, records, store, **options)["num_added"] == 2
    assert index(documents, records, store, **options)["num_skipped"] == 2
    assert index(documents[:1], records, store, **options)["num_deleted"] == 1
    assert {document.page_content for document in store.similarity_search("juice water", k=10)} == {*TEXTS, "juice"}


def test_a_retriever_is_configurable(store: PgRetrievalVectorStore):
    """LangChain makes a copy with other fields."""
    retriever = PgRetrievalRetriever(collection=store.collection).configurable_fields(k=ConfigurableField(id="k"))
    assert len(retriever.invoke("tea", config={"configurable": {"k": 2}})) == 2
