"""Value types shared by the parts of pgretrieval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, NewType, TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import LiteralString

CollectionId = NewType("CollectionId", int)
CodebookId = NewType("CodebookId", int)

Levels = Literal["lloyd-max", "quantile"]
"""Placement of the residual codec's levels."""

Generator = Literal["auto", "proxy", "postings"]
"""Candidate generator: learned proxies, postings of probed centroids, or automatic choice (docs/design)."""

SearchGenerator = Literal["auto", "proxy", "postings", "lower_bound", "centroid_pruning", "text"]
"""Candidate generator of a search: one of a collection, or a paper's: ColBERTv2's lower bound, PLAID's centroid pruning."""

Scorer = Literal["maxsim", "xtr", "colxtr"]
"""Scorer of passages: by all their tokens, or by retrieved tokens (XTR; ColXTR has other defaults)."""

Reduction = Literal["mean", "sum"]
"""Reduction of the scores of a query's tokens to one score."""

Mode = Literal["hybrid", "late", "words", "dense"]
"""Search of a collection: by late interaction, words, dense vectors, or all that it has."""

Rerank = Literal["none", "maxsim"]
"""Scorer of the best passages after retrieval."""

Imputation: TypeAlias = Literal["kth", "warp", "zero"] | float
"""Score of a passage for a query token that retrieved none of its tokens.

"kth": the lowest score that the query token retrieved (XTR). "warp": the score of the centroid at which the best centroids contain
more than sqrt(8 * tokens) tokens (WARP). "zero", or a number.
"""

LEVELS: tuple[Levels, ...] = ("lloyd-max", "quantile")
GENERATORS: tuple[Generator, ...] = ("auto", "proxy", "postings")
SEARCH_GENERATORS: tuple[SearchGenerator, ...] = (*GENERATORS, "lower_bound", "centroid_pruning", "text")
SCORERS: tuple[Scorer, ...] = ("maxsim", "xtr", "colxtr")
REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum")
MODES: tuple[Mode, ...] = ("hybrid", "late", "words", "dense")
RERANKS: tuple[Rerank, ...] = ("none", "maxsim")

OnConflict = Literal["error", "update", "skip"]
"""Action of an add for an id that exists."""

Element = Literal["vector", "halfvec"]
"""Element type of indexed item embeddings: single or half precision."""

Tick: TypeAlias = Callable[[int, int], None]
"""Callback with the finished steps of a training and the total."""

Float32Array: TypeAlias = NDArray[np.float32]
Int16Array: TypeAlias = NDArray[np.int16]
Int32Array: TypeAlias = NDArray[np.int32]
Int64Array: TypeAlias = NDArray[np.int64]
ByteArray: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Scoring:
    """Scoring of a collection, fixed at creation: its scorer, the scorer that reranks, and unit vectors or not."""

    scorer: Scorer = "maxsim"
    rerank: Rerank | None = None
    unit_vectors: bool = True

    @property
    def by_tokens(self) -> bool:
        """True if only retrieved tokens give the scores; postings then contain the tokens' codes."""
        return self.scorer != "maxsim"

    @property
    def codes_by_passage(self) -> bool:
        """True if codes are stored by passage."""
        return not self.by_tokens or self.rerank == "maxsim"

    @property
    def postings(self) -> str:
        """Table of the postings."""
        return "posting_code" if self.by_tokens else "posting"


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """Settings of a collection, from its creation.

    Attributes:
        bits: Bits of a residual for each dimension.
        generator: Candidate generator: "proxy", "postings" or "auto".
        scorer: Default scorer: "maxsim" scores all tokens of a passage, "xtr" and "colxtr" the retrieved ones.
        rerank: Scorer of the best passages of "xtr" or "colxtr": "maxsim", or None.
        unit_vectors: True if token vectors are scaled to unit length.
        keep_vectors: True if token vectors are stored in addition to their codes.
        vectors_per_passage: Number of vectors of every passage; None if it differs. A rebuild with another encoder changes it.
        token_pooling: Factor by which the encoder pools the token vectors of a passage; 1 for none. A rebuild can change it.
        language: Text search configuration for searches by words, or None.
        dense: Location of dense vectors: "kept" or "auto" in the collection, the application's "schema.table.column", or None.
        texts_alone: True if the passages have no token vectors. A rebuild with an encoder changes it.
        preset: Name of the preset that it was created with, or None.
        buckets: Number of buckets that its rows are in.
    """

    bits: int
    generator: Generator
    scorer: Scorer
    rerank: Rerank | None
    unit_vectors: bool
    keep_vectors: bool
    vectors_per_passage: int | None
    token_pooling: int
    language: str | None
    dense: str | None
    texts_alone: bool
    preset: str | None
    buckets: int


def encoded_text(title: str | None, text: str) -> str:
    """Return the text that encoders read: the title, a space and the text."""
    return f"{title} {text}" if title else text


@dataclass(frozen=True, slots=True)
class Passage:
    """Passage, the unit of retrieval.

    Attributes:
        id: The caller's id, unique in the collection.
        text: The text.
        title: Encoded before the text, separated by a space.
        metadata: A JSON object, for filters.
    """

    id: str
    text: str
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def encoded_text(self) -> str:
        """Text for encoders: the title, a space and the text."""
        return encoded_text(self.title, self.text)


@dataclass(frozen=True, slots=True)
class Restriction:
    """Restriction of a search: a jsonpath predicate over metadata, and SQL for an array of ids with its parameters."""

    filter: str | None = None
    ids: LiteralString = "null::text[]"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, Any]:
        """Parameters of a statement for the predicate and the ids."""
        return {"filter": self.filter, **self.parameters}


@dataclass(frozen=True, slots=True)
class Fusion:
    """Fusion of a hybrid search: `by` "score" or "rank", and the weights of late interaction, words and dense vectors."""

    by: str
    weights: tuple[float, float, float]
    rank_constant: int


@dataclass(frozen=True, slots=True)
class HybridQuery:
    """Words and dense vector (dense dim,) of a hybrid search; None leaves one out.

    `power` tells how much more a kind weighs where its best score stands out; 0 is not at all.
    """

    text: str | None
    dense: Float32Array | None
    fusion: Fusion
    power: int


class TokenText(NamedTuple):
    """Token that an encoder reads: its text, and where it is in the encoder's text; None for markers and masks."""

    text: str | None
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class TokenMatch:
    """The passage token that is most similar to a query token, and what it adds to the score.

    Attributes:
        query_token: Text of the query token; None if the encoder does not tell it, or vectors were given.
        query_position: Number of the query token, from 0.
        token: Text of the passage's token; None if the encoder does not tell it.
        position: Number of the passage's vector, from 0; None if there is none (`imputed`), or if codes are not stored in the order
            of the text and the text cannot be encoded again.
        start: Offset of the token's first character in `Passage.encoded_text`: the title, a space and the text.
        end: Offset after its last character. Both are None for markers, and where the encoder does not tell them.
        similarity: Inner product of both vectors, as in the score; or the imputed score.
        share: What the query token adds to the score. The shares of all query tokens sum to it, in a hybrid search to `components`
            "late".
        imputed: True if the query token retrieved no token of the passage (XTR).
    """

    query_token: str | None
    query_position: int
    token: str | None
    position: int | None
    start: int | None
    end: int | None
    similarity: float
    share: float
    imputed: bool


@dataclass(frozen=True, slots=True)
class Hit:
    """Result of a search.

    Attributes:
        rank: 1 for the best.
        id: The passage's id.
        score: Score by the last scorer or cross-encoder. Few scores are comparable between queries (docs/guides/scores.md).
        title: The passage's title.
        text: The passage's text.
        metadata: The passage's metadata.
        matches: With `matches=True`, a match for each query token, in order; none if a cross-encoder or a search by words gave the
            score.
        components: With `matches=True`, the parts of the score, which sum to it: "late", "words", "dense" or "cross_encoder".
        note: Why there are no matches, or None.
    """

    rank: int
    id: str
    score: float
    title: str | None
    text: str
    metadata: dict[str, Any]
    matches: tuple[TokenMatch, ...] | None = None
    components: dict[str, float] | None = None
    note: str | None = None

    @property
    def encoded_text(self) -> str:
        """Text that encoders read, and to which the offsets of `matches` refer: the title, a space and the text."""
        return encoded_text(self.title, self.text)

    def as_dict(self) -> dict[str, Any]:
        """Return the hit for JSON; what concerns matches only if they were asked for."""
        shown = {
            "rank": self.rank,
            "id": self.id,
            "score": self.score,
            "title": self.title,
            "text": self.text,
            "metadata": self.metadata,
        }
        if self.matches is not None:
            shown |= {"matches": [asdict(each) for each in self.matches], "components": self.components, "note": self.note}
        return shown


@dataclass(frozen=True, slots=True)
class Violation:
    """Violation found by `check`. At most 20 of each rule are reported.

    Attributes:
        rule: Name of the rule.
        id: Id of the passage, or the part of the index.
        detail: What is wrong.
        total: Number of violations of the rule.
    """

    rule: str
    id: str | None
    detail: str
    total: int


@dataclass(frozen=True, slots=True)
class AddReport:
    """Result of `add` and `update`.

    Attributes:
        passages: Passages that were stored.
        tokens: Their token vectors.
        truncated: Texts truncated at the model's length.
        updated: Passages that replaced an older version.
        skipped: Passages left unchanged.
    """

    passages: int
    tokens: int
    truncated: int
    updated: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class WorkReport:
    """Result of a worker.

    Attributes:
        written: Passages written.
        deleted: Passages deleted.
        postponed: Keys that failed and are retried.
        parked: Keys that failed and are not retried until their next change.
    """

    written: int = 0
    deleted: int = 0
    postponed: int = 0
    parked: int = 0

    def __add__(self, other: WorkReport) -> WorkReport:
        return WorkReport(
            self.written + other.written,
            self.deleted + other.deleted,
            self.postponed + other.postponed,
            self.parked + other.parked,
        )

    def __str__(self) -> str:
        failed = f", {self.postponed:,} to be tried again, {self.parked:,} parked" if self.postponed or self.parked else ""
        return f"{self.written:,} passages written, {self.deleted:,} deleted{failed}"


@dataclass(frozen=True, slots=True)
class TokenMatrix:
    """Concatenated token vectors of several passages.

    `vectors` is (tokens, dim); rows of passage i are `offsets[i]:offsets[i + 1]`. `offsets` has one entry more than passages.
    """

    vectors: Float32Array
    offsets: Int64Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64Array:
        """Number of tokens of each passage."""
        return np.diff(self.offsets)

    def some(self, positions: Sequence[int]) -> TokenMatrix:
        """Return the passages at the given positions."""
        rows = [self.vectors[self.offsets[position] : self.offsets[position + 1]] for position in positions]
        lengths = np.array([0, *map(len, rows)], dtype=np.int64)
        return TokenMatrix(np.concatenate([self.vectors[:0], *rows]), np.cumsum(lengths))
