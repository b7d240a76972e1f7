"""What each stage of a search did and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pgretrieval.types import Hit


@dataclass(slots=True)
class Explanation:
    """A search, stage by stage.

    Attributes:
        milliseconds: Wall time of each stage at the client.
        probes: Distinct centroids looked up.
        postings_read: Passages listed under them; with retrieved tokens, tokens.
        candidates: Passages that the generator gave, or that have a retrieved token.
        passages_decoded: Passages scored exactly.
        tokens_decoded: Tokens decoded.
        tokens_retrieved: Retrieved tokens, over all query tokens (XTR).
        bytes_moved: Bytes of codes that left the server.
        round_trips: Times that the client waited for the server.
        cross_encoder_calls: Pairs that a cross-encoder scored.
        hits: The hits.
    """

    milliseconds: dict[str, float] = field(default_factory=dict)
    probes: int = 0
    postings_read: int = 0
    candidates: int = 0
    passages_decoded: int = 0
    tokens_decoded: int = 0
    tokens_retrieved: int = 0
    bytes_moved: int = 0
    round_trips: int = 0
    cross_encoder_calls: int = 0
    hits: list[Hit] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; one that runs twice adds up."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = (time.perf_counter() - started) * 1e3
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + spent

    def followed_by(self, later: Explanation) -> Explanation:
        """Both together: times and counts are sums, the hits are those of the later one."""
        counts = {name: getattr(self, name) + getattr(later, name) for name in _COUNTS}
        milliseconds = dict(self.milliseconds)
        for name, spent in later.milliseconds.items():
            milliseconds[name] = milliseconds.get(name, 0.0) + spent
        return Explanation(milliseconds=milliseconds, hits=later.hits, **counts)

    @property
    def search_milliseconds(self) -> float:
        """All stages but encoding."""
        return sum(spent for name, spent in self.milliseconds.items() if name != "encode")

    def as_dict(self) -> dict[str, Any]:
        """Without the hits, for JSON."""
        summary = asdict(self)
        del summary["hits"]
        return summary


_COUNTS = tuple(field.name for field in fields(Explanation) if field.name not in ("milliseconds", "hits"))
