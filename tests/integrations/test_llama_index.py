"""The adapters to LlamaIndex: its class checks, its own index over them, and what they keep."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import Document, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStore,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

import pgretrieval
from pgretrieval.errors import ConfigError, InputError, UnknownOptionError
from pgretrieval.integrations.llama_index import PgRetrievalRetriever, PgRetrievalVectorStore, where_of
from tests.support.encoder import HashedEncoder

METADATA: list[dict[str, Any]] = [
    {"name": "Green Tea 100%", "price": 1, "tags": ["hot", "leaf"]},
    {"name": "black tea", "price": 2, "tags": ["hot"]},
    {"name": "coffee", "price": 3, "tags": []},
    {"name": "cold_milk", "price": 4.5},
]


@pytest.fixture
def store(database: pgretrieval.RetrievalDatabase) -> PgRetrievalVectorStore:
    """A store of four nodes with the ids 0 to 3, of two documents."""
    made = PgRetrievalVectorStore(database.create_collection("drinks", encoder=HashedEncoder()))
    nodes = [
        TextNode(
            id_=str(number),
            text=f"a cup of {metadata['name']}",
            metadata=metadata,
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"document {number // 2}")},
        )
        for number, metadata in enumerate(METADATA)
    ]
    assert made.add(nodes) == list("0123")
    return made


def test_the_classes_are_those_of_llama_index(store: PgRetrievalVectorStore):
    """As the tests of LlamaIndex's integrations check."""
    assert BasePydanticVectorStore.__name__ in [kind.__name__ for kind in PgRetrievalVectorStore.__mro__]
    assert issubclass(PgRetrievalRetriever, BaseRetriever)
    assert isinstance(store, VectorStore)
    assert store.class_name() == "PgRetrievalVectorStore"
    assert (store.stores_text, store.is_embedding_query) == (True, False)
    assert store.client is store.collection


def found(result: VectorStoreQueryResult) -> str:
    """The ids of a result, sorted."""
    return "".join(sorted(result.ids or []))


OPERATORS = [
    ("price", FilterOperator.EQ, 2, "1"),
    ("name", FilterOperator.EQ, "coffee", "2"),
    ("price", FilterOperator.NE, 2, "023"),
    ("tags", FilterOperator.NE, "hot", "23"),
    ("price", FilterOperator.GT, 2, "23"),
    ("price", FilterOperator.GTE, 2, "123"),
    ("price", FilterOperator.LT, 2, "0"),
    ("price", FilterOperator.LTE, 2, "01"),
    ("price", FilterOperator.IN, [1, 3], "02"),
    ("price", FilterOperator.NIN, [1, 3], "13"),
    ("tags", FilterOperator.ANY, ["leaf", "cold"], "0"),
    ("tags", FilterOperator.ALL, ["leaf", "hot"], "0"),
    ("tags", FilterOperator.CONTAINS, "hot", "01"),
    ("name", FilterOperator.TEXT_MATCH, "Tea", "0"),
    ("name", FilterOperator.TEXT_MATCH, "0%", "0"),
    ("name", FilterOperator.TEXT_MATCH, "d_m", "3"),
    ("name", FilterOperator.TEXT_MATCH, "k_t", ""),
    ("name", FilterOperator.TEXT_MATCH_INSENSITIVE, "TEA", "01"),
    ("tags", FilterOperator.IS_EMPTY, None, "23"),
]


@pytest.mark.parametrize(("key", "operator", "value", "expected"), OPERATORS)
def test_every_operator_is_translated(store: PgRetrievalVectorStore, key: str, operator: FilterOperator, value: Any, expected: str):
    filters = MetadataFilters(filters=[MetadataFilter(key=key, operator=operator, value=value)])
    assert found(store.query(VectorStoreQuery(query_str="a cup", similarity_top_k=4, filters=filters))) == expected
    assert "".join(node.node_id for node in store.get_nodes(filters=filters)) == expected
    nodes = PgRetrievalRetriever(store.collection, filters=filters).retrieve("a cup")
    assert "".join(sorted(node.node_id for node in nodes)) == expected


def test_no_operator_of_llama_index_is_missing():
    assert {operator for _, operator, _, _ in OPERATORS} == set(FilterOperator)


def test_most_operators_agree_with_llama_index_own_store(store: PgRetrievalVectorStore):
    """Lists aside, which match here if any element does."""
    theirs = SimpleVectorStore(stores_text=True)
    theirs.add([TextNode(id_=str(number), text="x", metadata=each, embedding=[1.0]) for number, each in enumerate(METADATA)])
    for key, operator, value, expected in OPERATORS:
        if key != "tags" or operator == FilterOperator.IS_EMPTY:
            filters = MetadataFilters(filters=[MetadataFilter(key=key, operator=operator, value=value)])
            assert found(theirs.query(VectorStoreQuery([1.0], 4, filters=filters))) == expected, (key, operator)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [(FilterCondition.AND, "1"), (FilterCondition.OR, "0123"), (FilterCondition.NOT, ""), (None, "1")],
)
def test_conditions_join_and_nest(store: PgRetrievalVectorStore, condition: FilterCondition | None, expected: str):
    cheap = MetadataFilter(key="price", operator=FilterOperator.LTE, value=2)
    dear = MetadataFilter(key="price", operator=FilterOperator.GTE, value=2)
    assert (
        "".join(node.node_id for node in store.get_nodes(filters=MetadataFilters(filters=[cheap, dear], condition=condition)))
        == expected
    )
    nested = MetadataFilters(
        filters=[cheap, MetadataFilters(filters=[dear], condition=FilterCondition.NOT)], condition=FilterCondition.AND
    )
    assert [node.node_id for node in store.get_nodes(filters=nested)] == ["0"]


def test_filters_that_cannot_be_translated_are_errors(store: PgRetrievalVectorStore):
    for operator, value in (
        (FilterOperator.IN, "hot"),
        (FilterOperator.ALL, "hot"),
        (FilterOperator.EQ, ["a"]),
        (FilterOperator.TEXT_MATCH, 3),
    ):
        filters = MetadataFilters(filters=[MetadataFilter(key="tags", operator=operator, value=value)])
        with pytest.raises(ConfigError, match="tags"):
            store.query(VectorStoreQuery(query_str="a cup", filters=filters))
    unknown = MetadataFilter(key="tags", value="a")
    unknown.operator = "near"
    with pytest.raises(ConfigError, match="no operator 'near' for 'tags'"):
        where_of(MetadataFilters(filters=[unknown]))
    assert where_of(None) is where_of(MetadataFilters(filters=[])) is None


def test_queries_are_hybrid_unless_a_mode_is_given(store: PgRetrievalVectorStore):
    docs, text = store.collection, "green tea"

    def scores(mode: VectorStoreQueryMode = VectorStoreQueryMode.DEFAULT, **options: Any) -> list[tuple[str, float]]:
        result = store.query(VectorStoreQuery(query_str=text, similarity_top_k=4, mode=mode), **options)
        return list(zip(result.ids or [], result.similarities or [], strict=True))

    for answers, hits in (
        (scores(), docs.hybrid_search(text, k=4)),
        (scores(VectorStoreQueryMode.HYBRID), docs.hybrid_search(text, k=4)),
        (scores(VectorStoreQueryMode.SPARSE), docs.text_search(text, k=4)),
        (scores(VectorStoreQueryMode.TEXT_SEARCH), docs.text_search(text, k=4)),
    ):
        assert answers == [(hit.id, hit.score) for hit in hits]
    late = store.query(VectorStoreQuery(query_str=text, similarity_top_k=4), mode="late", min_score=0.5)
    assert late.similarities == [hit.score for hit in docs.search(text, k=4, min_score=0.5)]
    nodes = PgRetrievalRetriever(docs, mode="words", similarity_top_k=1).retrieve(text)
    assert [(node.node_id, node.score) for node in nodes] == [(hit.id, hit.score) for hit in docs.text_search(text, k=1)]


def test_queries_restrict_by_ids_and_documents(store: PgRetrievalVectorStore):
    def ids(**options: Any) -> str:
        return found(store.query(VectorStoreQuery(query_str="a cup", similarity_top_k=4, **options)))

    assert ids(node_ids=["0", "3"]) == "03"
    assert ids(doc_ids=["document 1"]) == "23"
    cheap = MetadataFilters(filters=[MetadataFilter(key="price", operator=FilterOperator.LT, value=4)])
    assert ids(doc_ids=["document 1"], filters=cheap) == "2"
    assert len(ids(hybrid_top_k=2)) == 2


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            VectorStoreQuery(query_str="a", mode=VectorStoreQueryMode.MMR),
            "mode is 'mmr'; choose default, hybrid, sparse, text_search",
        ),
        (VectorStoreQuery(query_str="a", alpha=0.5), "alpha is 0.5"),
        (VectorStoreQuery(query_str="a", mmr_threshold=0.5), "mmr_threshold is 0.5"),
        (VectorStoreQuery(query_str="a", sparse_top_k=2), "sparse_top_k is 2"),
    ],
)
def test_what_the_store_cannot_do_is_an_error(store: PgRetrievalVectorStore, query: VectorStoreQuery, message: str):
    with pytest.raises(ConfigError, match=message):
        store.query(query)


def test_a_query_needs_a_text(store: PgRetrievalVectorStore):
    with pytest.raises(InputError, match="the query has no text; give query_str"):
        store.query(VectorStoreQuery(query_embedding=[1.0]))


def test_arguments_that_nothing_reads_are_errors(store: PgRetrievalVectorStore):
    query = VectorStoreQuery(query_str="a cup")
    for call in (
        lambda: store.query(query, where={}),
        lambda: store.delete("document 0", where={}),
        lambda: store.delete_nodes(["0"], where={}),
        lambda: store.add([], where={}),
    ):
        with pytest.raises(UnknownOptionError, match="'where'"):
            call()


def test_nodes_return_as_they_were_stored(store: PgRetrievalVectorStore):
    """With text, metadata and relationships; a node replaces the one of its id; other programs' passages become nodes."""
    (node,) = store.get_nodes(["1"])
    assert (node.node_id, node.get_content(), node.metadata) == ("1", "a cup of black tea", METADATA[1])
    assert node.ref_doc_id == "document 0"
    store.add([TextNode(id_="1", text="a mug", metadata={"price": 9})])
    (node,) = store.get_nodes(["1"])
    assert (node.get_content(), node.metadata, node.ref_doc_id) == ("a mug", {"price": 9}, None)
    store.collection.add([{"id": "own", "title": "Water", "text": "cold", "metadata": {"price": 0}}])
    (node,) = store.get_nodes(["own", "unknown"])
    assert (node.node_id, node.get_content(), node.metadata) == ("own", "cold", {"title": "Water", "price": 0})
    with pytest.raises(InputError):
        store.add([TextNode(id_="blank", text=" ")])


def test_nodes_are_deleted_by_document_id_and_metadata(store: PgRetrievalVectorStore):
    store.delete("document 0")
    assert [node.node_id for node in store.get_nodes()] == ["2", "3"]
    store.delete_nodes(["1", "2"])
    assert [node.node_id for node in store.get_nodes()] == ["3"]
    store.delete_nodes(filters=MetadataFilters(filters=[MetadataFilter(key="price", value=4.5)]))
    store.add([TextNode(text="a cup")])
    store.clear()
    assert store.get_nodes() == []
    with pytest.raises(ConfigError, match="delete needs ids"):
        store.delete_nodes()


async def test_methods_for_asyncio(store: PgRetrievalVectorStore):
    """They run in the collection's threads; a cancelled one leaves the store usable."""
    assert await store.async_add([TextNode(id_="new", text="a jug of juice")]) == ["new"]
    assert found(await store.aquery(VectorStoreQuery(query_str="juice"))) == "new"
    retriever = PgRetrievalRetriever(store.collection, similarity_top_k=1)
    answers = await asyncio.gather(*(retriever.aretrieve(text) for text in ("juice", "coffee")))
    assert [[node.node_id for node in nodes] for nodes in answers] == [["new"], ["2"]]
    running = asyncio.create_task(store.aget_nodes())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await store.adelete_nodes(["new"])
    await store.adelete("document 0")
    assert [node.node_id for node in await store.aget_nodes()] == ["2", "3"]
    await store.aclear()
    assert await store.aget_nodes() == []


def test_an_index_of_llama_index_works_on_a_store_by_name(database_url: str):
    """Insert, retrieve with filters, update and delete through `VectorStoreIndex`, whose embeddings are not used."""
    store = PgRetrievalVectorStore("notes", url=database_url, encoder=HashedEncoder(), bits=2)
    assert store.collection.settings.bits == 2
    documents = [Document(id_=text, text=text, metadata={"size": len(text)}) for text in ("green tea", "strong coffee")]
    model = MockEmbedding(embed_dim=1)
    index = VectorStoreIndex.from_documents(
        documents, storage_context=StorageContext.from_defaults(vector_store=store), embed_model=model
    )
    again = VectorStoreIndex.from_vector_store(store, embed_model=model)
    nodes = again.as_retriever(similarity_top_k=1).retrieve("a strong coffee")
    assert [node.get_content() for node in nodes] == ["strong coffee"]
    small = MetadataFilters(filters=[MetadataFilter(key="size", operator=FilterOperator.LT, value=10)])
    assert [node.get_content() for node in again.as_retriever(filters=small).retrieve("a strong coffee")] == ["green tea"]
    hybrid = again.as_retriever(vector_store_query_mode="text_search", similarity_top_k=5).retrieve("coffee")
    assert [node.get_content() for node in hybrid] == ["strong coffee"]
    index.update_ref_doc(Document(id_="green tea", text="white tea"))
    index.delete_ref_doc("strong coffee")
    assert [node.get_content() for node in store.get_nodes()] == ["white tea"]
    store.close()
