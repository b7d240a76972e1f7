"""The adapters to Haystack pass its own suites, and keep what it has no test for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from haystack import Document, Pipeline
from haystack.dataclasses import ByteStream
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy, FilterPolicy
from haystack.errors import FilterError
from haystack.testing import document_store as suite
from haystack.testing import document_store_async as awaited_suite
from haystack.utils import Secret

import pgretrieval
from pgretrieval.errors import ConfigError, InputError
from pgretrieval.integrations.haystack import PgRetrievalDocumentStore, PgRetrievalRetriever, where_of
from tests.support.encoder import HashedEncoder


@pytest.fixture
def document_store(database: pgretrieval.RetrievalDatabase) -> PgRetrievalDocumentStore:
    """An empty store."""
    return PgRetrievalDocumentStore(database.create_collection("documents", encoder=HashedEncoder()))


@pytest.fixture
def filterable_docs() -> list[Document]:
    """The suite's documents without their embeddings, which the store refuses."""
    return [replace(document, embedding=None) for document in suite.create_filterable_docs()]


class TestStore(
    suite.DocumentStoreBaseExtendedTests,
    suite.CountDocumentsByFilterTest,
    suite.CountUniqueMetadataByFilterTest,
    suite.GetMetadataFieldsInfoTest,
    suite.GetMetadataFieldMinMaxTest,
    suite.GetMetadataFieldUniqueValuesTest,
):
    """All of Haystack's suites of document stores."""

    @pytest.fixture
    def document_store(self, document_store: PgRetrievalDocumentStore) -> PgRetrievalDocumentStore:
        return document_store

    @pytest.fixture
    def filterable_docs(self, filterable_docs: list[Document]) -> list[Document]:
        return filterable_docs

    def test_write_documents(self, document_store: PgRetrievalDocumentStore) -> None:
        """The suite asks each store to say what it does without a policy: a document that exists is an error."""
        document = Document(content="test doc")
        assert document_store.write_documents([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([document])


class TestAwaitedStore(
    awaited_suite.CountDocumentsAsyncTest,
    awaited_suite.WriteDocumentsAsyncTest,
    awaited_suite.DeleteDocumentsAsyncTest,
    awaited_suite.DeleteAllAsyncTest,
    awaited_suite.DeleteByFilterAsyncTest,
    awaited_suite.FilterDocumentsAsyncTest,
    awaited_suite.UpdateByFilterAsyncTest,
    awaited_suite.CountDocumentsByFilterAsyncTest,
    awaited_suite.CountUniqueMetadataByFilterAsyncTest,
    awaited_suite.GetMetadataFieldsInfoAsyncTest,
    awaited_suite.GetMetadataFieldMinMaxAsyncTest,
    awaited_suite.GetMetadataFieldUniqueValuesAsyncTest,
):
    """All of Haystack's suites of awaited document stores."""

    @pytest.fixture
    def document_store(self, document_store: PgRetrievalDocumentStore) -> PgRetrievalDocumentStore:
        return document_store

    @pytest.fixture
    def filterable_docs(self, filterable_docs: list[Document]) -> list[Document]:
        return filterable_docs

    async def test_write_documents_async(self, document_store: PgRetrievalDocumentStore) -> None:
        """As `test_write_documents` of the suite above."""
        document = Document(content="test doc")
        assert await document_store.write_documents_async([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            await document_store.write_documents_async([document])


@pytest.fixture
def store(document_store: PgRetrievalDocumentStore) -> PgRetrievalDocumentStore:
    """A store of three drinks with the ids 0 to 2."""
    texts = ["green tea", "black tea", "strong coffee"]
    document_store.write_documents(
        [Document(id=str(number), content=text, meta={"price": number}) for number, text in enumerate(texts)]
    )
    return document_store


def ids_of(documents: list[Document]) -> list[str]:
    """The ids of documents."""
    return [document.id for document in documents]


def test_a_retriever_is_hybrid_unless_a_mode_is_given(store: PgRetrievalDocumentStore):
    """With the scores, texts and metadata of the collection's own search."""
    docs = store.collection
    for options, hits in (
        ({}, docs.hybrid_search("green tea", k=10)),
        ({"mode": "late"}, docs.search("green tea", k=10)),
        ({"mode": "words"}, docs.text_search("green tea", k=10)),
        ({"min_score": 0.5}, docs.hybrid_search("green tea", k=10, min_score=0.5)),
    ):
        found = PgRetrievalRetriever(store, **options).run("green tea")["documents"]
        assert found == [Document(id=hit.id, content=hit.text, meta=hit.metadata, score=hit.score) for hit in hits]
    with pytest.raises(ConfigError, match="document_store is 3; give a PgRetrievalDocumentStore"):
        PgRetrievalRetriever(3)


def test_filters_of_a_run_replace_or_join_those_of_the_retriever(store: PgRetrievalDocumentStore):
    cheap = {"field": "meta.price", "operator": "<", "value": 2}
    dear = {"field": "meta.price", "operator": ">=", "value": 1}
    replacing = PgRetrievalRetriever(store, filters=cheap)
    assert set(ids_of(replacing.run("tea")["documents"])) == {"0", "1"}
    assert set(ids_of(replacing.run("tea", filters=dear)["documents"])) == {"1", "2"}
    assert len(PgRetrievalRetriever(store, filter_policy="merge").run("tea", filters=dear)["documents"]) == 2
    joining = PgRetrievalRetriever(store, filters=cheap, filter_policy="merge")
    assert ids_of(joining.run("tea", filters=dear)["documents"]) == ["1"]
    assert len(replacing.run("tea", top_k=1)["documents"]) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], r"a filter is \[\]"),
        ({"operator": "XOR", "conditions": []}, "no operator 'XOR'; choose AND, OR, NOT"),
        ({"operator": "AND", "conditions": {}}, "conditions is {}; give a list"),
        ({"operator": "AND", "conditions": []}, "needs a list of conditions"),
        ({"field": "meta.n", "operator": "near", "value": 1}, "no operator 'near' for 'meta.n'; choose ==, !=, >"),
        ({"field": "content", "operator": "==", "value": "a"}, "only metadata can be filtered"),
        ({"field": "meta.n", "operator": "==", "value": [1]}, "compares 'n' with"),
    ],
)
def test_filters_that_cannot_be_translated_are_errors(store: PgRetrievalDocumentStore, given: Any, message: str):
    with pytest.raises(FilterError, match=message):
        store.filter_documents(given)
    with pytest.raises(FilterError, match=message):
        PgRetrievalRetriever(store, filters=given)


def test_a_field_needs_no_prefix():
    assert where_of({"field": "n", "operator": "in", "value": [1]}) == {"n": {"$in": [1]}}
    assert where_of({}) is where_of(None) is None


def test_documents_need_a_text_and_no_vectors(document_store: PgRetrievalDocumentStore):
    for document, message in (
        (Document(id="a", content="a", embedding=[1.0]), "document 'a' has an embedding"),
        (Document(id="a", content="a", blob=ByteStream(b"a")), "document 'a' has a blob"),
        (Document(id="a"), "document 'a' has no content"),
        (Document(id="a", content=" "), "a"),
    ):
        with pytest.raises(InputError, match=message):
            document_store.write_documents([document])


def test_a_document_that_is_given_twice(document_store: PgRetrievalDocumentStore):
    """The first stays with SKIP, the last with OVERWRITE; otherwise it is an error."""
    twice = [Document(id="1", content="first"), Document(id="1", content="second")]
    with pytest.raises(DuplicateDocumentError):
        document_store.write_documents(twice)
    assert document_store.write_documents(twice, DuplicatePolicy.SKIP) == 1
    assert document_store.filter_documents()[0].content == "first"
    assert document_store.write_documents(twice, DuplicatePolicy.OVERWRITE) == 2
    assert document_store.filter_documents()[0].content == "second"


def test_deleting_by_no_filter_is_an_error(store: PgRetrievalDocumentStore):
    with pytest.raises(ConfigError, match="would delete every passage"):
        store.delete_by_filter({})


@pytest.fixture
def named(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PgRetrievalDocumentStore]:
    """A store by name, with words only, whose URL is in the environment."""
    monkeypatch.setenv("DOCS_URL", database_url)
    made = PgRetrievalDocumentStore("docs", url=Secret.from_env_var("DOCS_URL"), encoder="none", language="german")
    yield made
    made.close()


def test_a_pipeline_in_a_file_finds_the_same(named: PgRetrievalDocumentStore):
    """With the name of the variable that has the URL, never the URL."""
    named.write_documents([Document(id="1", content="heiße Suppen", meta={"n": 1}), Document(id="2", content="kalte Suppe")])
    pipeline = Pipeline()
    filters = {"field": "meta.n", "operator": "==", "value": 1}
    retriever = PgRetrievalRetriever(named, top_k=3, filters=filters, filter_policy=FilterPolicy.MERGE, min_score=0.0, mode="words")
    pipeline.add_component("retriever", retriever)
    written = pipeline.dumps()
    assert "DOCS_URL" in written
    assert "postgresql:" not in written
    read = Pipeline.loads(written, allowed_modules=["pgretrieval.integrations.haystack"])
    documents = read.run({"retriever": {"query": "Suppe"}})["retriever"]["documents"]
    assert ids_of(documents) == ["1"]
    again = read.get_component("retriever")
    assert again.to_dict() == retriever.to_dict()
    again.document_store.close()


def test_only_names_are_serialised(store: PgRetrievalDocumentStore, database_url: str):
    with pytest.raises(ConfigError, match="collection is <Collection 'documents'>, which cannot be serialised; give its name"):
        store.to_dict()
    by_text = PgRetrievalDocumentStore("new", url=database_url)
    with pytest.raises(ValueError, match="Cannot serialize token-based secret"):
        by_text.to_dict()
    by_text.close()
    by_object = PgRetrievalDocumentStore("other", url=database_url, encoder=HashedEncoder())
    with pytest.raises(ConfigError, match=r"encoder is .* which cannot be serialised"):
        by_object.to_dict()
    by_object.close()


async def test_a_retriever_is_awaited(store: PgRetrievalDocumentStore):
    """It runs in the collection's threads; a cancelled run leaves the store usable."""
    retriever = PgRetrievalRetriever(store, top_k=1)
    answers = await asyncio.gather(*(retriever.run_async(text) for text in ("green", "coffee")))
    assert [ids_of(answer["documents"]) for answer in answers] == [["0"], ["2"]]
    running = asyncio.create_task(retriever.run_async("tea"))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await store.count_documents_async() == 3
