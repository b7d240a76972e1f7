"""Encoders: texts to token vectors. Importing this package loads neither torch nor sentence-transformers."""

from __future__ import annotations

from pgretrieval.encode.base import CollectionEncoder, Encoder
from pgretrieval.encode.registry import from_spec, load_encoder

__all__ = ["CollectionEncoder", "Encoder", "from_spec", "load_encoder"]
