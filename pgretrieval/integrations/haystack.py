"""Haystack: a document store and a retriever. Needs the extra `haystack`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from typing_extensions import Self, Unpack

from pgretrieval import validate
from pgretrieval.asynchronous import AsyncCollection
from pgretrieval.collection import Collection
from pgretrieval.errors import ConfigError, DuplicateIdError, InputError
from pgretrieval.index.options import CollectionOptions
from pgretrieval.integrations.base import AdaptedCollection, Adapter, awaited, extra, metadata_of
from pgretrieval.search.filters import jsonpath
from pgretrieval.types import Hit, Mode, Passage

with extra("haystack"):
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.document_stores.errors import DuplicateDocumentError
    from haystack.document_stores.types import DuplicatePolicy, FilterPolicy
    from haystack.errors import FilterError
    from haystack.utils import Secret, deserialize_secrets_inplace

if TYPE_CHECKING:
    from pgretrieval.db.urls import URL

Filters = Mapping[str, Any]

_ORDER = {">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte"}
_LISTS = {"in": "$in", "not in": "$nin"}
_LOGIC: dict[str, Callable[[list[Any]], dict[str, Any]]] = {
    "AND": lambda parts: {"$and": parts},
    "OR": lambda parts: {"$or": parts},
    "NOT": lambda parts: {"$not": {"$and": parts}},
}
_FIELDS = ("id", "content", "blob", "score", "embedding", "sparse_embedding")
_TYPES = {bool: "boolean", int: "integer", float: "float", str: "keyword"}


class PgRetrievalDocumentStore(Adapter):
    """Collection as a document store of Haystack. Its encoder computes the vectors, so documents have a text and no embeddings.

    Args:
        collection: A collection, or the name of one, which is created if it does not exist. Only a store of a name is serialised.
        url: The database of a name, as for `connect`; a `Secret` of an environment variable is serialised, a text is not.
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
        url: Secret | str | URL | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        encoder: str | object | None = None,
        mode: Mode | None = None,
        **options: Unpack[CollectionOptions],
    ) -> None:
        given = url.resolve_value() if isinstance(url, Secret) else url
        self._adapted = AdaptedCollection(
            collection, url=given, data_dir=data_dir, encoder=encoder, mode=mode, options=dict(options)
        )
        places = {"collection": collection, "url": url, "data_dir": data_dir}
        self._init: dict[str, Any] = {**places, "encoder": encoder, "mode": mode, **options}

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments of the constructor, for pipelines in files.

        Raises:
            ConfigError: The store was made from an open collection or an encoder object.
            ValueError: The URL is a text, which may contain a password.
        """
        for name in ("collection", "encoder"):
            if not isinstance(self._init[name], str | None):
                msg = f"{name} is {validate.shown(self._init[name])}, which cannot be serialised; give its name"
                raise ConfigError(msg)
        url, data_dir = self._init["url"], self._init["data_dir"]
        if url is not None:
            url = (url if isinstance(url, Secret) else Secret.from_token(str(url))).to_dict()
        plain = {"url": url, "data_dir": None if data_dir is None else os.fspath(data_dir)}
        return default_to_dict(self, **{**self._init, **plain})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the store of `to_dict`.

        Args:
            data: The result of `to_dict`.
        """
        if isinstance(data["init_parameters"].get("url"), dict):
            deserialize_secrets_inplace(data["init_parameters"], keys=["url"])
        store: Self = default_from_dict(cls, data)
        return store

    def count_documents(self) -> int:
        """Return the number of documents."""
        return int(self.collection.stats()["passages"])

    def filter_documents(self, filters: Filters | None = None) -> list[Document]:
        """Return the documents that match, in the order in which they were stored.

        Args:
            filters: Filters of Haystack over metadata; without them, every document is returned.

        Raises:
            FilterError: The filters are malformed, or cannot be translated.
        """
        return [_document(passage) for passage in self._matching(filters)]

    def write_documents(self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """Store documents, all or none, and return how many were written.

        Args:
            documents: Documents with a text and without embeddings.
            policy: FAIL or NONE raise an error if a document exists, OVERWRITE replaces it, SKIP keeps it.

        Raises:
            DuplicateDocumentError: A document of an id exists.
            InputError: A document has no text, or an embedding or a blob.
        """
        if not isinstance(documents, list) or not all(isinstance(document, Document) for document in documents):
            msg = f"documents is {validate.shown(documents)}; give a list of Document"
            raise InputError(msg)
        passages = list(map(_passage, documents))
        if policy == DuplicatePolicy.OVERWRITE:
            self._adapted.put(passages)
            return len(passages)
        if policy == DuplicatePolicy.SKIP:
            first = {passage.id: passage for passage in reversed(passages)}
            return self.collection.add(reversed(first.values()), on_conflict="skip").passages
        try:
            return self.collection.add(passages).passages
        except DuplicateIdError as error:
            raise DuplicateDocumentError(str(error)) from error

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete documents by id. Unknown ids are ignored.

        Args:
            document_ids: Ids of documents.
        """
        self.collection.delete(document_ids)

    def delete_all_documents(self) -> None:
        """Delete every document."""
        self.collection.delete(all=True)

    def delete_by_filter(self, filters: Filters) -> int:
        """Delete the documents that match, and return their number.

        Args:
            filters: As for `filter_documents`, but not empty.
        """
        return self.collection.delete(where=where_of(filters) or {})

    def update_by_filter(self, filters: Filters, meta: Mapping[str, Any]) -> int:
        """Set fields of the metadata of the documents that match, and return their number.

        Args:
            filters: As for `filter_documents`.
            meta: The fields to set; others stay.
        """
        changes = [{"id": passage.id, "metadata": {**passage.metadata, **meta}} for passage in self._matching(filters)]
        self.collection.update(changes)
        return len(changes)

    def count_documents_by_filter(self, filters: Filters) -> int:
        """Return the number of documents that match.

        Args:
            filters: As for `filter_documents`.
        """
        return len(self._matching(filters))

    def count_unique_metadata_by_filter(self, filters: Filters, metadata_fields: list[str]) -> dict[str, int]:
        """Return the number of different values of fields of the documents that match.

        Args:
            filters: As for `filter_documents`.
            metadata_fields: Names of fields.
        """
        matching = self._matching(filters)
        return {name: len(_different(matching, name)) for name in metadata_fields}

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Return the type of each field of metadata: "boolean", "integer", "float", "keyword" or "object"."""
        return {
            name: {"type": _TYPES.get(type(value), "object")}
            for passage in self._matching(None)
            for name, value in passage.metadata.items()
        }

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """Return the least and the greatest number of a field of metadata, as "min" and "max"; None if there is none.

        Args:
            metadata_field: Name of the field.
        """
        numbers = [value for value in _different(self._matching(None), metadata_field) if validate.is_number(value)]
        return {"min": min(numbers, default=None), "max": max(numbers, default=None)}

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: Filters | None = None,
    ) -> tuple[list[Any], int]:
        """Return a page of the different values of a field of metadata, sorted as texts, and their number.

        Args:
            metadata_field: Name of the field.
            search_term: Text that a value contains, in any case.
            from_: First value of the page.
            size: Number of values of the page.
            filters: As for `filter_documents`.
        """
        sought = (search_term or "").lower()
        values = [value for value in _different(self._matching(filters), metadata_field) if sought in str(value).lower()]
        return sorted(values, key=str)[from_ : from_ + size], len(values)

    def _matching(self, filters: Filters | None) -> list[Passage]:
        return list(self.collection.get(where=where_of(filters) or {}).values())

    count_documents_async = awaited(count_documents)
    filter_documents_async = awaited(filter_documents)
    write_documents_async = awaited(write_documents)
    delete_documents_async = awaited(delete_documents)
    delete_all_documents_async = awaited(delete_all_documents)
    delete_by_filter_async = awaited(delete_by_filter)
    update_by_filter_async = awaited(update_by_filter)
    count_documents_by_filter_async = awaited(count_documents_by_filter)
    count_unique_metadata_by_filter_async = awaited(count_unique_metadata_by_filter)
    get_metadata_fields_info_async = awaited(get_metadata_fields_info)
    get_metadata_field_min_max_async = awaited(get_metadata_field_min_max)
    get_metadata_field_unique_values_async = awaited(get_metadata_field_unique_values)


@component
class PgRetrievalRetriever:
    """Searches of a `PgRetrievalDocumentStore` as a component of a pipeline.

    Args:
        document_store: The store.
        filters: Filters of Haystack over metadata.
        top_k: Number of documents.
        mode: "hybrid", "late", "words" or "dense". Default: the store's.
        min_score: Least score of a document.
        filter_policy: What filters of a run do: replace those of the retriever, or both must match (`FilterPolicy.MERGE`).

    Raises:
        ConfigError: The store is of another class.
        FilterError: The filters are malformed, or cannot be translated.
    """

    def __init__(
        self,
        document_store: PgRetrievalDocumentStore,
        *,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        mode: Mode | None = None,
        min_score: float | None = None,
        filter_policy: str | FilterPolicy = FilterPolicy.REPLACE,
    ) -> None:
        if not isinstance(document_store, PgRetrievalDocumentStore):
            msg = f"document_store is {validate.shown(document_store)}; give a PgRetrievalDocumentStore"
            raise ConfigError(msg)
        where_of(filters)
        self.document_store = document_store
        self.filters = filters
        self.top_k = top_k
        self.mode = mode
        self.min_score = min_score
        self.filter_policy = FilterPolicy.from_str(filter_policy) if isinstance(filter_policy, str) else filter_policy

    @property
    def collection(self) -> Collection:
        """The collection."""
        return self.document_store.collection

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments of the constructor, for pipelines in files."""
        return default_to_dict(
            self,
            document_store=self.document_store.to_dict(),
            filters=self.filters,
            top_k=self.top_k,
            mode=self.mode,
            min_score=self.min_score,
            filter_policy=self.filter_policy.value,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the retriever of `to_dict`.

        Args:
            data: The result of `to_dict`.
        """
        given = data["init_parameters"]
        given["document_store"] = PgRetrievalDocumentStore.from_dict(given["document_store"])
        retriever: Self = default_from_dict(cls, data)
        return retriever

    @component.output_types(documents=list[Document])
    def run(self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None) -> dict[str, list[Document]]:
        """Return the best documents with their scores, as "documents".

        Args:
            query: The query text.
            filters: Filters of this run.
            top_k: Number of documents. Default: the retriever's.
        """
        where = where_of(filters)
        held = where_of(self.filters)
        if where is None or (held is not None and self.filter_policy == FilterPolicy.MERGE):
            where = held if where is None else {"$and": [held, where]}
        hits = self.document_store._adapted.search(query, top_k or self.top_k, where, self.mode, self.min_score)
        return {"documents": [_document(hit) for hit in hits]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Return the best documents, as `run`, from asyncio.

        Args:
            query: The query text.
            filters: Filters of this run.
            top_k: Number of documents. Default: the retriever's.
        """
        return await awaited(PgRetrievalRetriever.run)(self, query, filters, top_k)


def where_of(filters: Filters | None) -> dict[str, Any] | None:
    """Translate filters of Haystack into those of `SearchOptions.where`. Raises FilterError if they are malformed or cannot be."""
    if filters is None or filters == {}:
        return None
    where = _translated(filters)
    try:
        jsonpath(where)
    except ConfigError as error:
        raise FilterError(str(error)) from error
    return where


def _translated(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        msg = f"a filter is {validate.shown(given)}; give a mapping with operator and conditions, or field, operator and value"
        raise FilterError(msg)
    needed = ("field", "operator", "value") if "field" in given else ("operator", "conditions")
    for name in needed:
        if name not in given:
            msg = f"the filter {validate.shown(dict(given))} has no {name!r}; give {', '.join(needed)}"
            raise FilterError(msg)
    if "field" in given:
        return _comparison(str(given["field"]), given["operator"], given["value"])
    if given["operator"] not in _LOGIC:
        msg = f"filters have no operator {validate.shown(given['operator'])}; choose {', '.join(_LOGIC)}"
        raise FilterError(msg)
    return _LOGIC[given["operator"]]([_translated(part) for part in _listed("conditions", given["conditions"])])


def _comparison(field: str, operator: Any, value: Any) -> dict[str, Any]:
    name = field.removeprefix("meta.")
    if field in _FIELDS:
        msg = f"a filter compares {field!r}, but only metadata can be filtered; give meta.NAME"
        raise FilterError(msg)
    if operator in _LISTS:
        return {name: {_LISTS[operator]: _listed(f"the value of {field!r} for {operator!r}", value)}}
    if operator in _ORDER:
        if value is None:
            return {name: {"$in": []}}  # nothing is greater or less than None
        if isinstance(value, str):
            _check_date(field, operator, value)
        return {name: {_ORDER[operator]: value}}
    if operator not in ("==", "!="):
        msg = f"filters have no operator {validate.shown(operator)} for {field!r}; choose ==, !=, {', '.join([*_ORDER, *_LISTS])}"
        raise FilterError(msg)
    equal = {name: {"$eq": value}}
    if value is None:
        equal = {"$or": [{name: {"$exists": False}}, equal]}  # type: ignore[dict-item]
    return equal if operator == "==" else {"$not": equal}


def _listed(what: str, given: Any) -> list[Any]:
    if not isinstance(given, list):
        msg = f"{what} is {validate.shown(given)}; give a list"
        raise FilterError(msg)
    return given


def _check_date(field: str, operator: str, value: str) -> None:
    try:
        datetime.fromisoformat(value)
    except ValueError as error:
        msg = f"a filter compares {field!r} by {operator!r} with {value!r}; give a number, or a date in ISO format"
        raise FilterError(msg) from error


def _different(passages: Iterable[Passage], field: str) -> list[Any]:
    """Return the different values of a field; a number, its text and a boolean differ."""
    name = field.removeprefix("meta.")
    values = (passage.metadata[name] for passage in passages if passage.metadata.get(name) is not None)
    return list({(type(value), json.dumps(value, sort_keys=True)): value for value in values}.values())


def _passage(document: Document) -> Passage:
    for name in ("embedding", "sparse_embedding", "blob"):
        if getattr(document, name) is not None:
            remedy = "index images elsewhere" if name == "blob" else "the collection's encoder computes vectors, so embed nothing"
            msg = f"document {document.id!r} has {'a' if name == 'blob' else 'an'} {name}, which this store does not keep; {remedy}"
            raise InputError(msg)
    if document.content is None:
        msg = f"document {document.id!r} has no content; give it a text"
        raise InputError(msg)
    return Passage(document.id, document.content, None, document.meta)


def _document(found: Hit | Passage) -> Document:
    return Document(id=found.id, content=found.text, meta=metadata_of(found), score=getattr(found, "score", None))
