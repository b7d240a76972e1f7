"""One collection: add passages, build the index, search it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import Unpack

from pgretrieval import validate
from pgretrieval.anncur.cross_encoder import CollectionCrossEncoder
from pgretrieval.anncur.factorize import Costs, FactorizationReport, FactorizeOptions
from pgretrieval.anncur.selection import Selection
from pgretrieval.corpus.validate import to_change, to_passage
from pgretrieval.db.connection import Database
from pgretrieval.db.joining import Joined
from pgretrieval.db.predicates import check_predicate
from pgretrieval.db.selection import Ids
from pgretrieval.db.tables import catalog
from pgretrieval.db.tables import passages as stored_passages
from pgretrieval.db.tables.anchors import Element
from pgretrieval.db.tables.catalog import CollectionRow
from pgretrieval.encode import registry
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.encode.registry import from_spec, load_encoder
from pgretrieval.errors import (
    ConfigError,
    DimensionMismatchError,
    EncoderChangedError,
    EncoderError,
    InputError,
    PgRetrievalError,
    PgRetrievalWarning,
    VectorError,
)
from pgretrieval.index import ingest
from pgretrieval.index.build import BuildReport, build
from pgretrieval.index.check import check
from pgretrieval.index.coding import Coders
from pgretrieval.index.compaction import compact, compact_if_needed
from pgretrieval.index.ingest import Target
from pgretrieval.index.sources import EncodedAhead, EncodedVectors, GivenDense, GivenVectors, NoVectors, TextsAlone, VectorSource
from pgretrieval.index.vectors import check_dim, dense_array, token_array, unit_rows
from pgretrieval.index.work import Stage
from pgretrieval.numerics.hardware import compute_device
from pgretrieval.search import words
from pgretrieval.search.exhaustive import exact_rankings
from pgretrieval.search.explain import Explanation
from pgretrieval.search.filters import restriction
from pgretrieval.search.fusion import read_fusion
from pgretrieval.search.options import QueryVectors, SearchOptions, SearchRequest, read_k, read_options
from pgretrieval.search.pipeline import SearchPipeline
from pgretrieval.types import (
    AddReport,
    Float32Array,
    Generator,
    Hit,
    HybridQuery,
    OnConflict,
    Passage,
    Rerank,
    Restriction,
    Scorer,
    Violation,
)

_DEFAULT_ENCODER = "minilm"

_Result = TypeVar("_Result")
_Found = TypeVar("_Found", bound=Sized)


class Collection:
    """A named set of passages, made by `RetrievalDatabase.create_collection` and `get_collection`. Threads may share it."""

    def __init__(
        self, database: Database, row: CollectionRow, encoder: CollectionEncoder | None, device: str | None = None
    ) -> None:
        self._database = database
        self._row = row
        self._loaded = None if encoder is None else (row.encoding, encoder)
        self._device = device
        self._computing = compute_device(device)
        self._coders = Coders(row.collection_id, self._computing, row.scoring)
        self._pipeline = SearchPipeline(database, row, self._coders)
        self._cross_encoder = CollectionCrossEncoder(database, row, self._coders, device)

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
        self._refresh()
        return self._row.vectors_per_passage

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
        return self._encoder_and_encoding()[1]

    def _encoder_and_encoding(self) -> tuple[int, CollectionEncoder]:
        """The encoder, and how many changes of it there had been: what it encodes fits the passages while there are no more."""
        loaded = self._loaded
        if loaded is None:
            self._refresh()
            row = self._row
            if row.texts_alone:
                msg = (
                    f'collection {self.name!r} holds texts alone (encoder="none"), which have no token vectors: search by words or '
                    "by a cross-encoder, or give it an encoder by rebuild(encoder=…)"
                )
                raise InputError(msg)
            if row.encoder is not None:
                encoder = from_spec(row.encoder, self._device)
            elif row.dim is None:
                encoder = load_encoder(_DEFAULT_ENCODER, self._device, unit=row.unit_vectors)
            else:
                msg = f"collection {self.name!r} holds given vectors and has no encoder; pass vectors=, or open it with encoder=…"
                raise InputError(msg)
            loaded = self._loaded = row.encoding, encoder
        return loaded

    def _following(self, work: Callable[[], _Result]) -> _Result:
        """Do it; once more, with the encoder that the database names, where a rebuild has changed that."""
        try:
            return work()
        except EncoderChangedError:
            self._forget_old_encoder()
        return work()

    def _forget_old_encoder(self) -> None:
        self._refresh()
        if self._loaded and self._loaded[0] != self._row.encoding:
            self._loaded = None

    def _renewed(self) -> tuple[int, VectorSource]:
        """Where vectors of texts come from after a rebuild has changed the encoder."""
        self._forget_old_encoder()
        return self._source(None, None, None, changing=True)

    def is_of(self, row: object) -> bool:
        """Whether this is the collection of a row, and not one of the same name that was made before it."""
        return isinstance(row, CollectionRow) and self._row.identity == row.identity

    def check_encoder(self, encoder: CollectionEncoder) -> None:
        """Raise DimensionMismatchError where an encoder has another dimension than the collection."""
        if not isinstance(encoder, CollectionEncoder):
            msg = f"encoder is {validate.shown(encoder)}; give one as the collection's property `encoder` is"
            raise EncoderError(msg)
        if self._row.dim is not None and encoder.dim != self._row.dim:
            msg = f"encoder {encoder.spec} has {encoder.dim} dimensions, collection {self.name!r} has {self._row.dim}"
            raise DimensionMismatchError(msg)

    def require_encoder(self, source: str) -> None:
        """Raise ConfigError where the collection was made with another encoder than `source` names."""
        source = validate.path("source", source)
        held, unit = self._row.encoder, self._row.unit_vectors
        if held is None:
            return
        fits = self._row.texts_alone if source == "none" else registry.names(source, held, unit=unit)
        if not fits:
            msg = f"collection {self.name!r} was made with encoder {held}, not {source!r}; name that one, or change it by rebuild"
            raise ConfigError(msg)

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
        passages, vectors, dense = _many(passages, vectors, dense, progress)
        checked = (to_passage(record, f"passage {number}") for number, record in enumerate(passages, start=1))

        encoding, source = self._source(vectors, dense, progress)
        try:
            report = ingest.add(self._target(encoding), checked, source, on_conflict, connection, self._renewed)
        except EncoderChangedError:
            self._renewed()
            raise
        return self._changed(report, connection)

    def _encode_ahead(self, passages: Sequence[Passage], known: EncodedAhead | None = None) -> EncodedAhead:
        """For `_add_ahead`: the vectors of what is new among checked passages; those `known` are not made again."""
        encoding, source = self._source(None, None, None, changing=True)
        return ingest.encode_ahead(self._target(encoding), passages, source, self._renewed, known)

    def _add_ahead(self, passages: Sequence[Passage], ahead: EncodedAhead, connection: Joined) -> AddReport:
        """`add` with "update" that encodes nothing, in a transaction. Raises NotEncodedError, EncoderChangedError."""
        return ingest.add(self._target(ahead.encoding), passages, ahead, "update", connection)

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
        passages, vectors, dense = _many(passages, vectors, dense, progress)
        changes = (to_change(record, f"passage {number}") for number, record in enumerate(passages, start=1))

        encoding, source = self._source(vectors, dense, progress, changing=True)
        try:
            report = ingest.update(self._target(encoding), changes, source, connection, self._renewed)
        except EncoderChangedError:
            self._renewed()
            raise
        return self._changed(report, connection)

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
        if validate.flag("all", all) != (ids is None and where is None):
            msg = "delete needs ids, where= or all=True, which deletes every passage; give ids or where=, or all=True alone"
            raise ConfigError(msg)
        if isinstance(where, Mapping) and not where:
            msg = "where is {}, which would delete every passage; give a condition, or say all=True"
            raise ConfigError(msg)
        restricted = self._restriction(where, ids, "ids") or Restriction()
        removed = ingest.remove(self._target(), restricted, connection)
        self._tidy(connection)
        return removed

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Return the passages of some ids, by id. Ids that the collection does not hold are left out.

        Raises:
            ConfigError: `ids` is not a list.
            InputError: An id cannot be one.
        """
        keys = validate.ids("ids", ids)
        with self._database.connection(f"reading collection {self.name!r}") as connection:
            catalog.require(connection, self._row.collection_id, self._row.identity)
            found = stored_passages.existing(connection, self._row.collection_id, keys)
        return self._complete(found, len(set(keys)))

    def _changed(self, report: AddReport, joined: Joined | None) -> AddReport:
        if report.truncated:
            message = f"{report.truncated} of {report.passages} texts were longer than the model reads and were cut"
            warnings.warn(message, PgRetrievalWarning, stacklevel=3)
        self._tidy(joined)
        return report

    def _tidy(self, joined: Joined | None) -> None:
        """Not before the caller has committed."""
        if joined is None:
            compact_if_needed(self._database, self._row)

    def compact(self, *, stage: Stage | None = None) -> None:
        """Merge posting segments of adds and remove entries of deleted passages.

        Searches and changes continue. If it is interrupted, call it again: it continues where it was. Clients compact by
        themselves unless `auto_compact` is off.

        Args:
            stage: Told the name, and the centroids done and in all.
        """
        stage = validate.called("stage", stage)
        self._refresh()
        compact(self._database, self._row, stage)

    @property
    def auto_compact(self) -> bool:
        """Whether clients that change the collection compact it by themselves; can be set."""
        self._refresh()
        return self._row.auto_compact

    @auto_compact.setter
    def auto_compact(self, wanted: bool) -> None:
        wanted = validate.flag("auto_compact", wanted)
        with self._database.writing(f"setting up collection {self.name!r}") as connection:
            catalog.set_auto_compact(connection, self._row.collection_id, auto_compact=wanted)

    def _source(
        self,
        vectors: Iterable[Any] | None,
        dense: Iterable[Any] | None,
        progress: Callable[[int], None] | None,
        *,
        changing: bool = False,
    ) -> tuple[int, VectorSource]:
        """The vectors of passages to come, and of which of the collection's encoders they are; `changing` may need none."""
        keeps_dense = self._row.keeps_dense
        if self._row.texts_alone:
            self._refresh()  # a rebuild may have given it an encoder
        if self._row.texts_alone:
            if vectors is not None or dense is not None:
                msg = f'collection {self.name!r} holds texts alone (encoder="none"); leave vectors= and dense= out'
                raise ConfigError(msg)
            return self._row.encoding, TextsAlone(progress)
        if dense is not None and not keeps_dense:
            msg = f'collection {self.name!r} keeps no dense vectors; create it with dense="kept", or leave dense= out'
            raise ConfigError(msg)
        given = GivenDense(dense) if dense is not None else None
        if vectors is None:
            try:
                encoding, encoder = self._encoder_and_encoding()
            except InputError as error:
                if changing:
                    return self._row.encoding, NoVectors(error)
                raise
            return encoding, EncodedVectors(encoder, given, progress, with_dense=keeps_dense)
        if keeps_dense and given is None:
            msg = f"collection {self.name!r} keeps dense vectors; give dense=, one vector a passage, beside vectors="
            raise InputError(msg)
        return self._row.encoding, GivenVectors(vectors, given, progress)

    def not_yet_added(self, passages: Sequence[Passage]) -> list[Passage]:
        """Return the passages of a list that the collection does not hold, to take up an interrupted load.

        Raises:
            DuplicateIdError: The collection holds an id with other content.
        """
        listed = validate.listed("passages", passages, "passages", InputError)
        checked = [to_passage(record, f"passage {number}") for number, record in enumerate(listed, start=1)]
        return ingest.not_yet_added(self._target(), checked)

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
        return self._built(lambda: build(self._database, self._row, self._encoder_of_texts(), stage, self._computing))

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
            return self._built(
                lambda: build(self._database, self._row, self._encoder_of_texts(), stage, self._computing, anew=True)
            )
        named = validate.names_or_object("encoder", encoder, EncoderError)
        changed = load_encoder(named, self._device, unit=self._row.unit_vectors)
        check_dim(changed.dim)
        self._refresh()
        before = self._row.encoding
        try:
            report = self._built(
                lambda: build(self._database, self._row, changed, stage, self._computing, anew=True, changes_encoder=True)
            )
        except BaseException:
            with suppress(PgRetrievalError):
                self._refresh()
                if self._row.encoding != before:  # interrupted after the switch
                    self._loaded = self._row.encoding, changed
            raise
        self._refresh()
        self._loaded = self._row.encoding, changed
        return report

    def _encoder_of_texts(self) -> CollectionEncoder | None:
        """What makes vectors again that are not stored any more, if anything does."""
        self._refresh()
        if self._row.texts_alone:
            return None
        loadable = self._loaded is not None or (self._row.encoder or {}).get("kind") not in (None, "object")
        return self.encoder if loadable and not self._row.given_vectors else None

    def _built(self, work: Callable[[], BuildReport]) -> BuildReport:
        self._refresh()
        report = self._following(work)
        if report.slow_plans:
            message = f"the server plans searches without an index ({'; '.join(report.slow_plans)}); see `pgretrieval doctor`"
            warnings.warn(message, PgRetrievalWarning, stacklevel=3)
        return report

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
        return self._complete(self._search(_listed(query), k, _listed(vectors), options)[0].hits, read_k(k))

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
        texts, arrays = _several(queries, vectors)
        found = [each.hits for each in self._search(texts, k, arrays, options)]
        self._complete(min(found, key=len, default=range(k)), k)
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
        return self._search(_listed(query), k, _listed(vectors), options, counting=True)[0]

    def _search(
        self,
        queries: list[str] | None,
        k: int,
        vectors: list[Any] | None,
        options: SearchOptions,
        *,
        counting: bool = False,
    ) -> list[Explanation]:
        """One explanation a query, with its hits."""
        request = read_options(self._row.scoring, k, options)
        self._check_filter(options.get("where"))
        if request.cross_encoder is None:
            return self._started(request, queries, vectors, counting=counting)
        texts = _texts_for_cross_encoder(queries, vectors)
        started = self._started(request, texts if request.by_words or vectors is None else None, vectors, counting=False)
        return [self._cross_encoder.search(text, request, each) for text, each in zip(texts, started, strict=True)]

    def _started(
        self, request: SearchRequest, queries: list[str] | None, vectors: list[Any] | None, *, counting: bool
    ) -> list[Explanation]:
        """The collection's own search, which a cross-encoder may begin with."""
        if request.scan.k == 0:
            return [Explanation() for _ in queries or vectors or ()]
        if request.by_words:
            return [self._text_search(query, request.scan.k, request.scan.restriction) for query in queries or []]

        def work() -> list[Explanation]:
            encoding = Explanation()
            with encoding.stage("encode"):
                encoded = self._query_vectors(queries, vectors)
            found = self._pipeline.search(encoded, request.scan, counting=counting)
            return [encoding.followed_by(found[0]), *found[1:]] if found else []

        return self._following(work)

    def _text_search(self, query: str, k: int, restricted: Restriction | None) -> Explanation:
        found = Explanation()
        with found.stage("words"):
            found.hits = words.text_search(self._database, self._row, query, k, restricted or Restriction())
        return found

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
        query, restricted = validate.query(query), self._restriction(where, among)
        return self._complete(self._text_search(query, k, restricted).hits, k)

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
        self._check_filter(where)

        def search() -> list[Hit]:
            encoded, encoded_dense = self._hybrid_vectors(query, vectors, dense)
            hybrid = HybridQuery(query if self._row.language else None, encoded_dense, fusing)
            return self._pipeline.search(encoded, replace(request.scan, hybrid=hybrid))[0].hits

        return self._complete(self._following(search), request.k)

    def _hybrid_vectors(self, query: str, vectors: Any, dense: Any) -> tuple[QueryVectors, Float32Array | None]:
        if self._row.keeps_dense and self._row.dense_dim is None:
            self._refresh()
        if dense is not None and self._row.dense is None:
            msg = f"collection {self.name!r} has no dense vectors; create it with dense=, or leave dense= out here"
            raise ConfigError(msg)
        checked = None if dense is None else dense_array(dense, "the query", self._row.dense_dim)
        if checked is not None and self._row.keeps_dense:
            checked = unit_rows(checked[None])[0]  # any length would not fit half precision
        if vectors is not None or checked is not None or not self._row.keeps_dense or self._row.given_dense:
            return self._query_vectors([query] if vectors is None else None, _listed(vectors)), checked
        encoding, encoder = self._encoder_and_encoding()
        _warn_of_cut([query], encoder)
        tokens, rows = encoder.encode_query_with_dense(query)
        return QueryVectors(tokens, encoding), rows[0]

    def _restriction(self, where: Any, among: Any, what: str = "among") -> Restriction | None:
        """What a search or a delete is restricted to. Raises ConfigError, also where a text is no jsonpath predicate."""
        restricted = restriction(where, among, what)
        self._check_filter(where)
        return restricted

    def _check_filter(self, where: Any) -> None:
        if isinstance(where, str):
            check_predicate(self._database, where)

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
        self._refresh()
        options = FactorizeOptions(anchor_items, selection, seed, element)
        return self._cross_encoder.factorize(self._row, cross_encoder, anchor_queries, options, stage, costs)

    def use_cross_encoder(self, cross_encoder: str | os.PathLike[str] | object) -> None:
        """Set the cross-encoder for searches of a collection that was factorised by an object, which no database can keep.

        Args:
            cross_encoder: The object, a model name, or a folder.
        """
        self._cross_encoder.use(cross_encoder)

    def query_vectors(self, queries: Sequence[str] | None = None, vectors: Sequence[Any] | None = None) -> list[Float32Array]:
        """One checked (tokens, dim) array a query."""
        return list(self._query_vectors(*_several(queries, vectors)).vectors)

    def _query_vectors(self, queries: Sequence[str] | None, vectors: Sequence[Any] | None) -> QueryVectors:
        if (queries is None) == (vectors is None):
            msg = "give either query texts or vectors="
            raise ConfigError(msg)
        if vectors is not None:
            return QueryVectors(self._checked(vectors), None)
        encoding, encoder = self._encoder_and_encoding()
        texts = [validate.query(query) for query in queries or []]
        _warn_of_cut(texts, encoder)
        return QueryVectors(encoder.encode_query(texts), encoding)

    def _checked(self, vectors: Sequence[Any]) -> list[Float32Array]:
        """Query vectors of the collection's dimension, which other processes may have settled or changed since."""
        whats = [f"query {number}" if len(vectors) > 1 else "the query" for number in range(1, len(vectors) + 1)]
        try:
            if self._row.dim is not None:
                return [token_array(*given, self._row.dim) for given in zip(vectors, whats, strict=True)]
        except DimensionMismatchError:
            pass
        self._refresh()
        return [token_array(*given, self._row.dim) for given in zip(vectors, whats, strict=True)]

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
        self._refresh()
        vectors = self._checked(list(validate.listed("queries", queries, "(tokens, dim) arrays, one a query")))
        if self._row.given_vectors:
            msg = f"collection {self.name!r} holds passages with given vectors, which are not kept unquantised; compare outside"
            raise InputError(msg)
        unit = self._row.unit_vectors
        return exact_rankings(self._database, self._row.collection_id, self.encoder, vectors, k, progress, unit=unit)

    def stats(self) -> dict[str, Any]:
        """Return counts, settings and bytes of the collection by name.

        "bytes" has each table with its indexes, "index_bytes" the indexes alone.
        """
        self._refresh()
        return catalog.stats(self._database, self.name)

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
        self._refresh()
        return check(self._database, self._row, stage)

    def _target(self, encoding: int | None = None) -> Target:
        held = self._row.encoding if encoding is None else encoding
        return Target(self._database, self._row.collection_id, self.name, held, self._coders, self._row.identity)

    def _refresh(self) -> None:
        """What adds have settled, possibly in another process. Raises CollectionNotFoundError where it was dropped."""
        found = catalog.find(self._database, self.name)
        if found.identity != self._row.identity:
            raise catalog.dropped(self._row.collection_id)
        self._row = found

    def _complete(self, found: _Found, wanted: int) -> _Found:
        """What was found; where that is less than wanted, a drop may have come in between, and is raised."""
        if len(found) < wanted:
            self._refresh()
        return found


def _many(
    passages: Any, vectors: Any, dense: Any, progress: Any
) -> tuple[Iterable[Any], Iterable[Any] | None, Iterable[Any] | None]:
    """Passages and what is given beside them, each a list of its own."""
    validate.called("progress", progress)
    if isinstance(passages, Passage):
        msg = "passages is one Passage; give a list of passages"
        raise InputError(msg)
    arrays = None if vectors is None else validate.listed("vectors", vectors, "(tokens, dim) arrays, one a passage", VectorError)
    rows = None if dense is None else validate.listed("dense", dense, "vectors, one a passage", VectorError)
    return validate.listed("passages", passages, "passages", InputError), arrays, rows


def _several(queries: Any, vectors: Any) -> tuple[list[Any] | None, list[Any] | None]:
    """Several queries, as texts or as vectors; generators, arrays and Series are lists, too. Raises ConfigError."""
    if isinstance(queries, str):
        msg = f"search_many takes a list of queries, not one text ({queries[:40]!r}); use search for one"
        raise ConfigError(msg)
    texts = None if queries is None else list(validate.listed("queries", queries, "texts"))
    arrays = None if vectors is None else list(validate.listed("vectors", vectors, "(tokens, dim) arrays, one a query"))
    return texts, arrays


def _texts_for_cross_encoder(queries: list[Any] | None, vectors: list[Any] | None) -> list[str]:
    """The query texts that a cross-encoder reads; vectors beside them are those of the same queries."""
    remedy = "a text that is not blank, since a cross-encoder reads texts"
    texts = [validate.text("the query", query, InputError, remedy=remedy) for query in queries or [None]]
    if vectors is not None and len(vectors) != len(texts):
        msg = f"there are {len(texts)} query texts and {len(vectors)} arrays of vectors; give one array a text"
        raise ConfigError(msg)
    return texts


def _warn_of_cut(queries: list[str], encoder: CollectionEncoder) -> None:
    """Warn of queries that are longer than the model reads."""
    if cut := encoder.count_truncated_queries(queries):
        what = "the query was" if len(queries) == 1 else f"{cut} of {len(queries)} queries were"
        warnings.warn(f"{what} longer than the model reads, and the end was cut off", PgRetrievalWarning, stacklevel=3)


def _listed(one: Any) -> list[Any] | None:
    return None if one is None else [one]
