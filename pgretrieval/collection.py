"""Collection: the searches, besides what it stores."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from pgretrieval import validate
from pgretrieval.anncur.cross_encoder import CollectionCrossEncoder
from pgretrieval.anncur.factorize import Costs, FactorizationReport, FactorizeOptions, with_preset
from pgretrieval.anncur.inverse import Regularising
from pgretrieval.anncur.selection import Selection
from pgretrieval.anncur.solving import Split
from pgretrieval.db.connection import Database
from pgretrieval.db.selection import Ids
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.errors import ConfigError
from pgretrieval.importing import whole
from pgretrieval.index.work import Stage
from pgretrieval.search.dense import dense_search
from pgretrieval.search.explain import Explanation
from pgretrieval.search.filters import check_where
from pgretrieval.search.fusion import DEFAULT_FUSION, read_fusion
from pgretrieval.search.options import (
    SearchOptions,
    SearchRequest,
    as_list,
    as_lists,
    reaching,
    read_k,
    read_options,
    refuse_of_late,
    texts_for,
)
from pgretrieval.search.unmatched import without_matches
from pgretrieval.search.words import text_search
from pgretrieval.stored import StoredCollection
from pgretrieval.types import MODES, Element, Float32Array, Fusion, Hit, Mode

if TYPE_CHECKING:
    from pgretrieval.search.explained import MatchExplanation
    from pgretrieval.search.pipeline import SearchPipeline


class Collection(StoredCollection):
    """Named set of passages, returned by `create_collection` and `get_collection` of `RetrievalDatabase`. Threads may share it."""

    def __init__(
        self, database: Database, row: CollectionRow, encoder: CollectionEncoder | None, device: str | None = None
    ) -> None:
        super().__init__(database, row, encoder, device)
        self._cross_encoder = CollectionCrossEncoder(database, row, self._opened.coders, device)

    @cached_property
    def _pipeline(self) -> SearchPipeline:
        """Create the pipeline on first use, because it imports torch."""
        whole("torch")
        from pgretrieval.search.pipeline import SearchPipeline

        return SearchPipeline(self._opened)

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
        return self._search(as_list(query), as_list(vectors), k, options)[0].hits

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
        texts, arrays = as_lists(queries, vectors)
        return [each.hits for each in self._search(texts, arrays, k, options)]

    def explain(
        self,
        query: str | None = None,
        k: int = 10,
        *,
        mode: Mode = "late",
        vectors: Any = None,
        **options: Unpack[SearchOptions],
    ) -> Explanation:
        """Search, and report the work and time of each stage.

        Args:
            query: The query text.
            k: Number of passages to return.
            mode: "late" for `search`, "words" for `text_search`, "dense" for `dense_search`, "hybrid" for `hybrid_search`.
            vectors: Token vectors of the query (tokens, dim), instead of the text, or in a hybrid search of the encoder's.
            options: See `SearchOptions`. Modes other than "late" take where, among, min_score and matches; and rerank with a
                cross-encoder, and rerank_depth.

        Raises:
            PgRetrievalError: The errors of these searches.
        """
        mode = validate.choice("mode", mode, MODES)
        if mode == "late":
            return self._search(as_list(query), as_list(vectors), k, options)[0]
        refuse_of_late(mode, {**options, "vectors": None if mode == "hybrid" else vectors})
        return self._by_mode(mode, query, k, options, vectors=vectors)

    def explain_match(
        self,
        query: str | None,
        id: Any,
        k: int = 10,
        *,
        mode: Mode = "late",
        vectors: Any = None,
        dense: Any = None,
        **options: Unpack[SearchOptions],
    ) -> MatchExplanation:
        """Tell why a search returns a passage, or does not: similarities, ranks, and what the passage lacks.

        The search is that of the mode, with the same options; not by a cross-encoder, which compares no tokens.

        Args:
            query: The query text. With `vectors`, it is searched by words only, and may be None.
            id: The id of the passage.
            k: Number of passages that the search returns.
            mode: The search that `MatchExplanation.rank` is of, as for `explain`. Tokens are compared in every mode.
            vectors: Token vectors of the query (tokens, dim), instead of the text's.
            dense: Dense vector of the query (dense dim,), instead of the encoder's.
            options: See `SearchOptions`.

        Raises:
            PassageNotFoundError: The collection has no such passage.
            PgRetrievalError: The errors of `search`.
        """
        mode = validate.choice("mode", mode, MODES)
        request = read_options(self._row.scoring, k, options)
        if request.cross_encoder is not None:
            msg = (
                "a cross-encoder reads query and passage together and has no token matches to explain; leave out rerank=, or "
                'scorer="cross_encoder"'
            )
            raise ConfigError(msg)
        if query is not None or vectors is None:
            query = validate.query(query)
        key = validate.identifier("id", id)
        check_where(self._database, options.get("where"))
        pipeline = self._pipeline  # first, since it imports torch with its own message
        from pgretrieval.search.why import explain_match

        hits = None
        if mode != "late":
            refuse_of_late(mode, options)
            text = query if mode != "dense" or dense is None else None
            hits = self._by_mode(mode, text, k, options, vectors=vectors, dense=dense).hits

        def work() -> MatchExplanation:
            return explain_match(self._opened, pipeline, key, query, vectors, dense, request, mode, hits)

        return self._database.again(lambda: self._opened.retry(work))

    def _search(self, queries: list[str] | None, vectors: list[Any] | None, k: int, options: SearchOptions) -> list[Explanation]:
        """Return one explanation for each query, with its hits."""
        request = read_options(self._row.scoring, k, options)
        check_where(self._database, options.get("where"))
        if request.cross_encoder is None:
            found = self._database.again(lambda: self._pipeline.search(queries, vectors, request.scan), request.max_lag)
        else:
            texts = texts_for("a cross-encoder", queries, vectors)
            started = self._database.again(lambda: self._pipeline.starting_rankings(texts, vectors, request), request.max_lag)
            found = [self._cross_encoder.search(text, request, each) for text, each in zip(texts, started, strict=True)]
        self._opened.complete(min((each.hits for each in found), key=len, default=range(request.k)), request.k)
        return [_finished(each, request, "late") for each in found]

    def _by_mode(
        self,
        mode: Mode,
        query: Any,
        k: int,
        options: Mapping[str, Any],
        *,
        vectors: Any = None,
        dense: Any = None,
        fusion: Fusion = DEFAULT_FUSION,
    ) -> Explanation:
        """Search by words, by dense vectors, or by all; a cross-encoder may rerank the hits."""
        request = read_options(self._row.scoring, k, options)
        check_where(self._database, options.get("where"))
        if mode != "dense" or request.cross_encoder is not None:
            query = validate.query(query)
        depth, restricted = request.scan.k, request.scan.restriction

        def work() -> Explanation:
            if mode == "words":
                return text_search(self._database, self._row, query, depth, restricted)
            if mode == "dense":
                return self._opened.retry(lambda: dense_search(self._opened, query, dense, depth, restricted))
            return self._pipeline.hybrid_search(query, vectors, dense, fusion, request.scan)

        found = self._database.again(work, request.max_lag)
        self._opened.complete(found.hits, depth)
        return _finished(self._cross_encoder.search(query, request, found), request, mode)

    def text_search(
        self,
        query: str,
        k: int = 10,
        *,
        where: Mapping[str, Any] | str | None = None,
        among: Ids | None = None,
        min_score: float | None = None,
        matches: bool = False,
        max_lag: float | None = None,
    ) -> list[Hit]:
        """Return the k best passages for the words of a query, by BM25. Passages with none of the words are left out.

        Args:
            query: The words.
            k: Number of passages to return.
            where: A filter as in `SearchOptions`.
            among: Ids as in `SearchOptions`.
            min_score: Least BM25 score of a hit.
            matches: True adds `Hit.components` and `Hit.note`; a search by words has no token matches.
            max_lag: Most seconds that a standby may be behind; default: that of `connect`.

        Raises:
            InputError: The query is blank.
            ConfigError: An argument is invalid, or the collection was created without a language.
        """
        return self._by_mode("words", query, k, _plain(where, among, min_score, matches, max_lag)).hits

    def dense_search(
        self,
        query: str | None = None,
        k: int = 10,
        *,
        dense: Any = None,
        where: Mapping[str, Any] | str | None = None,
        among: Ids | None = None,
        min_score: float | None = None,
        matches: bool = False,
        max_lag: float | None = None,
    ) -> list[Hit]:
        """Return the k best passages by their dense vectors alone.

        The score is the cosine, or what the index of the application's column compares: inner product or negative distance.

        Args:
            query: The query text, if the encoder computed the passages' dense vectors.
            k: Number of passages to return.
            dense: Dense vector of the query (dense dim,), instead of the text.
            where: A filter as in `SearchOptions`.
            among: Ids as in `SearchOptions`.
            min_score: Least score of a hit.
            matches: True adds `Hit.components` and `Hit.note`; a search by dense vectors has no token matches.
            max_lag: Most seconds that a standby may be behind; default: that of `connect`.

        Raises:
            InputError: The query is blank.
            VectorError: The vector is invalid.
            ConfigError: Another argument is invalid, or the collection has no dense vectors.
            EncoderError: The encoder cannot be loaded.
        """
        return self._by_mode("dense", query, k, _plain(where, among, min_score, matches, max_lag), dense=dense).hits

    def hybrid_search(
        self,
        query: str,
        k: int = 10,
        *,
        vectors: Any = None,
        dense: Any = None,
        where: Mapping[str, Any] | str | None = None,
        among: Ids | None = None,
        fusion: str = DEFAULT_FUSION.by,
        weights: tuple[float, float, float] = DEFAULT_FUSION.weights,
        rank_constant: int = DEFAULT_FUSION.rank_constant,
        min_score: float | None = None,
        matches: bool = False,
        max_lag: float | None = None,
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
            fusion: "score" sums scores scaled to mean 0 and variance 1 over the candidates, with "minilm" with more weight for
                those whose best stands out; "rank" sums reciprocal ranks.
            weights: Weights of late interaction, words and dense vectors.
            rank_constant: Constant of reciprocal ranks.
            min_score: Least fused score of a hit. Scores fused by "score" are relative to the candidates of their query.
            matches: True adds which tokens matched, and what late interaction, words and dense vectors add to the score.
            max_lag: Most seconds that a standby may be behind; default: that of `connect`.

        Raises:
            PgRetrievalError: The errors of `search` and `text_search`.
        """
        fusing, plain = read_fusion(fusion, weights, rank_constant), _plain(where, among, min_score, matches, max_lag)
        return self._by_mode("hybrid", query, k, plain, vectors=vectors, dense=dense, fusion=fusing).hits

    def factorize(
        self,
        cross_encoder: str | os.PathLike[str] | object,
        anchor_queries: Sequence[str],
        anchor_items: int = 200,
        selection: Selection | None = None,
        *,
        regularisation: Regularising | None = None,
        split: Split | None = None,
        per_query: int | None = None,
        preset: str | None = None,
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
            selection: Selection of anchor items: "greedy", "random", "kmeans", "top", or "auto" (default): "greedy" or "top",
                whichever finds more for held-out anchor queries. With `per_query`, of passages to score: "search" (default), the
                hits of the collection's own search, or "random".
            regularisation: "auto" (default), the one that is best on held-out anchor queries; or "none", the plain pseudo-inverse.
            split: "auto" (default) learns how many calls of a budget go to anchor items; "all" scores every anchor item.
            per_query: Score only so many passages for each anchor query (AXN), instead of all, and fit the passages' own vectors to
                the scores. There are no anchor items then.
            preset: "anncur" for the values of the paper. Default: the collection's preset.
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
        given = {"selection": selection, "regularisation": regularisation, "split": split}
        if per_query is not None:
            given["selection"] = selection or "search"
        chosen = with_preset(given, preset, self._row.preset if per_query is None else None)
        options = FactorizeOptions(anchor_items, seed=seed, element=element, per_query=per_query, **chosen)
        row = self._opened.refresh()
        return self._cross_encoder.factorize(row, cross_encoder, anchor_queries, options, stage, costs, self._ids_of_hits)

    def _ids_of_hits(self, queries: list[str], k: int) -> list[list[str]]:
        return [[hit.id for hit in hits] for hits in self.search_many(queries, k)]

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


def _plain(where: Any, among: Any, min_score: Any, matches: Any, max_lag: Any) -> dict[str, Any]:
    """Return the options that all searches have."""
    return {
        "where": where,
        "among": among,
        "min_score": min_score,
        "matches": validate.flag("matches", matches),
        "max_lag": max_lag,
    }


def _finished(found: Explanation, request: SearchRequest, mode: Mode) -> Explanation:
    """Leave out hits below the least score, and say why there are no matches where the scores are not of tokens."""
    found.hits = reaching(request.min_score, found.hits)
    if request.matches and request.cross_encoder is not None:
        found.hits = without_matches(found.hits, "cross_encoder")
    elif request.matches and mode in ("words", "dense"):
        found.hits = without_matches(found.hits, mode)
    return found
