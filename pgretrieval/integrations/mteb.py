"""MTEB: collections as a search model of `mteb.evaluate`. Needs the extra `mteb`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from pgretrieval import validate
from pgretrieval.asynchronous import AsyncCollection
from pgretrieval.collection import Collection
from pgretrieval.errors import ConfigError, IndexNotBuiltError, InputError, PgRetrievalWarning
from pgretrieval.index.options import CollectionOptions
from pgretrieval.integrations.base import AdaptedCollection, extra
from pgretrieval.types import MODES, Mode, Passage

with extra("mteb"):
    from mteb.models import ModelMeta

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.types import CorpusDatasetType, EncodeKwargs, QueryDatasetType, RetrievalOutputType, TopRankedDocumentsType

    from pgretrieval.db.urls import URL


class PgRetrievalSearch:
    """Search model of MTEB: `mteb.evaluate(PgRetrievalSearch("mteb"), tasks)`.

    By name, each corpus gets a collection `NAME TASK SUBSET SPLIT`, which stays; a later run adds only what is missing.

    Args:
        collection: Begin of the names of collections, or a collection for one corpus, which contains nothing else.
        url: The database, as for `connect`.
        data_dir: As for `connect`.
        encoder: As for `create_collection` and `get_collection`.
        mode: "hybrid", "late", "words" or "dense". Default: "hybrid" where a collection has words or dense vectors, else "late".
        options: Options of new collections, as in `CollectionOptions`.
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
        self._given = collection
        self._how: dict[str, Any] = {"url": url, "data_dir": data_dir, "encoder": encoder, "mode": mode, "options": dict(options)}
        if mode is not None:
            validate.choice("mode", mode, MODES)
        self._adapted = None if isinstance(collection, str) else AdaptedCollection(collection, **self._how)

    @property
    def collection(self) -> Collection:
        """The collection of the last corpus.

        Raises:
            IndexNotBuiltError: No corpus was indexed.
        """
        return self._searched().collection

    def close(self) -> None:
        """Close the database, if it was opened by a name."""
        if self._adapted is not None:
            self._adapted.close()

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """Name, revision and options, under which MTEB stores results."""
        encoder, mode = self._how["encoder"], self._how["mode"]
        if not isinstance(self._given, str):
            held = self.collection._opened.row.encoder or {"kind": "minilm"}
            encoder = held.get("name") or held.get("type", held["kind"]).rpartition(".")[2]
        encoder = "minilm" if encoder is None else encoder
        name = os.path.basename(encoder) if isinstance(encoder, str | os.PathLike) else type(encoder).__name__
        options = {option: str(value) for option, value in self._how["options"].items()}
        described = {
            "name": f"pgretrieval/{name}",
            "revision": version("pgretrieval"),
            "model_type": ["late-interaction"],
            "experiment_kwargs": {"mode": mode or "default", **options},
        }
        meta: ModelMeta = ModelMeta.create_empty(described)
        return meta

    def index(
        self,
        corpus: CorpusDatasetType,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: EncodeKwargs,
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Store a corpus and build the index. Documents without title and text are left out, with a warning.

        Args:
            corpus: Rows with id, text and optionally title.
            task_metadata: The task; its name is part of the collection's.
            hf_split: Part of the collection's name.
            hf_subset: Part of the collection's name.
            encode_kwargs: Not used: the collection's encoder chooses its batches.
            num_proc: Not used.
            kwargs: Reserved by MTEB.

        Raises:
            ConfigError: The corpus has no texts, or the collection contains other passages.
        """
        if "text" not in corpus.column_names:
            columns = ", ".join(corpus.column_names)
            msg = f"the corpus of {task_metadata.name} has no column 'text', only {columns}; choose a task of texts"
            raise ConfigError(msg)
        if isinstance(self._given, str):
            self.close()
            self._adapted = AdaptedCollection(f"{self._given} {task_metadata.name} {hf_subset} {hf_split}", **self._how)
        docs, blank = self.collection, 0

        def passages() -> Any:
            nonlocal blank
            for row in corpus:
                title, text = ((row.get(name) or "").strip() for name in ("title", "text"))
                if title or text:
                    yield Passage(row["id"], text or title, title or None if text else None)
                else:
                    blank += 1

        docs.add(passages(), on_conflict="update")
        if blank:
            warnings.warn(f"{blank} documents have neither title nor text and were left out", PgRetrievalWarning, stacklevel=2)
        held = docs.stats()["passages"]
        if held != len(corpus) - blank:
            msg = (
                f"collection {docs.name!r} contains {held:,} passages, but the corpus {len(corpus) - blank:,}; give an empty "
                "collection, or a name"
            )
            raise ConfigError(msg)
        if not docs.settings.texts_alone:
            docs.build()

    def search(
        self,
        queries: QueryDatasetType,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: EncodeKwargs,
        top_ranked: TopRankedDocumentsType | None = None,
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> RetrievalOutputType:
        """Return ids and scores of the best documents for each query.

        Args:
            queries: Rows with id and text, and optionally an instruction, which follows the text.
            task_metadata: The task.
            hf_split: Not used.
            hf_subset: Not used.
            top_k: Number of documents.
            encode_kwargs: Not used.
            top_ranked: Ids of the documents to rank for each query, in reranking tasks.
            num_proc: Not used.
            kwargs: Reserved by MTEB.

        Raises:
            IndexNotBuiltError: No corpus was indexed.
            InputError: A query is no text.
        """
        found: RetrievalOutputType = {}
        for row in queries:
            among = None if top_ranked is None else top_ranked.get(row["id"], [])
            hits = self._searched().search(_text(row, task_metadata.name), top_k, among=among)
            found[row["id"]] = {hit.id: hit.score for hit in hits}
        return found

    def _searched(self) -> AdaptedCollection:
        if self._adapted is None:
            msg = "no corpus was indexed; call index first, as mteb.evaluate does"
            raise IndexNotBuiltError(msg)
        return self._adapted


def _text(row: Mapping[str, Any], task: str) -> str:
    if not isinstance(row["text"], str):
        msg = f"query {row['id']!r} of {task} is {validate.shown(row['text'])}; choose a task whose queries are texts"
        raise InputError(msg)
    return f"{row['text']} {row['instruction']}" if row.get("instruction") else row["text"]
