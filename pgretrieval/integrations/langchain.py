"""LangChain: a vector store and a retriever. Needs the extra `langchain`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from typing_extensions import Self, Unpack

from pgretrieval import validate
from pgretrieval.asynchronous import AsyncCollection
from pgretrieval.collection import Collection
from pgretrieval.errors import ConfigError, InputError
from pgretrieval.index.options import CollectionOptions
from pgretrieval.integrations.base import AdaptedCollection, Adapter, awaited, extra, metadata_of, refuse
from pgretrieval.types import Hit, Mode, Passage

with extra("langchain"):
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.vectorstores import VectorStore
    from pydantic import Field, PrivateAttr

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

    from pgretrieval.db.urls import URL

_SEARCHING = ("filter", "mode", "min_score")


class PgRetrievalVectorStore(Adapter, VectorStore):
    """Collection as a vector store of LangChain. Its encoder computes the vectors, so there are no embeddings to give.

    A search is hybrid where the collection has words or dense vectors. `filter` is a filter as in `SearchOptions.where`: a mapping
    with operators such as `$eq`, `$in` and `$and`, or a jsonpath predicate.

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
        self._adapted = AdaptedCollection(collection, url=url, data_dir=data_dir, encoder=encoder, mode=mode, options=dict(options))

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Store texts, all or none, and return their ids. A text replaces the one of its id.

        Args:
            texts: The texts.
            metadatas: Metadata of each text.
            ids: An id for each text; None for a new one.
            kwargs: Only LangChain's `batch_size`, which is ignored: the collection chooses its batches.
        """
        refuse("add_texts", kwargs.keys() - {"batch_size"}, ("metadatas", "ids"))
        texts = list(texts)
        for name, given in (("metadatas", metadatas), ("ids", ids)):
            if given is not None and len(given) != len(texts):
                msg = f"there are {len(given)} {name} for {len(texts)} texts; give one for each"
                raise InputError(msg)
        keys = [key or str(uuid4()) for key in ids or [None] * len(texts)]
        self._adapted.put(list(map(Passage, keys, texts, [None] * len(texts), metadatas or [{} for _ in texts])))
        return keys

    def delete(self, ids: list[str] | None = None, *, filter: Mapping[str, Any] | str | None = None, **kwargs: Any) -> bool:
        """Delete texts by ids, by metadata or by both; without either, all. Unknown ids are ignored.

        Args:
            ids: Ids of texts.
            filter: As for a search.
            kwargs: None.
        """
        refuse("delete", kwargs, ("ids", "filter"))
        self.collection.delete(ids, where=filter, all=ids is None and filter is None)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the stored documents of these ids. Unknown ids are left out."""
        return [_document(passage) for passage in self.collection.get(ids).values()]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the k best documents.

        Args:
            query: The query text.
            k: Number of documents.
            kwargs: `filter`, `mode` and `min_score`, as for `similarity_search_with_score`.
        """
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: Mapping[str, Any] | str | None = None,
        *,
        mode: Mode | None = None,
        min_score: float | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """Return the k best documents and their scores, of which higher ones are better.

        Args:
            query: The query text.
            k: Number of documents.
            filter: A filter of metadata, as in `SearchOptions.where`.
            mode: "hybrid", "late", "words" or "dense". Default: the store's.
            min_score: Least score of a document.
            kwargs: None.
        """
        refuse("similarity_search", kwargs, _SEARCHING)
        return [(_document(hit), hit.score) for hit in self._adapted.search(query, k, filter, mode, min_score)]

    def _similarity_search_with_relevance_scores(self, query: str, k: int = 4, **kwargs: Any) -> list[tuple[Document, float]]:
        """Return documents with the mean cosine of the query's tokens, or the cosine of dense vectors, as relevance from 0 to 1."""
        mode = kwargs.pop("mode", None) or self._adapted.mode
        where = kwargs.pop("filter", None)
        refuse("similarity_search_with_relevance_scores", kwargs, ("filter", "mode", "score_threshold"))
        if mode == "late":
            hits = self.collection.search(query, k, where=where, reduction="mean")
        elif mode == "dense":
            hits = self._adapted.search(query, k, where, mode)
        else:
            msg = (
                f'scores by mode {mode!r} are no relevance from 0 to 1; give mode="late" or mode="dense", or cut by min_score of '
                "similarity_search_with_score"
            )
            raise ConfigError(msg)
        return [(_document(hit), min(max(hit.score, 0.0), 1.0)) for hit in hits]

    @classmethod
    def from_texts(  # type: ignore[override]  # the collection and its options are named
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        collection: Collection | AsyncCollection | str,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Return a store with these texts.

        Args:
            texts: The texts.
            embedding: None: the collection's encoder computes the vectors.
            metadatas: Metadata of each text.
            collection: A collection, or the name of one.
            ids: An id for each text.
            kwargs: The other arguments of the constructor.

        Raises:
            ConfigError: There is an embedding.
        """
        if embedding is not None:
            msg = (
                f"embedding is {validate.shown(embedding)}, but the collection's encoder computes the vectors; give embedding=None "
                "and a model as encoder="
            )
            raise ConfigError(msg)
        store = cls(collection, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    aadd_texts = awaited(add_texts)
    adelete = awaited(delete)
    aget_by_ids = awaited(get_by_ids)
    asimilarity_search = awaited(similarity_search)
    asimilarity_search_with_score = awaited(similarity_search_with_score)
    _asimilarity_search_with_relevance_scores = awaited(_similarity_search_with_relevance_scores)


class PgRetrievalRetriever(BaseRetriever):
    """Searches of a collection as a retriever of LangChain. The arguments of a call override those of the retriever.

    Attributes:
        collection: A collection, or the name of one, which is created if it does not exist.
        url: The database of a name, as for `connect`.
        data_dir: As for `connect`.
        encoder: As for `get_collection`.
        k: Number of documents.
        filter: A filter of metadata, as in `SearchOptions.where`.
        mode: "hybrid", "late", "words" or "dense". Default: "hybrid" where the collection has words or dense vectors, else "late".
        min_score: Least score of a document.
    """

    collection: Any
    url: Any = Field(default=None, repr=False)
    data_dir: Any = None
    encoder: Any = None
    k: int = 10
    filter: Any = None
    mode: Any = None
    min_score: float | None = None
    _store: PgRetrievalVectorStore = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Open the collection."""
        self._store = PgRetrievalVectorStore(
            self.collection, url=self.url, data_dir=self.data_dir, encoder=self.encoder, mode=self.mode
        )

    def close(self) -> None:
        """Close the database, if it was opened by a name."""
        self._store.close()

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any) -> list[Document]:
        return self._store.similarity_search(query, **self._completed(kwargs))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return await self._store.asimilarity_search(query, **self._completed(kwargs))

    def _completed(self, given: Mapping[str, Any]) -> dict[str, Any]:
        refuse("invoke", given.keys() - {"k", *_SEARCHING}, ("k", *_SEARCHING))
        return {"k": self.k, "filter": self.filter, "min_score": self.min_score, **given}


def _document(found: Hit | Passage) -> Document:
    return Document(id=found.id, page_content=found.text, metadata=metadata_of(found))
