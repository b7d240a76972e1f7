"""Collection: add passages, build the index, search."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from pgretrieval import validate
from pgretrieval.anncur.cross_encoder import CollectionCrossEncoder
from pgretrieval.anncur.factorize import Costs, FactorizationReport, FactorizeOptions
from pgretrieval.anncur.selection import Selection
from pgretrieval.db.connection import Database
from pgretrieval.db.joining import Joined
from pgretrieval.db.selection import Ids
from pgretrieval.db.tables import collections
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.db.tables.factorizations import Element
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.importing import whole
from pgretrieval.index import changes
from pgretrieval.index.check import check
from pgretrieval.index.compaction import compact
from pgretrieval.index.opened import OpenCollection
from pgretrieval.index.rebuild import build_collection, rebuild_with
from pgretrieval.index.work import Stage
from pgretrieval.search.explain import Explanation
from pgretrieval.search.filters import check_where, read_restriction
from pgretrieval.search.fusion import read_fusion
from pgretrieval.search.options import SearchOptions, as_list, as_lists, read_k, read_options, texts_for_cross_encoder
from pgretrieval.search.words import text_search
from pgretrieval.types import AddReport, CollectionSettings, Float32Array, Hit, OnConflict, Passage, Restriction, Violation

if TYPE_CHECKING:
    from pgretrieval.index.build import BuildReport
    from pgretrieval.search.pipeline import SearchPipeline


class Collection:
    """Named set of passages, returned by `create_collection` and `get_collection` of `RetrievalDatabase`. Threads may share it."""

    def __init__(
        self, database: Database, row: CollectionRow, encoder: CollectionEncoder | None, device: str | None = None
    ) -> None:
        self._database = database
        self._opened = OpenCollection(database, row, encoder, device)
        self._cross_encoder = CollectionCrossEncoder(database, row, self._opened.coders, device)

    @cached_property
    def _pipeline(self) -> SearchPipeline:
        """Create the pipeline on first use, because it imports torch."""
        whole("torch")
        from pgretrieval.search.pipeline import SearchPipeline

        return SearchPipeline(self._opened)

    @property
    def _row(self) -> CollectionRow:
        return self._opened.row

    def __repr__(self) -> str:
        return f"<Collection {self.name!r}>"

    if not TYPE_CHECKING:  # type checkers report unknown attributes only without `__getattr__`

        def __getattr__(self, name: str) -> Any:
            setting = "generator" if name == "candidates" else name
            hint = f"; use settings.{setting}" if setting in CollectionSettings.__annotations__ else ""
            msg = f"{type(self).__name__!r} object has no attribute {name!r}{hint}"
            raise AttributeError(msg)

    @property
    def name(self) -> str:
        """Name of the collection."""
        return self._row.name

    @property
    def settings(self) -> CollectionSettings:
        """Current settings of the collection."""
        return self._opened.refresh().settings

    @property
    def encoder(self) -> CollectionEncoder:
        """Encoder of queries and passages.

        Raises:
            EncoderError: The encoder cannot be loaded.
        """
        return self._opened.encoder()[1]

    def add(
        self,
        passages: Iterable[Mapping[str, Any] | Passage],
        vectors: Iterable[Any] | None = None,
        *,
        dense: Iterable[Any] | None = None,
        on_conflict: OnConflict = "error",
        connection: Joined | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> AddReport:
        """Store passages, all or none.

        After an error, even a lost connection, the call can be repeated. Iterables are read in batches, so a
        generator over a large file needs little memory. The encoder reads the title, a space and the text; texts beyond its limit
        are truncated, counted and reported by a warning.

        Args:
            passages: Mappings with id, text, and optionally title and metadata; or `Passage` objects.
            vectors: A (tokens, dim) array for each passage, instead of the encoder's; scaled to unit length.
            dense: A dense vector for each passage, if the collection stores them and the encoder does not compute them.
            on_conflict: Action for an id that exists: "error"; "update", which replaces the passage and encodes it again
                only if title or text differ; or "skip".
            connection: A psycopg or SQLAlchemy connection, or a Session. The passages become visible when its transaction commits.
            progress: Called with the number of passages just finished.

        Raises:
            InputError: A passage is invalid.
            DuplicateIdError: An id occurs twice, or exists in the collection.
            VectorError: Vectors are invalid; DimensionMismatchError if only their dimension is wrong.
            ConflictError: Another transaction changed the same passages.
            ConfigError: Another argument is invalid.
        """
        return changes.add(self._opened, passages, vectors, dense, on_conflict, connection, progress)

    def update(
        self,
        passages: Iterable[Mapping[str, Any] | Passage],
        vectors: Iterable[Any] | None = None,
        *,
        dense: Iterable[Any] | None = None,
        connection: Joined | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> AddReport:
        """Change existing passages, all or none.

        Fields that a mapping omits are unchanged. A passage is encoded again only if title or text differ.

        Args:
            passages: Mappings with id and the fields to change, or `Passage` objects.
            vectors: As for `add`.
            dense: As for `add`.
            connection: As for `add`.
            progress: As for `add`.

        Raises:
            PassageNotFoundError: An id is not in the collection; `add` with on_conflict="update" also stores new passages.
            PgRetrievalError: The errors of `add`.
        """
        return changes.update(self._opened, passages, vectors, dense, connection, progress)

    def delete(
        self,
        ids: Ids | None = None,
        *,
        where: Mapping[str, Any] | str | None = None,
        all: bool = False,
        connection: Joined | None = None,
    ) -> int:
        """Delete passages by ids, by metadata or by both, or delete all.

        Args:
            ids: A list or a SQLAlchemy select; unknown ids are ignored.
            where: A filter as for `search`; an empty one is an error.
            all: Delete every passage and keep the collection.
            connection: As for `add`.

        Returns:
            Number of deleted passages.

        Raises:
            ConfigError: No argument is given, or `all` is combined with another.
            ConflictError: Another transaction changed the same passages.
        """
        changes.check_deletion(ids, where, all)
        return changes.remove(self._opened, read_restriction(self._database, where, ids, "ids") or Restriction(), connection)

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Return passages by id. Unknown ids are left out.

        Raises:
            ConfigError: `ids` is not a list.
            InputError: An id is invalid.
        """
        return self._opened.passages(validate.ids("ids", ids))

    def compact(self, *, stage: Stage | None = None) -> None:
        """Merge posting segments of adds and remove entries of deleted passages.

        Searches and changes continue. If it is interrupted, call it again: it resumes. Clients compact automatically
        unless `auto_compact` is off.

        Args:
            stage: Called with the name, centroids done and total.
        """
        compact(self._database, self._opened.refresh(), validate.called("stage", stage))

    @property
    def auto_compact(self) -> bool:
        """True if clients that change the collection compact it automatically. Writable."""
        return self._opened.refresh().auto_compact

    @auto_compact.setter
    def auto_compact(self, wanted: bool) -> None:
        wanted = validate.flag("auto_compact", wanted)
        with self._database.writing(f"setting up collection {self.name!r}") as connection:
            collections.set_auto_compact(self._row.tables(connection), auto_compact=wanted)

    def not_yet_added(self, passages: Sequence[Passage]) -> list[Passage]:
        """Return the passages that the collection does not contain, to resume an interrupted load.

        Raises:
            DuplicateIdError: The collection contains an id with different content.
        """
        return changes.not_yet_added(self._opened, passages)

    def build(self, *, stage: Stage | None = None) -> BuildReport:
        """Train the codebook and write codes and postings. Searches and changes continue.

        A built collection is unchanged until it has more than twice the tokens of its training. If the build is interrupted, call
        it again: it continues after the last committed stage.

        Args:
            stage: Called with the name, done and total of each stage: encode, train, proxies, code, postings, words, index,
                switch, drop.

        Raises:
            IndexNotBuiltError: The collection has no vectors and no texts to build from.
        """
        return build_collection(self._opened, validate.called("stage", stage))

    def rebuild(self, *, encoder: str | object | None = None, stage: Stage | None = None) -> BuildReport:
        """Train a new codebook and code every passage again. Searches and changes continue.

        One short transaction switches to the new index, and the old one is dropped. If the rebuild is interrupted, call it again:
        it continues after the last committed stage.

        Args:
            encoder: New encoder; all stored texts are encoded again.
            stage: As for `build`.

        Raises:
            IndexNotBuiltError: Passages have neither stored vectors nor an encoder to compute them.
            EncoderError: The encoder cannot be loaded.
        """
        stage = validate.called("stage", stage)
        if encoder is None:
            return build_collection(self._opened, stage, anew=True)
        return rebuild_with(self._opened, encoder, stage)

    def search(self, query: str | None = None, k: int = 10, *, vectors: Any = None, **options: Unpack[SearchOptions]) -> list[Hit]:
        """Return the k best passages, best first. Before the first build, the query is compared with all passages.

        Args:
            query: The query text.
            k: Number of passages to return.
            vectors: Token vectors of the query (tokens, dim), instead of the text.
            options: See `SearchOptions`.

        Raises:
            InputError: The query is blank, or neither text nor vectors are given.
            VectorError: The vectors are invalid.
            ConfigError: An option is invalid.
            IndexNotBuiltError: scorer="cross_encoder" without a factorisation.
            EncoderError: The encoder or cross-encoder cannot be loaded.
        """
        return self._opened.complete(self._search(as_list(query), as_list(vectors), k, options)[0].hits, read_k(k))

    def search_many(
        self,
        queries: Sequence[str] | None = None,
        k: int = 10,
        *,
        vectors: Sequence[Any] | None = None,
        **options: Unpack[SearchOptions],
    ) -> list[list[Hit]]:
        """Search for several queries, encoded together. The server processes the next queries while one is scored.

        Args:
            queries: Query texts.
            k: Number of passages to return for each query.
            vectors: A (tokens, dim) array for each query, instead of texts.
            options: See `SearchOptions`.

        Returns:
            The hits of each query, in the order of the queries.
        """
        k = read_k(k)
        texts, arrays = as_lists(queries, vectors)
        found = [each.hits for each in self._search(texts, arrays, k, options)]
        self._opened.complete(min(found, key=len, default=range(k)), k)
        return found

    def explain(
        self, query: str | None = None, k: int = 10, *, vectors: Any = None, **options: Unpack[SearchOptions]
    ) -> Explanation:
        """Search, and report the work and time of each stage. The arguments are those of `search`.

        Args:
            query: The query text.
            k: Number of passages to return.
            vectors: Token vectors of the query (tokens, dim), instead of the text.
            options: See `SearchOptions`.
        """
        return self._search(as_list(query), as_list(vectors), k, options, counting=True)[0]

    def _search(
        self, queries: list[str] | None, vectors: list[Any] | None, k: int, options: SearchOptions, *, counting: bool = False
    ) -> list[Explanation]:
        """Return one explanation for each query, with its hits."""
        request = read_options(self._row.scoring, k, options)
        check_where(self._database, options.get("where"))
        if request.cross_encoder is None:
            return self._pipeline.search(queries, vectors, request.scan, counting=counting)
        texts = texts_for_cross_encoder(queries, vectors)
        started = self._pipeline.starting_rankings(texts, vectors, request)
        return [self._cross_encoder.search(text, request, each) for text, each in zip(texts, started, strict=True)]

    def text_search(
        self, query: str, k: int = 10, *, where: Mapping[str, Any] | str | None = None, among: Ids | None = None
    ) -> list[Hit]:
        """Return the k best passages for the words of a query, by BM25. Passages with none of the words are left out.

        Args:
            query: The words.
            k: Number of passages to return.
            where: A filter as in `SearchOptions`.
            among: Ids as in `SearchOptions`.

        Raises:
            InputError: The query is blank.
            ConfigError: An argument is invalid, or the collection was created without a language.
        """
        k = read_k(k)
        query, restricted = validate.query(query), read_restriction(self._database, where, among)
        return self._opened.complete(text_search(self._database, self._row, query, k, restricted).hits, k)

    def hybrid_search(
        self,
        query: str,
        k: int = 10,
        *,
        vectors: Any = None,
        dense: Any = None,
        where: Mapping[str, Any] | str | None = None,
        among: Ids | None = None,
        fusion: str = "score",
        weights: tuple[float, float, float] = (1.0, 0.4, 0.5),
        rank_constant: int = 60,
    ) -> list[Hit]:
        """Return the k best passages by late interaction, words and dense vectors combined.

        Words are used if the collection has a language, dense vectors if it has them. If the encoder computed the dense vectors of
        the passages, it also computes the query's; otherwise they are used only if `dense` is given.

        Args:
            query: The query text.
            k: Number of passages to return.
            vectors: Token vectors of the query (tokens, dim), instead of the encoder's.
            dense: Dense vector of the query (dense dim,), instead of the encoder's.
            where: A filter as in `SearchOptions`.
            among: Ids as in `SearchOptions`.
            fusion: "score" sums scores scaled to mean 0 and variance 1 over the candidates; "rank" sums reciprocal ranks.
            weights: Weights of late interaction, words and dense vectors.
            rank_constant: Constant of reciprocal ranks.

        Raises:
            PgRetrievalError: The errors of `search` and `text_search`.
        """
        request = read_options(self._row.scoring, k, {"where": where, "among": among})
        fusing = read_fusion(fusion, weights, rank_constant)
        query = validate.query(query)
        check_where(self._database, where)
        return self._opened.complete(self._pipeline.hybrid_search(query, vectors, dense, fusing, request.scan), request.k)

    def factorize(
        self,
        cross_encoder: str | os.PathLike[str] | object,
        anchor_queries: Sequence[str],
        anchor_items: int = 200,
        selection: Selection = "greedy",
        *,
        seed: int = 0,
        element: Element = "vector",
        stage: Stage | None = None,
        costs: Callable[[Costs], None] | None = None,
    ) -> FactorizationReport:
        """Score every passage for the anchor queries by a cross-encoder and compute item embeddings from the scores (ANNCUR).

        Afterwards, `search` with scorer="cross_encoder" approximates its ranking. If the call is interrupted, repeat it: it
        resumes. After an add, it scores only the new passages; with other anchor items, it scores nothing.
        Searches and changes continue.

        Args:
            cross_encoder: A model name, a folder, a `CrossEncoder`, or an object with predict(list of (query, passage text)).
            anchor_queries: A few hundred queries similar to those of later searches.
            anchor_items: Number of passages that are scored first for a query; also the dimension of the embeddings.
            selection: Selection of anchor items: "greedy", "random", "kmeans" or "top".
            seed: Seed of random choices.
            element: Element type of the vector index: "vector", or "halfvec" for half the bytes and up to 4,000 anchor items.
            stage: Called with the name, done and total of each stage.
            costs: Called with the estimated cost before scoring starts.

        Raises:
            IndexNotBuiltError: There are no passages.
            InputError: An anchor query is invalid, or too few queries have varying scores.
            EncoderError: The cross-encoder cannot be loaded.
            ConfigError: Another argument is invalid.
        """
        options = FactorizeOptions(anchor_items, selection, seed, element)
        return self._cross_encoder.factorize(self._opened.refresh(), cross_encoder, anchor_queries, options, stage, costs)

    def use_cross_encoder(self, cross_encoder: str | os.PathLike[str] | object) -> None:
        """Set the cross-encoder of searches. Needed after a factorisation by an object, since the database stores names only.

        Args:
            cross_encoder: The object, a model name, or a folder.
        """
        self._cross_encoder.use(cross_encoder)

    def exact_rankings(
        self, queries: Sequence[Float32Array], k: int, *, progress: Callable[[int], None] | None = None
    ) -> list[list[str]]:
        """Return the ids of the k best passages by exact MaxSim over unquantised vectors, for each query.

        Every stored text is encoded again, which takes as long as adding it.

        Args:
            queries: Token vectors of each query (tokens, dim).
            k: Number of ids.
            progress: Called with the number of passages just finished.

        Raises:
            InputError: There is no encoder, or passages were added with given vectors.
        """
        self._opened.refresh()
        return self._pipeline.exact_rankings(queries, read_k(k), validate.called("progress", progress))

    def stats(self) -> dict[str, Any]:
        """Return counts, settings and sizes of the collection by name.

        "bytes" contains the size of each table with its indexes, "index_bytes" that of the indexes.
        """
        self._opened.refresh()
        return collections.stats(self._database, self.name)

    def check(self, *, stage: Stage | None = None) -> list[Violation]:
        """Check the consistency of the collection. Reads one snapshot; changes and locks nothing.

        Args:
            stage: Called with the name, done and total of each part.

        Returns:
            Violations; an empty list for a sound collection.

        Raises:
            SchemaError: Row-level security hides passages from the caller.
        """
        return check(self._database, self._opened.refresh(), validate.called("stage", stage))
