"""Cross-encoders, which score pairs of query and passage. Importing this package loads no model library."""

from __future__ import annotations

from pgretrieval.rerank.scorer import PairScorer, from_spec, load_cross_encoder

__all__ = ["PairScorer", "from_spec", "load_cross_encoder"]
