"""LlamaIndex: a vector store and a retriever. Needs the extra `llama-index`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from pgretrieval import validate
from pgretrieval.asynchronous import AsyncCollection
from pgretrieval.collection import Collection
from pgretrieval.errors import ConfigError, InputError
from pgretrieval.index.options import CollectionOptions
from pgretrieval.integrations.base import AdaptedCollection, Adapter, awaited, extra, like, metadata_of, refuse
from pgretrieval.types import Hit, Mode, Passage

with extra("llama_index"):
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
    from llama_index.core.vector_stores.types import (
        BasePydanticVectorStore,
        FilterCondition,
        FilterOperator,
        MetadataFilter,
        MetadataFilters,
        VectorStoreQuery,
        VectorStoreQueryMode,
        VectorStoreQueryResult,
    )
    from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

if TYPE_CHECKING:
    from pgretrieval.db.urls import URL

_MODES: dict[VectorStoreQueryMode, Mode | None] = {
    VectorStoreQueryMode.DEFAULT: None,
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.SPARSE: "words",
    VectorStoreQueryMode.TEXT_SEARCH: "words",
}
_OPERATORS = {
    FilterOperator.EQ: "$eq",
    FilterOperator.CONTAINS: "$eq",
    FilterOperator.NE: "$ne",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.ANY: "$in",
    FilterOperator.NIN: "$nin",
}
_PATTERNS = {FilterOperator.TEXT_MATCH: "$like", FilterOperator.TEXT_MATCH_INSENSITIVE: "$ilike"}


class PgRetrievalVectorStore(Adapter, BasePydanticVectorStore):
    """Collection as a vector store of LlamaIndex.

    Its encoder computes the vectors, so embeddings of nodes and queries are not used: give an index
    `embed_model=MockEmbedding(embed_dim=1)`. A search is hybrid where the collection has words or dense vectors.

    Args:
        collection: A collection, or the name of one, which is created if it does not exist.
        url: The database of a name, as for `connect`.
        data_dir: As for `connect`.
        encoder: As for `create_collection` and `get_collection`.
        mode: "hybrid", "late", "words" or "dense". Default: "hybrid" where the collection has words or dense vectors, else "late".
        options: Options of a new collection, as in `CollectionOptions`.

    Raises:
        PgRetrievalError: The errors of `connect`, `create_collection` and `get_collection`.
    """

    stores_text: bool = True
    is_embedding_query: bool = False
    _adapted: AdaptedCollection = PrivateAttr()

    def __init__(
        self,
        collection: Collection | AsyncCollection | str,
        *,
        url: str | URL | os.PathLike[str] | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        encoder: str | object | None = None,
        mode: Mode | None = None,
        **options: Unpack[CollectionOptions],
    ) -> None:
        super().__init__(stores_text=True)
        self._adapted = AdaptedCollection(collection, url=url, data_dir=data_dir, encoder=encoder, mode=mode, options=dict(options))

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the class for LlamaIndex."""
        return "PgRetrievalVectorStore"

    @property
    def client(self) -> Collection:
        """The collection."""
        return self.collection

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Store nodes with their texts, metadata and relationships, all or none, and return their ids.

        A node replaces the one of its id.

        Args:
            nodes: Nodes with a text.
            kwargs: None.
        """
        refuse("add", kwargs, ("nodes",))
        self._adapted.put([_passage(node) for node in nodes])
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a document.

        Args:
            ref_doc_id: Id of the document.
            delete_kwargs: None.
        """
        refuse("delete", delete_kwargs, ("ref_doc_id",))
        self.collection.delete(where={"ref_doc_id": ref_doc_id})

    def delete_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any) -> None:
        """Delete nodes by ids, by metadata or by both. Unknown ids are ignored.

        Args:
            node_ids: Ids of nodes.
            filters: Filters of metadata.
            delete_kwargs: None.
        """
        refuse("delete_nodes", delete_kwargs, ("node_ids", "filters"))
        self.collection.delete(node_ids, where=where_of(filters))

    def clear(self) -> None:
        """Delete all nodes."""
        self.collection.delete(all=True)

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return nodes by ids, by metadata or by both; without either, all. Unknown ids are left out.

        Args:
            node_ids: Ids of nodes.
            filters: Filters of metadata.
        """
        where = where_of(filters)
        found = self.collection.get(node_ids, where={} if where is None and node_ids is None else where)
        return [_node(passage) for passage in found.values()]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Search by the text of a query.

        Args:
            query: A query with a text; its embedding is not used. Mode "default" is the store's, "hybrid" is hybrid, "sparse"
                and "text_search" are by words.
            kwargs: `mode`, which overrides the query's, and `min_score`, the least score of a node.

        Raises:
            ConfigError: The query has another mode, an option of other stores, or a filter that cannot be translated.
            InputError: The query has no text.
        """
        refuse("query", kwargs.keys() - {"mode", "min_score"}, ("mode", "min_score"))
        for name in ("alpha", "mmr_threshold", "sparse_top_k"):
            if getattr(query, name) is not None:
                msg = f"{name} is {getattr(query, name)}, which this store has not; leave it out, and choose how to search by mode="
                raise ConfigError(msg)
        if query.mode not in _MODES:
            msg = f"the query's mode is {query.mode.value!r}; choose {', '.join(mode.value for mode in _MODES)}"
            raise ConfigError(msg)
        if query.query_str is None:
            msg = "the query has no text; give query_str, from which the collection's encoder computes vectors"
            raise InputError(msg)
        where = where_of(query.filters)
        if query.doc_ids:
            documents = {"ref_doc_id": {"$in": query.doc_ids}}
            where = documents if where is None else {"$and": [where, documents]}
        hits = self._adapted.search(
            query.query_str,
            query.hybrid_top_k or query.similarity_top_k,
            where,
            kwargs.get("mode") or _MODES[query.mode],
            kwargs.get("min_score"),
            query.node_ids or None,  # an index passes the ids that it knows, and none if the store knows them
        )
        return VectorStoreQueryResult([_node(hit) for hit in hits], [hit.score for hit in hits], [hit.id for hit in hits])

    async_add = awaited(add)
    adelete = awaited(delete)
    adelete_nodes = awaited(delete_nodes)
    aclear = awaited(clear)
    aget_nodes = awaited(get_nodes)
    aquery = awaited(query)


class PgRetrievalRetriever(Adapter, BaseRetriever):
    """Searches of a collection as a retriever of LlamaIndex.

    Args:
        collection: A collection, or the name of one, which is created if it does not exist.
        url: The database of a name, as for `connect`.
        data_dir: As for `connect`.
        encoder: As for `get_collection`.
        similarity_top_k: Number of nodes.
        filters: Filters of metadata.
        mode: "hybrid", "late", "words" or "dense". Default: "hybrid" where the collection has words or dense vectors, else "late".
        min_score: Least score of a node.
        options: Arguments of LlamaIndex's `BaseRetriever`, such as `callback_manager`.

    Raises:
        PgRetrievalError: The errors of `connect`, `create_collection` and `get_collection`.
    """

    def __init__(
        self,
        collection: Collection | AsyncCollection | str,
        *,
        url: str | URL | os.PathLike[str] | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        encoder: str | object | None = None,
        similarity_top_k: int = 10,
        filters: MetadataFilters | None = None,
        mode: Mode | None = None,
        min_score: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._adapted = AdaptedCollection(collection, url=url, data_dir=data_dir, encoder=encoder, mode=mode)
        self._k, self._where, self._min_score = similarity_top_k, where_of(filters), min_score

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = self._adapted.search(query_bundle.query_str, self._k, self._where, min_score=self._min_score)
        return [NodeWithScore(node=_node(hit), score=hit.score) for hit in hits]

    _aretrieve = awaited(_retrieve)


def where_of(filters: MetadataFilters | None) -> dict[str, Any] | None:
    """Translate filters of LlamaIndex into those of `SearchOptions.where`. Raises ConfigError if one cannot be translated."""
    return _together(filters) if filters is not None and filters.filters else None


def _together(filters: MetadataFilters) -> dict[str, Any]:
    parts = [_together(each) if isinstance(each, MetadataFilters) else _condition(each) for each in filters.filters]
    if filters.condition == FilterCondition.NOT:
        return {"$not": {"$or": parts}}
    return {"$or" if filters.condition == FilterCondition.OR else "$and": parts}


def _condition(given: MetadataFilter) -> dict[str, Any]:
    key, operator, value = given.key, given.operator, given.value
    if operator in _OPERATORS:
        return {key: {_OPERATORS[operator]: value}}
    if operator in _PATTERNS:
        return {key: {_PATTERNS[operator]: like(value)}}
    if operator == FilterOperator.ALL:
        values = validate.listed(f"the value of {key!r} for ALL", value, "values")
        return {"$and": [{key: {"$eq": each}} for each in values]}
    if operator == FilterOperator.IS_EMPTY:
        return {key: {"$empty": True}}
    msg = f"filters have no operator {validate.shown(operator)} for {key!r}"
    raise ConfigError(msg)


def _passage(node: BaseNode) -> Passage:
    return Passage(node.node_id, node.get_content(MetadataMode.NONE), None, node_to_metadata_dict(node, remove_text=True))


def _node(found: Hit | Passage) -> BaseNode:
    """Return the stored node, or a new one for a passage that another program stored."""
    if "_node_content" in found.metadata:
        return metadata_dict_to_node(dict(found.metadata), found.text)
    return TextNode(id_=found.id, text=found.text, metadata=metadata_of(found))
