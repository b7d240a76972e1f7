"""Work and time of each stage of a search."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pgretrieval.types import Hit


@dataclass(slots=True)
class Explanation:
    """Report of a search, stage by stage.

    Attributes:
        milliseconds: Wall time of each stage at the client.
        probes: Distinct centroids probed.
        postings_read: Postings of these centroids: passages, or tokens with XTR.
        candidates: Passages from the generator, or with a retrieved token.
        passages_decoded: Passages scored by all their tokens.
        tokens_decoded: Tokens decoded.
        tokens_retrieved: Retrieved tokens, over all query tokens (XTR).
        bytes_moved: Bytes of codes and vectors read from the server.
        round_trips: Round trips to the server.
        cross_encoder_calls: Pairs scored by a cross-encoder.
        hits: Results of the search.
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
        """Time a stage; repeated stages add up."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = (time.perf_counter() - started) * 1e3
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + spent

    def followed_by(self, later: Explanation) -> Explanation:
        """Return the sum of both reports with the hits of `later`."""
        counts = {name: getattr(self, name) + getattr(later, name) for name in _COUNTS}
        milliseconds = dict(self.milliseconds)
        for name, spent in later.milliseconds.items():
            milliseconds[name] = milliseconds.get(name, 0.0) + spent
        return Explanation(milliseconds=milliseconds, hits=later.hits, **counts)

    @property
    def search_milliseconds(self) -> float:
        """Time of all stages except encoding."""
        return sum(spent for name, spent in self.milliseconds.items() if name != "encode")

    def as_dict(self) -> dict[str, Any]:
        """Return the report without hits, for JSON."""
        summary = asdict(self)
        del summary["hits"]
        return summary


_COUNTS = tuple(field.name for field in fields(Explanation) if field.name not in ("milliseconds", "hits"))
