"""Cross-encoders with an [EMB] head: the score is a dot product of marker vectors of the query and the passage.

The matrix of such scores has a low rank, as a factorisation requires. Importing this module imports torch and
sentence-transformers.
"""

from __future__ import annotations

import os
from typing import Any, Literal

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.base.modules.module import Module
from torch import Tensor, nn

from pgretrieval.encode.minilm import model_folder
from pgretrieval.encode.vetting import CLOSED, CLOSED_WEIGHTS, vetted_folder, without_stdin
from pgretrieval.errors import ConfigError

Head = Literal["cls", "emb"]
"""Head: a linear layer on [CLS], or the dot product of marker vectors."""

MARKERS = ("[Q]", "[/Q]", "[P]", "[/P]")
"""Markers around the query and around the passage."""


def _marked(pair: Any) -> tuple[str, str]:
    query, passage = pair
    return f"{MARKERS[0]} {query} {MARKERS[1]}", f"{MARKERS[2]} {passage} {MARKERS[3]}"


class MarkedTransformer(Transformer):  # type: ignore[misc]
    """Transformer that adds markers around each text of a pair. Its tokenizer has them as tokens."""

    def preprocess(self, inputs: list[Any], prompt: str | None = None, **options: Any) -> dict[str, Any]:
        """Return token ids of the marked pairs."""
        features: dict[str, Any] = super().preprocess([_marked(pair) for pair in inputs], prompt=prompt, **options)
        return features


class MarkerScore(Module):  # type: ignore[misc]
    """Dot product of the mean vectors of the query's and of the passage's markers, times `scale`.

    A truncated passage loses its second marker; then only the first counts.
    """

    config_keys = ["scale"]  # noqa: RUF012

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self._query: list[int] = []
        self._passage: list[int] = []

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return scores (batch, 1) from token vectors (batch, tokens, dim)."""
        query, passage = (self._mean(features, ids) for ids in (self._query, self._passage))
        features["scores"] = self.scale * (query * passage).sum(dim=-1, keepdim=True)
        return features

    def on_model_ready(self, model: Any) -> None:
        """Read the token ids of the markers."""
        ids = model.tokenizer.convert_tokens_to_ids(list(MARKERS))
        self._query, self._passage = ids[:2], ids[2:]

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write the configuration."""
        self.save_config(output_path)

    def _mean(self, features: dict[str, Tensor], ids: list[int]) -> Tensor:
        is_marker = torch.isin(features["input_ids"], torch.tensor(ids, device=features["input_ids"].device)).unsqueeze(-1)
        vectors = features["token_embeddings"].float()
        return (vectors * is_marker).sum(dim=1) / is_marker.sum(dim=1).clamp(min=1)


OWN = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in (MarkedTransformer, MarkerScore)}


def load_model(name: str | os.PathLike[str], device: str | None) -> CrossEncoder:
    """Load a saved `CrossEncoder`, which may have an [EMB] head, without running code from the model."""
    folder = vetted_folder(name)
    with without_stdin():
        return CrossEncoder._load_with_module_classes(folder, OWN, device=device, model_kwargs=dict(CLOSED_WEIGHTS), **CLOSED)


def new_cross_encoder(
    base: str | os.PathLike[str], head: Head = "cls", *, max_length: int = 256, scale: float = 1.0, device: str | None = None
) -> CrossEncoder:
    """Return an untrained cross-encoder over "minilm" or the transformer of a folder or name. `scale` is that of `MarkerScore`."""
    folder = vetted_folder(model_folder() if base == "minilm" else base)
    weights = {**CLOSED_WEIGHTS, "dtype": torch.float32}
    if head == "cls":
        options = {"num_labels": 1, "max_length": max_length, "activation_fn": nn.Identity()}
        with without_stdin():
            return CrossEncoder(folder, device=device, model_kwargs=weights, **options, **CLOSED)
    if head != "emb":
        msg = f'head is {head!r}; give "cls" or "emb"'
        raise ConfigError(msg)
    with without_stdin():
        transformer = MarkedTransformer(
            folder, max_seq_length=max_length, model_kwargs=weights, processor_kwargs=dict(CLOSED), config_kwargs=dict(CLOSED)
        )
    transformer.tokenizer.add_special_tokens({"additional_special_tokens": list(MARKERS)})
    transformer.model.resize_token_embeddings(len(transformer.tokenizer))
    transformer.model.config.num_labels = 1
    return CrossEncoder(modules=[transformer, MarkerScore(scale)], device=device, activation_fn=nn.Identity())
