"""Modules of our own for models of sentence-transformers: they are saved, loaded and trained with the model.

Importing this imports torch and the library, so only what loads or builds a model does.
"""

from __future__ import annotations

import os
from typing import Any, Literal

import torch
from sentence_transformers.base.modules import Dense
from sentence_transformers.base.modules.module import Module
from sentence_transformers.multi_vector_encoder.modules.token_pooling import BaseTokenPooling
from torch import Tensor, nn

from pgretrieval.encode.vetting import CLOSED, CLOSED_WEIGHTS, prepared, unattended
from pgretrieval.errors import ConfigError

Shape = Literal["tokens", "full"]
"""What a pooling mixes: token vectors alike in every dimension, or all their numbers."""

_FIRST_WEIGHT = 0.05
_SPREAD = 0.1
_NOISE = 0.02


class ConstPooling(BaseTokenPooling):  # type: ignore[misc]
    """Learned pooling to a constant number of vectors (ConstBERT): [δ1|…|δC] = Wᵀ [d1|…|dM].

    A passage's (M, dim) token vectors, padded to M = `tokens`, become (C, dim) with C = `vectors`. `shape` "tokens" has W as
    (M, C), shared by the dimensions; "full" as (M·dim, C·dim), as the paper writes it. `masked` makes positions without a token,
    or with a skipped one, zero before; otherwise they count as the encoder gave them. `normalize` scales the pooled vectors to unit
    length. Queries stay as they are.
    """

    config_keys = ["tokens", "vectors", "dim", "shape", "bias", "masked", "normalize", "tasks"]  # noqa: RUF012

    def __init__(
        self,
        tokens: int,
        vectors: int,
        dim: int,
        *,
        shape: Shape = "tokens",
        bias: bool = False,
        masked: bool = True,
        normalize: bool = True,
        tasks: str | list[str] | None = None,
    ) -> None:
        super().__init__(tasks=tasks)
        if shape not in ("tokens", "full"):
            msg = f'shape is {shape!r}; give "tokens" or "full"'
            raise ConfigError(msg)
        if not 1 <= vectors <= tokens:
            msg = f"vectors is {vectors}; give 1 to {tokens}, the number of tokens that are pooled"
            raise ConfigError(msg)
        self.tokens, self.vectors, self.dim = tokens, vectors, dim
        self.shape, self.bias, self.masked, self.normalize = shape, bias, masked, normalize
        width = 1 if shape == "tokens" else dim
        self.linear = nn.Linear(tokens * width, vectors * width, bias=bias)
        self._start()

    def forward(self, features: dict[str, Tensor], task: str | None = None) -> dict[str, Tensor]:
        """Replace (batch, tokens, dim) vectors of passages, and their mask, by (batch, `vectors`, dim)."""
        if not self.applies_to(task):
            return features
        mask = features["attention_mask"].bool()
        pooled = self._pooled(features["token_embeddings"], mask)
        features["token_embeddings"] = pooled
        features["attention_mask"] = mask.any(dim=1, keepdim=True).expand(-1, self.vectors)
        return features

    def pool_one(self, embedding: Tensor, **_: Any) -> Tensor:
        """One passage's (tokens, dim) vectors as (`vectors`, dim)."""
        mask = torch.ones(1, len(embedding), dtype=torch.bool, device=embedding.device)
        return self._pooled(embedding[None], mask)[0]

    def on_model_ready(self, model: Any) -> None:
        """Passages are cut where the pooling ends, and counted as cut."""
        length = model[0].document_length
        model[0].document_length = min(length or self.tokens, self.tokens)

    def get_config_dict(self) -> dict[str, Any]:
        """What a saved model says of it."""
        return {key: getattr(self, key) for key in self.config_keys}

    def save(self, output_path: str, *_: Any, safe_serialization: bool = True, **__: Any) -> None:
        """Write configuration and weights."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> ConstPooling:
        """Read what `save` has written."""
        where = {"subfolder": subfolder, **{key: options[key] for key in _HUB_OPTIONS if key in options}}
        module = cls(**cls.load_config(model_name_or_path, **where))
        loaded: ConstPooling = cls.load_torch_weights(model_name_or_path, model=module, **where)
        return loaded

    def _pooled(self, vectors: Tensor, mask: Tensor) -> Tensor:
        if self.masked:
            vectors = vectors * mask.unsqueeze(-1)
        missing = self.tokens - vectors.shape[1]
        padded = nn.functional.pad(vectors, (0, 0, 0, missing))  # a negative number cuts
        if self.shape == "tokens":
            pooled: Tensor = self.linear(padded.transpose(1, 2)).transpose(1, 2)
        else:
            pooled = self.linear(padded.flatten(1)).unflatten(1, (self.vectors, self.dim))
        if not self.normalize:
            return pooled
        precise = torch.promote_types(pooled.dtype, torch.float32)  # squares of half precision overflow
        unit: Tensor = nn.functional.normalize(pooled.to(precise), dim=-1)
        return unit.to(pooled.dtype)

    def _start(self) -> None:
        """Vector c begins as the mean of a window of neighbouring tokens, which are the most alike.

        A tenth of the tokens c, c + C, c + 2C, …, and noise, give a passage that is too short for window c a vector, too. Weights
        begin small: only their ratios count, and an optimizer's steps are of one size.
        """
        place = torch.arange(self.tokens)
        slot = torch.arange(self.vectors)[:, None]
        window, spread = place * self.vectors // self.tokens == slot, place % self.vectors == slot
        weight = _FIRST_WEIGHT * (window + _SPREAD * spread + _NOISE * torch.randn(self.vectors, self.tokens))
        if self.shape == "full":
            weight = torch.kron(weight, torch.eye(self.dim))
        with torch.no_grad():
            self.linear.weight.copy_(weight)
            if self.bias:
                self.linear.bias.zero_()


class LowerCase(Module):  # type: ignore[misc]
    """Makes the model's tokenizer lower-case its texts; a tokenizer of the T5 family forgets that when it is saved."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Nothing changes."""
        return features

    def on_model_ready(self, model: Any) -> None:
        """Lower-case before anything else the tokenizer does with a text."""
        from tokenizers.normalizers import Lowercase, Sequence

        backend = model.tokenizer.backend_tokenizer
        there = backend.normalizer
        backend.normalizer = Lowercase() if there is None else Sequence([Lowercase(), there])

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write the configuration, which is empty."""
        self.save_config(output_path)


class EndTokenMean(Module):  # type: ignore[misc]
    """Replaces the vector of the end-of-text token by the mean of the text's token vectors, as the published ColXTR code does."""

    def __init__(self) -> None:
        super().__init__()
        self._end: int | None = None

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """(batch, tokens, dim) stays that."""
        vectors, mask = features["token_embeddings"], features["attention_mask"].bool().unsqueeze(-1)
        mean = (vectors * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        ends = torch.eq(features["input_ids"], -1 if self._end is None else self._end).unsqueeze(-1) & mask
        features["token_embeddings"] = torch.where(ends, mean.to(vectors.dtype), vectors)
        return features

    def on_model_ready(self, model: Any) -> None:
        """Learn which token ends a text."""
        self._end = model.tokenizer.eos_token_id

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write the configuration, which is empty."""
        self.save_config(output_path)


_HUB_OPTIONS = ("token", "cache_folder", "revision", "local_files_only")

OWN = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in (ConstPooling, LowerCase, EndTokenMean)}
"""The modules here by the names that a saved model calls them by."""


def load_model(name: str | os.PathLike[str], device: str | None) -> Any:
    """A saved `MultiVectorEncoder`, also one with modules from here, without running any other code that comes with it."""
    from sentence_transformers import MultiVectorEncoder

    folder = prepared(name)
    with unattended():
        return MultiVectorEncoder._load_with_module_classes(folder, OWN, device=device, model_kwargs=dict(CLOSED_WEIGHTS), **CLOSED)


def projection_dim(model: Any) -> int:
    """Width of the token vectors that a model's last projection gives."""
    for module in reversed(list(model)):
        if isinstance(module, Dense) and module.module_output_name == "token_embeddings":
            return int(module.out_features)
    return int(model.get_embedding_dimension())


def pooled_vectors(model: Any) -> int | None:
    """How many vectors every document of a model has, None where that depends on the document."""
    poolings = [module for module in model if isinstance(module, BaseTokenPooling) and module.applies_to("document")]
    last = poolings[-1] if poolings else None
    return last.vectors if isinstance(last, ConstPooling) else None


def with_pooling(model: Any, vectors: int, *, tokens: int, device: str | None = None, **options: Any) -> Any:
    """A model whose passages have `vectors` vectors each, pooled from at most `tokens` token vectors; not trained yet.

    The pooling comes before the normalisation of token vectors, after the mask. `options` are those of `ConstPooling`.
    """
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize

    kept = [module for module in model if not isinstance(module, Normalize)]
    pooling = ConstPooling(tokens, vectors, projection_dim(model), **options)
    modules = [*kept, pooling, Normalize(module_input_name="token_embeddings")]
    return MultiVectorEncoder(modules=modules, prompts=model.prompts, device=device or str(model.device))
