"""The values that move between the parts of pgretrieval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NewType, TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import LiteralString

CollectionId = NewType("CollectionId", int)
CodebookId = NewType("CodebookId", int)

Levels = Literal["lloyd-max", "quantile"]
"""How the residual codec places its levels."""

Generator = Literal["auto", "proxy", "postings"]
"""What generates candidates: learned proxies, postings of probed centroids, or whichever measured better (docs/design)."""

Scorer = Literal["maxsim", "xtr", "colxtr"]
"""What scores passages: all their tokens, or the tokens that were retrieved (XTR; ColXTR, with other defaults)."""

Reduction = Literal["mean", "sum"]
"""How the scores of a query's tokens become one."""

Rerank = Literal["none", "maxsim"]
"""What scores the best passages again."""

Imputation: TypeAlias = Literal["kth", "warp", "zero"] | float
"""What a passage scores for a query token that retrieved none of its tokens.

"kth": the last score that the query token retrieved (XTR). "warp": the score of the centroid up to which the best hold more than
sqrt(8 * tokens) tokens (WARP). "zero", or a number.
"""

LEVELS: tuple[Levels, ...] = ("lloyd-max", "quantile")
GENERATORS: tuple[Generator, ...] = ("auto", "proxy", "postings")
SCORERS: tuple[Scorer, ...] = ("maxsim", "xtr", "colxtr")
REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum")
RERANKS: tuple[Rerank, ...] = ("none", "maxsim")

OnConflict = Literal["error", "update", "skip"]
"""What an add does with an id that the collection holds."""

Tick: TypeAlias = Callable[[int, int], None]
"""Told the finished steps of a training, and the steps in all."""

Float32Array: TypeAlias = NDArray[np.float32]
Int32Array: TypeAlias = NDArray[np.int32]
Int64Array: TypeAlias = NDArray[np.int64]
ByteArray: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Scoring:
    """What a collection was made with: its scorer, what that reranks by, and whether vectors are scaled to length one."""

    scorer: Scorer = "maxsim"
    rerank: Rerank | None = None
    unit_vectors: bool = True

    @property
    def by_tokens(self) -> bool:
        """Whether retrieved tokens alone give the scores, so that postings hold the tokens' codes."""
        return self.scorer != "maxsim"

    @property
    def codes_by_passage(self) -> bool:
        """Whether codes are stored passage by passage."""
        return not self.by_tokens or self.rerank == "maxsim"

    @property
    def postings(self) -> str:
        """The table that candidates are looked up in."""
        return "posting_code" if self.by_tokens else "posting"


@dataclass(frozen=True, slots=True)
class Passage:
    """One text that a search can return.

    Attributes:
        id: The caller's id, unique in the collection.
        text: The text.
        title: Encoded before the text, with a space between.
        metadata: Any JSON object, for filters.
    """

    id: str
    text: str
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def encoded_text(self) -> str:
        """What an encoder sees: the title, a space, and the text."""
        return f"{self.title} {self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class Restriction:
    """What a search is restricted to: a jsonpath predicate over metadata, and the SQL of an array of ids with its parameters."""

    filter: str | None = None
    ids: LiteralString = "null::text[]"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, Any]:
        """What a statement with the predicate and the ids takes."""
        return {"filter": self.filter, **self.parameters}


@dataclass(frozen=True, slots=True)
class Fusion:
    """How a hybrid search joins its rankings: `by` "score" or "rank"; weights of late interaction, words and dense vectors."""

    by: str
    weights: tuple[float, float, float]
    rank_constant: int


@dataclass(frozen=True, slots=True)
class HybridQuery:
    """What a hybrid search asks beside the token vectors: words, and a dense vector (dense dim,); None takes no part."""

    text: str | None
    dense: Float32Array | None
    fusion: Fusion


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search returns.

    Attributes:
        rank: 1 for the best.
        id: The passage's id.
        score: By the scorer or cross-encoder that ranked last. Scores of different queries cannot be compared.
        title: The passage's title.
        text: The passage's text.
        metadata: The passage's metadata.
    """

    rank: int
    id: str
    score: float
    title: str | None
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Violation:
    """A violation that `check` found. At most 20 of each rule are reported.

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
        truncated: Texts that were cut at the model's length.
        updated: How many of the passages replaced another.
        skipped: Passages that were left as they are.
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
        postponed: Keys that failed and are tried again.
        parked: Keys that failed and wait for their next change.
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
    """Token vectors of several passages, one below the other.

    `vectors` is (tokens, dim), rows of passage i are `offsets[i]:offsets[i + 1]`; `offsets` has one entry more than passages.
    """

    vectors: Float32Array
    offsets: Int64Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64Array:
        """Tokens per passage."""
        return np.diff(self.offsets)

    def some(self, positions: Sequence[int]) -> TokenMatrix:
        """The passages at some positions."""
        rows = [self.vectors[self.offsets[position] : self.offsets[position + 1]] for position in positions]
        lengths = np.array([0, *map(len, rows)], dtype=np.int64)
        return TokenMatrix(np.concatenate([self.vectors[:0], *rows]), np.cumsum(lengths))
