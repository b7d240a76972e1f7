"""Cross-encoders: a query and a passage read together give one score. Importing this package loads no model library."""

from __future__ import annotations

from pgretrieval.rerank.scorer import PairScorer, from_spec, load_cross_encoder

__all__ = ["PairScorer", "from_spec", "load_cross_encoder"]
