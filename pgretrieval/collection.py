"""One collection: add passages, build the index, search it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from pgretrieval import validate
from pgretrieval.anncur.cross_encoder import CollectionCrossEncoder
from pgretrieval.anncur.factorize import Costs, FactorizationReport, FactorizeOptions
from pgretrieval.anncur.selection import Selection
from pgretrieval.corpus.validate import to_change, to_passage
from pgretrieval.db.connection import Database
from pgretrieval.db.joining import Joined
from pgretrieval.db.selection import Ids
from pgretrieval.db.tables import collections
from pgretrieval.db.tables import passages as stored_passages
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.db.tables.factorizations import Element
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.encode.registry import load_encoder
from pgretrieval.errors import EncoderError, InputError
from pgretrieval.index import changes
from pgretrieval.index.build import BuildReport
from pgretrieval.index.check import check
from pgretrieval.index.compaction import compact
from pgretrieval.index.opened import OpenCollection
from pgretrieval.index.rebuild import build_collection, rebuild_with
from pgretrieval.index.vectors import check_dim
from pgretrieval.index.work import Stage
from pgretrieval.search.exhaustive import exact_rankings
from pgretrieval.search.explain import Explanation
from pgretrieval.search.filters import check_where, read_restriction
from pgretrieval.search.fusion import read_fusion
from pgretrieval.search.options import SearchOptions, SearchRequest, one, read_k, read_options, several, texts_for_cross_encoder
from pgretrieval.search.pipeline import SearchPipeline, checked_vectors
from pgretrieval.search.words import text_search
from pgretrieval.types import AddReport, Float32Array, Generator, Hit, OnConflict, Passage, Rerank, Restriction, Scorer, Violation


class Collection:
    """A named set of passages, made by `RetrievalDatabase.create_collection` and `get_collection`. Threads may share it."""

    def __init__(
        self, database: Database, row: CollectionRow, encoder: CollectionEncoder | None, device: str | None = None
    ) -> None:
        self._database = database
        self._opened = OpenCollection(database, row, encoder, device)
        self._pipeline = SearchPipeline(self._opened)
        self._cross_encoder = CollectionCrossEncoder(database, row, self._opened.coders, device)

    @property
    def _row(self) -> CollectionRow:
        return self._opened.row

    def __repr__(self) -> str:
        return f"<Collection {self.name!r}>"

    if not TYPE_CHECKING:  # type checkers know that there is no such attribute

        def __getattr__(self, name: str) -> Any:
            renamed = "; what generates candidates is called generator" if name == "candidates" else ""
            msg = f"{type(self).__name__!r} object has no attribute {name!r}{renamed}"
            raise AttributeError(msg)

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._row.name

    @property
    def bits(self) -> int:
        """Bits that a residual takes for each dimension."""
        return self._row.bits

    @property
    def generator(self) -> Generator:
        """What generates candidates: "proxy", "postings" or "auto"."""
        return self._row.generator

    @property
    def scorer(self) -> Scorer:
        """What scores passages: "maxsim", all their tokens; "xtr" or "colxtr", the retrieved ones."""
        return self._row.scorer

    @property
    def rerank(self) -> Rerank | None:
        """What scores the best passages of "xtr" or "colxtr" again: "maxsim", or None."""
        return self._row.rerank

    @property
    def unit_vectors(self) -> bool:
        """Whether token vectors are scaled to length one."""
        return self._row.unit_vectors

    @property
    def keep_vectors(self) -> bool:
        """Whether token vectors stay beside their codes."""
        return self._row.keep_vectors

    @property
    def vectors_per_passage(self) -> int | None:
        """Number of vectors of every passage; None if it differs. A rebuild with another encoder changes it."""
        return self._opened.refresh().vectors_per_passage

    @property
    def language(self) -> str | None:
        """Text search configuration for searches by words; None for none."""
        return self._row.language

    @property
    def dense(self) -> str | None:
        """Where dense vectors are: "kept" in the collection, "schema.table.column" of yours, or None."""
        return self._row.dense

    @property
    def texts_alone(self) -> bool:
        """Whether the passages have no token vectors."""
        return self._row.texts_alone

    @property
    def encoder(self) -> CollectionEncoder:
        """The encoder of the collection, for queries and passages.

        Raises:
            EncoderError: It cannot be loaded.
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
        """Store passages: all of them or none.

        After an error, also after a lost connection, the same call can be made again. Any iterable is taken in batches, so a
        generator over a large file needs little memory. The encoder reads the title, a space, and the text; longer texts than it
        reads are cut, counted and warned about.

        Args:
            passages: Mappings with id, text, and optionally title and metadata; or `Passage` objects.
            vectors: One (tokens, dim) array for each passage, instead of the encoder's; scaled to unit length.
            dense: One dense vector for each passage, if the collection keeps them and the encoder does not make them.
            on_conflict: What happens with an id that is there: "error"; "update", which replaces the passage and encodes it again
                only if title or text differ; or "skip".
            connection: A psycopg or SQLAlchemy connection, or a Session. The passages are there when its transaction commits.
            progress: Told how many passages were just finished.

        Raises:
            InputError: A passage cannot be taken as it is.
            DuplicateIdError: An id occurs twice, or is in the collection already.
            VectorError: Vectors are wrong; DimensionMismatchError if only their dimension is.
            ConflictError: Another transaction changed the same passages.
            ConfigError: Another argument cannot be used.
        """
        on_conflict = validate.choice("on_conflict", on_conflict, ("error", "update", "skip"))
        passages, vectors, dense = changes.read_lists(passages, vectors, dense, progress)
        checked = (to_passage(record, f"passage {number}") for number, record in enumerate(passages, start=1))
        return changes.add(self._opened, checked, vectors, dense, on_conflict, connection, progress)

    def update(
        self,
        passages: Iterable[Mapping[str, Any] | Passage],
        vectors: Iterable[Any] | None = None,
        *,
        dense: Iterable[Any] | None = None,
        connection: Joined | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> AddReport:
        """Change passages that are there: all of them or none.

        What a mapping leaves out of text, title and metadata stays. A passage is encoded again only if title or text differ.

        Args:
            passages: Mappings with id and what changes; or `Passage` objects.
            vectors: As for `add`.
            dense: As for `add`.
            connection: As for `add`.
            progress: As for `add`.

        Raises:
            PassageNotFoundError: An id is not in the collection; `add` with on_conflict="update" takes new passages, too.
            PgRetrievalError: What `add` raises.
        """
        passages, vectors, dense = changes.read_lists(passages, vectors, dense, progress)
        checked = (to_change(record, f"passage {number}") for number, record in enumerate(passages, start=1))
        return changes.update(self._opened, checked, vectors, dense, connection, progress)

    def delete(
        self,
        ids: Ids | None = None,
        *,
        where: Mapping[str, Any] | str | None = None,
        all: bool = False,
        connection: Joined | None = None,
    ) -> int:
        """Delete passages by ids, by metadata, or by both; or all of them.

        Args:
            ids: A list, or a SQLAlchemy select; ids that are not there are passed over.
            where: A filter as for `search`; an empty one is an error.
            all: Delete every passage and keep the collection.
            connection: As for `add`.

        Returns:
            How many passages were deleted.

        Raises:
            ConfigError: No argument is given, or `all` together with another.
            ConflictError: Another transaction changed the same passages.
        """
        changes.check_deletion(ids, where, all)
        restricted = read_restriction(self._database, where, ids, "ids") or Restriction()
        return changes.remove(self._opened, restricted, connection)

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Return the passages of some ids, by id. Ids that the collection does not hold are left out.

        Raises:
            ConfigError: `ids` is not a list.
            InputError: An id cannot be one.
        """
        keys = validate.ids("ids", ids)
        with self._database.connection(f"reading collection {self.name!r}") as connection:
            collections.require(connection, self._row.collection_id, self._row.identity)
            found = stored_passages.existing(connection, self._row.collection_id, keys)
        return self._opened.complete(found, len(set(keys)))

    def compact(self, *, stage: Stage | None = None) -> None:
        """Merge posting segments of adds and remove entries of deleted passages.

        Searches and changes continue. If it is interrupted, call it again: it continues where it was. Clients compact by
        themselves unless `auto_compact` is off.

        Args:
            stage: Told the name, and the centroids done and in all.
        """
        stage = validate.called("stage", stage)
        compact(self._database, self._opened.refresh(), stage)

    @property
    def auto_compact(self) -> bool:
        """Whether clients that change the collection compact it by themselves; can be set."""
        return self._opened.refresh().auto_compact

    @auto_compact.setter
    def auto_compact(self, wanted: bool) -> None:
        wanted = validate.flag("auto_compact", wanted)
        with self._database.writing(f"setting up collection {self.name!r}") as connection:
            collections.set_auto_compact(connection, self._row.collection_id, auto_compact=wanted)

    def not_yet_added(self, passages: Sequence[Passage]) -> list[Passage]:
        """Return the passages of a list that the collection does not hold, to take up an interrupted load.

        Raises:
            DuplicateIdError: The collection holds an id with other content.
        """
        listed = validate.listed("passages", passages, "passages", InputError)
        checked = [to_passage(record, f"passage {number}") for number, record in enumerate(listed, start=1)]
        return changes.not_yet_added(self._opened, checked)

    def build(self, *, stage: Stage | None = None) -> BuildReport:
        """Train the codebook and write codes and postings. Searches and changes continue meanwhile.

        A built collection is left alone until it has more than twice the tokens of its training. If the build is interrupted, call
        it again: it continues after the last committed stage.

        Args:
            stage: Told the name, done and total of each stage: encode, train, proxies, code, postings, words, index, switch, drop.

        Raises:
            IndexNotBuiltError: There is nothing to build from.
        """
        validate.called("stage", stage)
        return build_collection(self._opened, stage)

    def rebuild(self, *, encoder: str | object | None = None, stage: Stage | None = None) -> BuildReport:
        """Train a new codebook and code every passage again. Searches and changes continue meanwhile.

        One short transaction switches to the new index, and the old one is dropped. If the rebuild is interrupted, call it again:
        it continues after the last committed stage.

        Args:
            encoder: Change to this encoder: all stored texts are encoded again.
            stage: As for `build`.

        Raises:
            IndexNotBuiltError: Passages have neither stored vectors nor an encoder that makes them.
            EncoderError: The encoder cannot be loaded.
        """
        validate.called("stage", stage)
        if encoder is None:
            return build_collection(self._opened, stage, anew=True)
        named = validate.names_or_object("encoder", encoder, EncoderError)
        changed = load_encoder(named, self._opened.device, unit=self._row.unit_vectors)
        check_dim(changed.dim)
        return rebuild_with(self._opened, changed, stage)

    def search(self, query: str | None = None, k: int = 10, *, vectors: Any = None, **options: Unpack[SearchOptions]) -> list[Hit]:
        """Return the k best passages, best first. Before the first build all passages are compared.

        Args:
            query: The query text.
            k: How many passages to return.
            vectors: Token vectors of the query (tokens, dim), instead of a text.
            options: See `SearchOptions`.

        Raises:
            InputError: The query is blank, or neither a text nor vectors.
            VectorError: The vectors are wrong.
            ConfigError: An option cannot be used.
            IndexNotBuiltError: scorer="cross_encoder" without a factorisation.
            EncoderError: The encoder or cross-encoder cannot be loaded.
        """
        return self._opened.complete(self._search(one(query), one(vectors), k, options)[0].hits, read_k(k))

    def search_many(
        self,
        queries: Sequence[str] | None = None,
        k: int = 10,
        *,
        vectors: Sequence[Any] | None = None,
        **options: Unpack[SearchOptions],
    ) -> list[list[Hit]]:
        """Search for several queries, encoded together. The server works ahead on the next queries while one is scored.

        Args:
            queries: Query texts.
            k: How many passages to return for each.
            vectors: One (tokens, dim) array for each query, instead of texts.
            options: See `SearchOptions`.

        Returns:
            The hits of each query, in the order of the queries.
        """
        k = read_k(k)
        texts, arrays = several(queries, vectors)
        found = [each.hits for each in self._search(texts, arrays, k, options)]
        self._opened.complete(min(found, key=len, default=range(k)), k)
        return found

    def explain(
        self, query: str | None = None, k: int = 10, *, vectors: Any = None, **options: Unpack[SearchOptions]
    ) -> Explanation:
        """Search, and report what each stage did and how long it took. The arguments are those of `search`.

        Args:
            query: The query text.
            k: How many passages to return.
            vectors: Token vectors of the query (tokens, dim), instead of a text.
            options: See `SearchOptions`.
        """
        return self._search(one(query), one(vectors), k, options, counting=True)[0]

    def _search(
        self, queries: list[str] | None, vectors: list[Any] | None, k: int, options: SearchOptions, *, counting: bool = False
    ) -> list[Explanation]:
        """One explanation a query, with its hits."""
        request = read_options(self._row.scoring, k, options)
        check_where(self._database, options.get("where"))
        if request.cross_encoder is None:
            return self._pipeline.search(queries, vectors, request.scan, counting=counting)
        texts = texts_for_cross_encoder(queries, vectors)
        started = self._starting_rankings(request, texts, vectors)
        return [self._cross_encoder.search(text, request, each) for text, each in zip(texts, started, strict=True)]

    def _starting_rankings(self, request: SearchRequest, texts: list[str], vectors: list[Any] | None) -> list[Explanation]:
        """What a cross-encoder begins with: nothing, the search by words, or the collection's own search."""
        scan = request.scan
        if scan.k == 0:
            return [Explanation() for _ in texts]
        if request.by_words:
            return [text_search(self._database, self._row, text, scan.k, scan.restriction) for text in texts]
        return self._pipeline.search(texts if vectors is None else None, vectors, scan)

    def text_search(
        self, query: str, k: int = 10, *, where: Mapping[str, Any] | str | None = None, among: Ids | None = None
    ) -> list[Hit]:
        """Return the k best passages for the words of a text, by BM25. Passages with none of the words are left out.

        Args:
            query: The words.
            k: How many passages to return.
            where: A filter as in `SearchOptions`.
            among: Ids as in `SearchOptions`.

        Raises:
            InputError: The query is blank.
            ConfigError: An argument cannot be used, or the collection was made without a language.
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
        """Return the k best passages by late interaction, words and dense vectors together.

        Words take part if the collection has a language, dense vectors if it has them: those that the encoder made for `add` it
        makes for the query too; others take part if `dense` is given.

        Args:
            query: The query text.
            k: How many passages to return.
            vectors: Token vectors of the query (tokens, dim), from elsewhere.
            dense: Dense vector of the query (dense dim,), from elsewhere.
            where: A filter as in `SearchOptions`.
            among: Ids as in `SearchOptions`.
            fusion: "score" sums scores scaled to mean 0 and variance 1 over the candidates; "rank" sums reciprocal ranks.
            weights: Of late interaction, words and dense vectors.
            rank_constant: Constant of "rank".

        Raises:
            PgRetrievalError: What `search` and `text_search` raise.
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
        """Score every passage for the anchor queries by a cross-encoder and make item embeddings of the scores (ANNCUR).

        Then `search` with scorer="cross_encoder" finds what it ranks first. If the call is interrupted, make it again: it
        continues. Called again after passages were added it scores these alone; with other anchor items it scores nothing.
        Searches and changes continue.

        Args:
            cross_encoder: A model name, a folder, a `CrossEncoder`, or an object with predict(list of (query, passage text)).
            anchor_queries: A few hundred queries that are like those to come.
            anchor_items: Passages that a query is scored with first, and the dimension of the embeddings.
            selection: How anchor items are chosen: "greedy", "random", "kmeans" or "top".
            seed: Seed of what is drawn.
            element: Precision of the vector index: "vector", or "halfvec" for half the bytes and up to 4,000 anchor items.
            stage: Told the name, done and total of each stage.
            costs: Told what it will cost before it begins.

        Raises:
            IndexNotBuiltError: There are no passages.
            InputError: An anchor query cannot be taken, or scores tell nothing.
            EncoderError: The cross-encoder cannot be loaded.
            ConfigError: Another argument cannot be used.
        """
        options = FactorizeOptions(anchor_items, selection, seed, element)
        return self._cross_encoder.factorize(self._opened.refresh(), cross_encoder, anchor_queries, options, stage, costs)

    def use_cross_encoder(self, cross_encoder: str | os.PathLike[str] | object) -> None:
        """Set the cross-encoder for searches of a collection that was factorised by an object, which no database can keep.

        Args:
            cross_encoder: The object, a model name, or a folder.
        """
        self._cross_encoder.use(cross_encoder)

    def exact_rankings(
        self, queries: Sequence[Float32Array], k: int, *, progress: Callable[[int], None] | None = None
    ) -> list[list[str]]:
        """Return the ids of the k best passages by exact MaxSim over unquantised vectors, for each query.

        Every stored text is encoded again, which takes as long as adding it did.

        Args:
            queries: Token vectors of each query (tokens, dim).
            k: How many ids.
            progress: Told how many passages were just finished.

        Raises:
            InputError: There is no encoder, or passages came with vectors of their own.
        """
        k, _ = read_k(k), validate.called("progress", progress)
        listed = list(validate.listed("queries", queries, "(tokens, dim) arrays, one a query"))
        self._opened.refresh()
        return exact_rankings(self._opened, checked_vectors(self._opened, listed), k, progress)

    def stats(self) -> dict[str, Any]:
        """Return counts, settings and bytes of the collection by name.

        "bytes" has each table with its indexes, "index_bytes" the indexes alone.
        """
        self._opened.refresh()
        return collections.stats(self._database, self.name)

    def check(self, *, stage: Stage | None = None) -> list[Violation]:
        """Check that the collection is sound. Reads one snapshot, changes and locks nothing.

        Args:
            stage: Told the name, done and total of each part.

        Returns:
            What is wrong; an empty list if nothing is.

        Raises:
            SchemaError: Row-level security hides passages from the caller.
        """
        validate.called("stage", stage)
        return check(self._database, self._opened.refresh(), stage)
