"""Options of a search: declared once for Python and the command line, and checked in one place."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypedDict, cast

import numpy as np

from pgretrieval import validate
from pgretrieval.db.selection import Ids
from pgretrieval.errors import ConfigError, EncoderError, InputError
from pgretrieval.search.filters import restriction
from pgretrieval.types import (
    REDUCTIONS,
    RERANKS,
    SEARCH_GENERATORS,
    Float32Array,
    Hit,
    HybridQuery,
    Imputation,
    Reduction,
    Rerank,
    Restriction,
    Scoring,
    SearchGenerator,
)

if TYPE_CHECKING:
    from pgretrieval.search.watched import Watched

DEFAULT_BUDGET = 500
"""Default call budget of a search by a cross-encoder."""

DEFAULT_ROUNDS = 5
"""Default rounds of a search by a cross-encoder that starts with another search."""

DEFAULT_RERANK_DEPTH = 100
"""Default number of hits that a cross-encoder reranks."""

DEFAULT_K_TOKENS = 300
MAX_IMPUTATION = 1e9
MAX_SCORE = 3.4e38  # of single precision
SEARCH_SCORERS = ("maxsim", "xtr", "colxtr", "cross_encoder")
_OLD_CANDIDATES = re.compile(rf"({'|'.join(SEARCH_GENERATORS)})(?::([0-9]{{1,10}}))?")


class SearchOptions(TypedDict, total=False):
    """Options of `Collection.search`, `search_many` and `explain`, and of `pgretrieval search`. The default of each is None."""

    where: Mapping[str, Any] | str | None
    """Restrict by metadata: a mapping such as `{"year": {"$gte": 1990}, "lang": "en"}`, or a jsonpath predicate."""

    among: Ids | None
    """Restrict to these ids: a list, or a SQLAlchemy select of one column."""

    max_lag: float | None
    """Most seconds that a standby may be behind, where the handle reads from standbys. Default: that of `connect`."""

    probes: int | None
    """Centroids that each query token probes. Default: by k and the size of the collection."""

    candidates: int | None
    """Number of candidates from the generator. Default: by k and the size of the collection."""

    centroid_threshold: float | None
    """Score with a query token below which centroids are left out of the first centroid interaction (PLAID's t_cs).

    Only for generator "centroid_pruning". Default: by k, as in the paper.
    """

    generator: Literal["auto", "proxy", "postings", "lower_bound", "centroid_pruning", "text"] | None
    """Candidate generator: "postings" of the probed centroids, learned "proxy" vectors, or "auto", the collection's default.

    "lower_bound" is ColBERTv2's: MaxSim of the decoded vectors of probed centroids. "centroid_pruning" is PLAID's: centroid
    interaction, without centroids below `centroid_threshold`, of all passages that probed centroids list.
    Restricted searches use postings instead of all but "text". "text" takes the best `candidates` by the search by words, 1,000 by
    default, and scores all of them exactly; with a cross-encoder, that scores them. For scorer "cross_encoder" the default is the
    factorisation.
    """

    pruning: int | None
    """Number of candidates that remain for decoding after centroid interaction (PLAID). Not for XTR."""

    k_tokens: int | None
    """Tokens that each query token retrieves (XTR). Default: 300."""

    imputation: Imputation | None
    """Score of a passage for a query token that retrieved none of its tokens: "kth" (default), "warp", "zero" or a number (XTR)."""

    reduction: Reduction | None
    """Reduction of the query tokens' scores: "sum" (default of "maxsim" and "colxtr") or "mean" (default of "xtr").

    The mean of unit vectors is between -1 and 1. Not for cross-encoders.
    """

    min_score: float | None
    """Least score of a hit: hits below it are left out, without a search for others. Scores have no common scale
    (docs/guides/scores.md).
    """

    scorer: Literal["maxsim", "xtr", "colxtr", "cross_encoder"] | None
    """Scorer of passages. Default: the collection's scorer.

    "cross_encoder" is the one of the factorisation. Collections created with "xtr" or "colxtr" accept both.
    """

    rerank: str | os.PathLike[str] | object | None
    """Scorer of the best passages after the search: a cross-encoder (name, folder or object); or, for collections with scorer
    "xtr" or "colxtr", "maxsim" or "none". Default: the collection's setting.
    """

    rerank_depth: int | None
    """Number of passages to rerank. Default: 100 for a cross-encoder; for "maxsim" 128, or 5 k if that is more."""

    budget: int | None
    """Call budget for scorer "cross_encoder". Default: 500, or k if that is more."""

    rounds: int | None
    """Rounds that divide the budget; each uses all scores of earlier rounds. Default: two steps, anchors and then the best by
    estimate; 5 rounds if `generator` starts with another search.
    """

    matches: bool | None
    """True adds to each hit which tokens matched, and the parts of the score (`Hit.matches`, `Hit.components`)."""


@dataclass(frozen=True, slots=True)
class QueryVectors:
    """Query vectors, (query tokens, dim) each, and the encoder generation that produced them; None for given vectors.

    `texts` are those of the queries if the search reads their words, `encoded` those that the encoder read.
    """

    vectors: Sequence[Float32Array]
    encoding: int | None
    texts: Sequence[str] | None = None
    encoded: Sequence[str] | None = None

    def __getitem__(self, some: slice) -> QueryVectors:
        return QueryVectors(self.vectors[some], self.encoding, self.texts and self.texts[some], self.encoded and self.encoded[some])


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """Options of the scanners. None leaves the value to the scanner, which has the collection's statistics."""

    probes: int | None = None
    candidates: int | None = None
    generator: SearchGenerator | None = None
    pruning: int | None = None
    centroid_threshold: float | None = None
    k_tokens: int | None = None
    imputation: Imputation | None = None
    reduction: Reduction | None = None
    rerank: Rerank = "none"
    rerank_depth: int | None = None
    scorer: str = "maxsim"

    @property
    def reduced(self) -> Reduction:
        """The reduction; by default the mean for "xtr", as in XTR's paper, and the sum for others."""
        return self.reduction or ("mean" if self.scorer == "xtr" else "sum")

    def divisor(self, query: Float32Array) -> int:
        """Return what divides the sum over the tokens of (query tokens, dim)."""
        return len(query) if self.reduced == "mean" else 1

    def completed(self, preset: Mapping[str, Any]) -> ScanOptions:
        """Return the options with those of a preset where they are None, unless another generator is asked for."""
        if self.generator not in (None, preset.get("generator")):
            return self
        return replace(self, **{name: value for name, value in preset.items() if getattr(self, name) is None})


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """Request to a scanner: `k` passages that match the restriction, and words and dense vectors of a hybrid search.

    With `matches`, also which tokens matched. A passage that is `watched` is followed through the stages.
    """

    k: int
    options: ScanOptions
    restriction: Restriction | None = None
    hybrid: HybridQuery | None = None
    matches: bool = False
    watched: Watched | None = None


@dataclass(frozen=True, slots=True)
class CrossEncoderOptions:
    """Use of a cross-encoder in a search.

    With a `model` it reranks the starting ranking. Without, the factorisation's cross-encoder scores `budget` passages in `rounds`;
    None means two steps.
    """

    model: object | None
    budget: int
    rounds: int | None


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """Checked request of `k` hits.

    `scan` is the collection's own search, for 0 hits if there is none; `by_words` replaces it by the search by words. Its hits are
    the starting ranking of a cross-encoder.
    """

    k: int
    scan: ScanRequest
    by_words: bool = False
    cross_encoder: CrossEncoderOptions | None = None
    min_score: float | None = None
    matches: bool = False
    max_lag: float | None = None


_OF_ALL = {"where", "among", "max_lag", "min_score", "matches", "rerank", "rerank_depth"}
_OF_LATE = {"vectors", *SearchOptions.__annotations__} - _OF_ALL


def read_k(k: Any) -> int:
    """Check the number of hits. Raises ConfigError."""
    return validate.whole("k", k)


def read_min_score(min_score: Any) -> float | None:
    """Check the least score of a hit. Raises ConfigError."""
    return None if min_score is None else validate.number("min_score", min_score, -MAX_SCORE, MAX_SCORE)


def read_max_lag(max_lag: Any) -> float | None:
    """Check the most seconds that a standby may be behind. Raises ConfigError."""
    return None if max_lag is None else validate.number("max_lag", max_lag, 0)


def read_reduction(reduction: Any) -> Reduction | None:
    """Check the reduction of the query tokens' scores. Raises ConfigError."""
    return None if reduction is None else validate.choice("reduction", reduction, REDUCTIONS)


def reaching(min_score: float | None, hits: list[Hit]) -> list[Hit]:
    """Return the hits with at least this score, compared in single precision, as in SQL: a score that was shown is reached."""
    if min_score is None:
        return hits
    least = np.float32(min_score)
    return [hit for hit in hits if np.float32(hit.score) >= least]


def read_options(scoring: Scoring, k: Any, options: Mapping[str, Any]) -> SearchRequest:
    """Check the options of a search of a collection with this scoring. Raises ConfigError, naming the value."""
    validate.option_names("a search", options, SearchOptions)
    k = read_k(k)
    scorer = _read_scorer(scoring, options.get("scorer"))
    generator = _read_generator(options.get("generator"))
    own_rerank, model = _read_rerank(options.get("rerank"))
    cross_encoder, depth = _read_cross_encoder(k, options, scorer, model, has_generator=generator is not None)
    by_words = generator == "text" and cross_encoder is not None
    if by_words:
        generator = None
        if options.get("candidates") is not None:
            _refuse_candidates(options["candidates"], "the search by words returns as many as are scored; leave it out")
    reduction = read_reduction(options.get("reduction"))
    if reduction is not None and cross_encoder is not None:
        msg = f'reduction is "{reduction}", but a cross-encoder gives the scores; leave it out'
        raise ConfigError(msg)
    scan = _read_scan(scoring, scorer, depth or k, options, generator, own_rerank, reduction, reranks_by_model=model is not None)
    restricted = restriction(options.get("where"), options.get("among"))
    min_score = read_min_score(options.get("min_score"))
    matches = False if (given := options.get("matches")) is None else validate.flag("matches", given)
    scanned = ScanRequest(depth, scan, restricted, matches=matches and cross_encoder is None)
    max_lag = read_max_lag(options.get("max_lag"))
    return SearchRequest(k, scanned, by_words, cross_encoder, min_score, matches, max_lag)


def concerns_late(options: Mapping[str, Any]) -> bool:
    """Return whether an option is given that only late interaction has."""
    return any(value is not None and name in _OF_LATE for name, value in options.items())


def refuse_of_late(mode: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError for an option of late interaction in a search of another mode."""
    for name, value in options.items():
        if value is not None and name in _OF_LATE:
            msg = f'{name} is {validate.shown(value)}, which mode "{mode}" does not use; leave it out, or give mode="late"'
            raise ConfigError(msg)


def as_list(given: Any) -> list[Any] | None:
    """Return a list of one query, or None."""
    return None if given is None else [given]


def as_lists(texts: Any, vectors: Any) -> tuple[list[Any] | None, list[Any] | None]:
    """Return queries as lists of texts or vectors; generators, arrays and Series are accepted. Raises ConfigError."""
    if isinstance(texts, str):
        msg = f"search_many takes a list of queries, not one text ({texts[:40]!r}); use search for one"
        raise ConfigError(msg)
    listed = None if texts is None else list(validate.listed("queries", texts, "texts"))
    arrays = None if vectors is None else list(validate.listed("vectors", vectors, "(tokens, dim) arrays, one a query"))
    return listed, arrays


def texts_for(reader: str, texts: Sequence[Any] | None, vectors: Sequence[Any] | None) -> list[str]:
    """Return the query texts for what reads them. Raises InputError without texts, ConfigError if the number of vectors differs."""
    remedy = f"a text that is not blank, since {reader} reads texts"
    checked = [validate.text("the query", text, InputError, remedy=remedy) for text in ([None] if texts is None else texts)]
    if vectors is not None and len(vectors) != len(checked):
        msg = f"there are {len(checked)} query texts and {len(vectors)} arrays of vectors; give one array for each text"
        raise ConfigError(msg)
    return checked


def old_candidates(given: Any) -> tuple[str, int | None] | None:
    """Return generator and number from an old spelling of `candidates` ("proxy", "proxy:512"); None for other values."""
    match = _OLD_CANDIDATES.fullmatch(given) if isinstance(given, str) else None
    return (match[1], int(match[2]) if match[2] else None) if match else None


def _read_scorer(scoring: Scoring, given: Any) -> str:
    if given is None:
        return scoring.scorer
    scorer = validate.choice("scorer", given, SEARCH_SCORERS)
    if scorer != "cross_encoder" and (scorer != "maxsim") != scoring.by_tokens:
        msg = (
            f'scorer is "{scorer}", but the collection was created for "{scoring.scorer}"; leave scorer out, or create a '
            f'collection with scorer="{scorer}"'
        )
        raise ConfigError(msg)
    return scorer


def _read_generator(given: Any) -> SearchGenerator | None:
    return None if given is None else validate.choice("generator", given, SEARCH_GENERATORS)


def _read_rerank(given: Any) -> tuple[Rerank | None, object | None]:
    """Return the collection's own reranking, or a cross-encoder."""
    if given is None:
        return None, None
    if isinstance(given, str) and given in RERANKS:
        return given, None
    return None, validate.names_or_object("rerank", given, EncoderError)


def _read_cross_encoder(
    k: int, options: Mapping[str, Any], scorer: str, model: object | None, *, has_generator: bool
) -> tuple[CrossEncoderOptions | None, int]:
    """Return the cross-encoder's options, if it is used, and the number of hits that the collection's own search must return."""
    budget = validate.whole_or_none("budget", options.get("budget"))
    rounds = validate.whole_or_none("rounds", options.get("rounds"))
    depth = validate.whole_or_none("rerank_depth", options.get("rerank_depth"))
    if scorer != "cross_encoder":
        if budget is not None or rounds is not None:
            msg = 'budget and rounds need scorer="cross_encoder"; give that, too'
            raise ConfigError(msg)
        if model is None:
            return None, k
        depth = DEFAULT_RERANK_DEPTH if depth is None else depth
        _at_least(k, "rerank_depth", depth)
        return CrossEncoderOptions(model, 0, None), depth
    if model is not None:
        msg = 'scorer="cross_encoder" already scores its hits exactly; leave rerank= out'
        raise ConfigError(msg)
    budget = max(DEFAULT_BUDGET, k) if budget is None else budget
    _at_least(k, "budget", budget)
    if not has_generator:
        if options.get("candidates") is not None:
            _refuse_candidates(
                options["candidates"],
                'the factorisation has none; leave it out, or give generator="postings"',
            )
        rounds = None if rounds is None else validate.whole("rounds", rounds, 2)
        return CrossEncoderOptions(None, budget, None if rounds is None else min(rounds, budget)), 0
    rounds = min(DEFAULT_ROUNDS if rounds is None else rounds, budget)
    return CrossEncoderOptions(None, budget, rounds), -(-budget // rounds)


def _read_scan(
    scoring: Scoring,
    scorer: str,
    depth: int,
    options: Mapping[str, Any],
    generator: SearchGenerator | None,
    rerank: Rerank | None,
    reduction: Reduction | None,
    *,
    reranks_by_model: bool,
) -> ScanOptions:
    """Return the options of the scanner; `depth` is the number of its hits."""
    candidates = _read_candidates(options.get("candidates"))
    probes = validate.whole_or_none("probes", options.get("probes"))
    pruning = validate.whole_or_none("pruning", options.get("pruning"))
    threshold = _read_threshold(options.get("centroid_threshold"), generator)
    rerank_depth = None if reranks_by_model else options.get("rerank_depth")  # checked by _read_cross_encoder
    if not scoring.by_tokens:
        if generator == "text":
            _refuse_unused(probes=probes, pruning=pruning)
        _refuse_token_options(options, rerank)
        if rerank_depth is not None:
            _refuse_depth(rerank_depth)
        for name, given in (("candidates", candidates), ("pruning", pruning)):
            if given is not None:
                _at_least(depth, name, given)
        return ScanOptions(probes, candidates, generator, pruning, threshold, reduction=reduction)
    if candidates is not None:
        _refuse_candidates(
            candidates,
            "the candidates of this collection are the passages of the retrieved tokens; leave it out, and set probes and k_tokens",
        )
    if generator not in (None, "auto", "postings"):
        msg = f'generator is "{generator}", but this collection retrieves tokens; leave it out'
        raise ConfigError(msg)
    if threshold is not None:
        msg = f"centroid_threshold is {threshold}, but this collection retrieves tokens; leave it out"
        raise ConfigError(msg)
    if pruning is not None:
        msg = f"pruning is {pruning}, but this collection does not prune candidates; give rerank_depth to limit reranking"
        raise ConfigError(msg)
    rerank = rerank or scoring.rerank or "none"
    if rerank == "maxsim" and scoring.rerank is None:
        msg = (
            'rerank is "maxsim", but the collection stores no codes by passage; leave rerank out, or create a collection with '
            'rerank="maxsim"'
        )
        raise ConfigError(msg)
    if rerank_depth is not None:
        if rerank == "none":
            _refuse_depth(rerank_depth)
        _at_least(depth, "rerank_depth", rerank_depth)
    return ScanOptions(
        probes=probes,
        k_tokens=validate.whole_or_none("k_tokens", options.get("k_tokens")),
        imputation=_read_imputation(options.get("imputation")),
        reduction=reduction,
        rerank=rerank,
        rerank_depth=rerank_depth,
        scorer=scorer if scorer != "cross_encoder" else scoring.scorer,
    )


def _read_candidates(given: Any) -> int | None:
    if (old := old_candidates(given)) is not None:
        new = f'generator="{old[0]}"' + ("" if old[1] is None else f", candidates={old[1]}")
        msg = f"candidates is {validate.shown(given)}; give a number, and the generator by its own option: {new}"
        raise ConfigError(msg)
    return validate.whole_or_none("candidates", given)


def _refuse_token_options(options: Mapping[str, Any], rerank: Rerank | None) -> None:
    given = {"rerank": rerank, **{name: options.get(name) for name in ("k_tokens", "imputation")}}
    for name, value in given.items():
        if value is not None:
            msg = (
                f"{name} is {validate.shown(value)}, but the collection is scored by all tokens of a passage; leave it out, or "
                'create a collection with scorer="xtr" or "colxtr"'
            )
            raise ConfigError(msg)


def _read_threshold(given: Any, generator: str | None) -> float | None:
    if given is None:
        return None
    if generator not in (None, "centroid_pruning"):
        msg = f'centroid_threshold is {validate.shown(given)}, but generator is "{generator}"; leave one of them out'
        raise ConfigError(msg)
    return validate.number("centroid_threshold", given, -1, 1)


def _read_imputation(given: Any) -> Imputation | None:
    if given is None:
        return None
    if validate.is_number(given) and abs(given) <= MAX_IMPUTATION:
        return float(given)
    if not isinstance(given, str) or given not in ("kth", "warp", "zero"):
        msg = f'imputation is {validate.shown(given)}; give "kth", "warp", "zero", or a finite number'
        raise ConfigError(msg)
    return cast("Imputation", given)


def _refuse_candidates(given: Any, why: str) -> NoReturn:
    msg = f"candidates is {validate.shown(given)}, and {why}"
    raise ConfigError(msg)


def _refuse_unused(**given: int | None) -> None:
    for name, value in given.items():
        if value is not None:
            msg = f'{name} is {value}, which generator "text" does not use; leave it out, and set candidates'
            raise ConfigError(msg)


def _refuse_depth(given: int) -> NoReturn:
    msg = f"rerank_depth is {given}, but nothing is reranked; give rerank=, or leave rerank_depth out"
    raise ConfigError(msg)


def _at_least(k: int, name: str, given: int) -> None:
    if given < k:
        msg = f"{name} is {given}, less than k, {k}; give at least k"
        raise ConfigError(msg)
