"""Result of `Collection.explain_match`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from pgretrieval.encode.images import PatchGrid
from pgretrieval.types import Float32Array, Mode, Passage, TokenMatch, TokenText

SEARCHES: dict[Mode, str] = {
    "late": "search by late interaction",
    "words": "search by words",
    "dense": "search by dense vectors",
    "hybrid": "hybrid search",
}
"""The search of each mode, in words."""


@dataclass(frozen=True, slots=True)
class ComponentRank:
    """Rank of a passage by one kind of score.

    Attributes:
        rank: 1 for the best; None if the passage has no such score.
        exact: False if only so many passages were counted: the rank is `rank` or more.
        score: The passage's score.
    """

    rank: int | None
    exact: bool
    score: float | None

    def __str__(self) -> str:
        if self.rank is None:
            return "none"
        return f"{self.rank:,}" if self.exact else f"at least {self.rank:,}"


@dataclass(frozen=True, slots=True)
class MatchExplanation:
    """How a passage matches a query, and why a search returns it or not.

    Attributes:
        query: The query text, or None if only vectors were given.
        passage: The passage.
        query_tokens: A token for each vector of the query; text None if the encoder does not tell it.
        passage_tokens: A token for each vector of the passage, with offsets in `Passage.encoded_text`.
        similarities: Inner products (query tokens, passage tokens). Where codes are not stored by passage (XTR), those of the text
            encoded again.
        score: Score by late interaction, as in the search; None for a collection of texts only.
        matches: The best passage token of each query token, as in `Hit.matches`.
        mode: The search that was asked for: "late", "words", "dense" or "hybrid".
        rank: Rank among the k hits of that search, or None if it is not one of them.
        ranks: Rank by each kind of score that collection and query have, "late", "words" and "dense", among the passages that the
            filter leaves. "late" counts the hits of a search for 1,000.
        lacks: What keeps the passage from a better rank or from the hits, in sentences.
        note: What else to know, or None.
        patches: Rows and columns of the patches of a page's image, the number of the first one's vector, and the number of vectors;
            None for texts, and where the encoder does not tell them.
    """

    query: str | None
    passage: Passage
    query_tokens: tuple[TokenText, ...]
    passage_tokens: tuple[TokenText, ...]
    similarities: Float32Array
    score: float | None
    matches: tuple[TokenMatch, ...]
    mode: Mode
    rank: int | None
    ranks: dict[str, ComponentRank]
    lacks: tuple[str, ...]
    note: str | None
    patches: PatchGrid | None = None

    @property
    def outcome(self) -> str:
        """Which hit of the search it is, in words."""
        return f"{'not a hit' if self.rank is None else f'hit {self.rank:,}'} of the {SEARCHES[self.mode]}"

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation for JSON."""
        shown = asdict(replace(self, passage=Passage(self.passage.id, self.passage.text, self.passage.title)))
        shown["passage"]["metadata"] = dict(self.passage.metadata)
        for tokens in ("query_tokens", "passage_tokens"):
            shown[tokens] = [token._asdict() for token in getattr(self, tokens)]
        shown["patches"] = None if self.patches is None else self.patches._asdict()
        shown["similarities"] = [[round(value, 6) for value in row] for row in self.similarities.tolist()]
        return shown
