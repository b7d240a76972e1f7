"""Modules for models of sentence-transformers, which are saved, loaded and trained with the model.

Importing this module imports torch and the library.
"""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
import torch
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.base.modules.module import Module
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.multi_vector_encoder.modules.token_pooling import BaseTokenPooling
from torch import Tensor, nn

from pgretrieval.encode.vetting import CLOSED, CLOSED_WEIGHTS, vetted_folder, without_stdin
from pgretrieval.errors import ConfigError
from pgretrieval.types import Float32Array, Int64Array

Shape = Literal["tokens", "full"]
"""Weights of a pooling: shared by all dimensions ("tokens"), or one for each pair of dimensions ("full")."""

_FIRST_WEIGHT = 0.05
_SPREAD = 0.1
_NOISE = 0.02


class ConstPooling(BaseTokenPooling):  # type: ignore[misc]
    """Learned pooling to a constant number of vectors (ConstBERT): [δ1|…|δC] = Wᵀ [d1|…|dM].

    The (M, dim) token vectors of a passage, padded to M = `tokens`, become (C, dim) with C = `vectors`. With `shape` "tokens" W is
    (M, C), shared by the dimensions; with "full" it is (M·dim, C·dim), as in the paper. `masked` zeroes positions without a token,
    or with a skipped one, before the pooling; otherwise they count. `normalize` scales the pooled vectors to unit length. Queries
    are unchanged.
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
        self._initialise()

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
        """Pool the (tokens, dim) vectors of one passage to (`vectors`, dim)."""
        mask = torch.ones(1, len(embedding), dtype=torch.bool, device=embedding.device)
        return self._pooled(embedding[None], mask)[0]

    def on_model_ready(self, model: Any) -> None:
        """Truncate passages at the number of pooled tokens, so that truncation is counted."""
        length = model[0].document_length
        model[0].document_length = min(length or self.tokens, self.tokens)

    def get_config_dict(self) -> dict[str, Any]:
        """Return the configuration to save."""
        return {key: getattr(self, key) for key in self.config_keys}

    def save(self, output_path: str, *_: Any, safe_serialization: bool = True, **__: Any) -> None:
        """Write configuration and weights."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> ConstPooling:
        """Load a saved module."""
        where = {"subfolder": subfolder, **{key: options[key] for key in _HUB_OPTIONS if key in options}}
        module = cls(**cls.load_config(model_name_or_path, **where))
        loaded: ConstPooling = cls.load_torch_weights(model_name_or_path, model=module, **where)
        return loaded

    def _pooled(self, vectors: Tensor, mask: Tensor) -> Tensor:
        if self.masked:
            vectors = vectors * mask.unsqueeze(-1)
        missing = self.tokens - vectors.shape[1]
        padded = nn.functional.pad(vectors, (0, 0, 0, missing))  # a negative number truncates
        if self.shape == "tokens":
            pooled: Tensor = self.linear(padded.transpose(1, 2)).transpose(1, 2)
        else:
            pooled = self.linear(padded.flatten(1)).unflatten(1, (self.vectors, self.dim))
        if not self.normalize:
            return pooled
        precise = torch.promote_types(pooled.dtype, torch.float32)  # squares overflow in half precision
        unit: Tensor = nn.functional.normalize(pooled.to(precise), dim=-1)
        return unit.to(pooled.dtype)

    def _initialise(self) -> None:
        """Initialise vector c as the mean of a window of neighbouring tokens, which are the most similar.

        A tenth of the tokens c, c + C, c + 2C, …, and noise give a vector also to passages too short for window c. Weights start
        small, because only their ratios count and optimizer steps have a fixed size.
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


class ClusterPooling(BaseTokenPooling):  # type: ignore[misc]
    """Pooling to a constant number of vectors without weights: means of clusters of similar tokens, by Ward's criterion.

    The (tokens, dim) vectors of a passage are scaled to unit length, and become (`vectors`, dim); those of shorter passages repeat.
    Gradients reach the token vectors through the means. `normalize` scales these to unit length. Queries are unchanged.
    """

    config_keys = ["vectors", "normalize", "tasks"]  # noqa: RUF012

    def __init__(self, vectors: int, *, normalize: bool = True, tasks: str | list[str] | None = None) -> None:
        super().__init__(tasks=tasks)
        if vectors < 1:
            msg = f"vectors is {vectors}; give at least 1"
            raise ConfigError(msg)
        self.vectors, self.normalize = vectors, normalize

    def pool_one(self, embedding: Tensor, **_: Any) -> Tensor:
        """Pool the (tokens, dim) vectors of one passage to (`vectors`, dim); none stay none."""
        count = len(embedding)
        if count == 0:
            return embedding
        precise = embedding.to(torch.promote_types(embedding.dtype, torch.float32))
        unit = nn.functional.normalize(precise, dim=-1)
        pooled = unit if self.normalize else precise
        if count > self.vectors:
            labels = torch.from_numpy(_clusters(unit.detach().float().cpu().numpy(), self.vectors)).to(embedding.device)
            sizes = torch.bincount(labels, minlength=1)
            sums = pooled.new_zeros(len(sizes), pooled.shape[1]).index_add(0, labels, pooled)
            pooled = nn.functional.normalize(sums, dim=-1) if self.normalize else sums / sizes[:, None]
        repeated = torch.arange(self.vectors, device=embedding.device) % len(pooled)
        return pooled[repeated].to(embedding.dtype)


def _clusters(rows: Float32Array, count: int) -> Int64Array:
    """Return the cluster (rows,) of each row, numbered from 0, of at most `count`."""
    from scipy.cluster.hierarchy import fcluster, linkage

    labels = fcluster(linkage(rows, "ward"), count, "maxclust")
    numbered: Int64Array = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return numbered


class TokenAdapter(Module):  # type: ignore[misc]
    """Nonlinear adapter of a transformer's token vectors: v + U gelu(D v), with as many hidden units as dimensions.

    It changes nothing before it is trained, since U is initialised with zeros.
    """

    config_keys = ["width"]  # noqa: RUF012

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.down, self.up = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adapt the vectors (batch, tokens, width)."""
        vectors = features["token_embeddings"]
        features["token_embeddings"] = vectors + self.up(nn.functional.gelu(self.down(vectors)))
        return features

    def save(self, output_path: str, *_: Any, safe_serialization: bool = True, **__: Any) -> None:
        """Write configuration and weights."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> TokenAdapter:
        """Load a saved module."""
        where = {"subfolder": subfolder, **{key: options[key] for key in _HUB_OPTIONS if key in options}}
        module = cls(**cls.load_config(model_name_or_path, **where))
        loaded: TokenAdapter = cls.load_torch_weights(model_name_or_path, model=module, **where)
        return loaded


class LowerCase(Module):  # type: ignore[misc]
    """Module that makes the model's tokenizer lower-case texts; tokenizers of the T5 family lose this setting when saved."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the features unchanged."""
        return features

    def on_model_ready(self, model: Any) -> None:
        """Lower-case texts before all other normalisation."""
        from tokenizers.normalizers import Lowercase, Sequence

        backend = model.tokenizer.backend_tokenizer
        existing = backend.normalizer
        backend.normalizer = Lowercase() if existing is None else Sequence([Lowercase(), existing])

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write the configuration, which is empty."""
        self.save_config(output_path)


class EndTokenMean(Module):  # type: ignore[misc]
    """Module that replaces the vector of the end-of-text token by the mean of the token vectors, as in the published ColXTR
    code.
    """

    def __init__(self) -> None:
        super().__init__()
        self._end: int | None = None

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Replace the end token's vector in (batch, tokens, dim)."""
        vectors, mask = features["token_embeddings"], features["attention_mask"].bool().unsqueeze(-1)
        mean = (vectors * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        ends = torch.eq(features["input_ids"], -1 if self._end is None else self._end).unsqueeze(-1) & mask
        features["token_embeddings"] = torch.where(ends, mean.to(vectors.dtype), vectors)
        return features

    def on_model_ready(self, model: Any) -> None:
        """Read the id of the end-of-text token."""
        self._end = model.tokenizer.eos_token_id

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write the configuration, which is empty."""
        self.save_config(output_path)


_HUB_OPTIONS = ("token", "cache_folder", "revision", "local_files_only")

_KINDS = ConstPooling, ClusterPooling, TokenAdapter, LowerCase, EndTokenMean
OWN = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in _KINDS}
"""Modules of this file by their names in a saved model."""

CONSTANT = ConstPooling, ClusterPooling
"""Poolings to a constant number of vectors."""


def load_model(name: str | os.PathLike[str], device: str | None) -> Any:
    """Load a saved `MultiVectorEncoder`, which may contain modules of this file, without running code from the model."""
    from sentence_transformers import MultiVectorEncoder

    folder = vetted_folder(name)
    with without_stdin():
        return MultiVectorEncoder._load_with_module_classes(folder, OWN, device=device, model_kwargs=dict(CLOSED_WEIGHTS), **CLOSED)


def token_projection(width: int, dim: int, weight: Tensor | None = None) -> Any:
    """Return a projection of token vectors without bias or activation; without a `weight` it is random."""
    return Dense(
        width, dim, bias=False, activation_function=nn.Identity(), init_weight=weight, module_input_name="token_embeddings"
    )


def projection_dim(model: Any) -> int:
    """Return the dimension of the token vectors after a model's last projection."""
    for module in reversed(list(model)):
        if _projects_tokens(module):
            return int(module.out_features)
    return int(model.get_embedding_dimension())


def has_unit_vectors(model: Any) -> bool:
    """Return whether a model scales its token vectors to unit length."""
    return any(isinstance(module, Normalize) for module in model)


def pooled_vectors(model: Any) -> int | None:
    """Return the constant number of vectors of a model's documents, or None."""
    poolings = [module for module in model if isinstance(module, BaseTokenPooling) and module.applies_to("document")]
    last = poolings[-1] if poolings else None
    return last.vectors if isinstance(last, CONSTANT) else None


def masks_of(model: Any, task: str) -> list[Any] | None:
    """Return the modules that choose which tokens of a text count, or None if the model pools the vectors of tokens."""
    if any(isinstance(module, BaseTokenPooling) and module.applies_to(task) for module in model):
        return None
    return [module for module in model if isinstance(module, MultiVectorMask)]


def with_adapter(model: Any, device: str) -> Any:
    """Return a model with an adapter before its projection of token vectors, or as it is if it has one."""
    from sentence_transformers import MultiVectorEncoder

    modules = list(model)
    if any(isinstance(module, TokenAdapter) for module in modules):
        return model
    projections = [place for place, module in enumerate(modules) if _projects_tokens(module)]
    modules.insert(projections[0] if projections else 1, TokenAdapter(int(model[0].get_embedding_dimension())))
    return MultiVectorEncoder(modules=modules, prompts=model.prompts, device=device)


def _projects_tokens(module: Any) -> bool:
    return isinstance(module, Dense) and module.module_output_name == "token_embeddings"


def with_clusters(model: Any, vectors: int, device: str | None = None) -> Any:
    """Return a model that pools the tokens of each passage to `vectors` means of clusters, of unit length if they had it."""
    from sentence_transformers import MultiVectorEncoder

    pooling = ClusterPooling(vectors, normalize=has_unit_vectors(model))
    return MultiVectorEncoder(modules=[*model, pooling], prompts=model.prompts, device=device or str(model.device))


def with_pooling(
    model: Any, vectors: int, *, tokens: int, normalize_tokens: bool = False, device: str | None = None, **options: Any
) -> Any:
    """Return a model that pools each passage from at most `tokens` token vectors to `vectors` vectors; untrained.

    The pooling follows the mask and precedes the normalisation of token vectors, or with `normalize_tokens` follows it. A model
    without normalisation gets none. `options` are those of `ConstPooling`.
    """
    from sentence_transformers import MultiVectorEncoder

    unit = has_unit_vectors(model)
    pooling = ConstPooling(tokens, vectors, projection_dim(model), normalize=unit, **options)
    modules = [module for module in model if not isinstance(module, Normalize)]
    modules += [Normalize(module_input_name="token_embeddings")] if normalize_tokens else []
    modules += [pooling, *([Normalize(module_input_name="token_embeddings")] if unit else [])]
    pooled = MultiVectorEncoder(modules=modules, prompts=model.prompts, device=device or str(model.device))
    if not pooling.masked:  # the padding counts, so it must not depend on the batch
        pooled[0].processing_kwargs = {**pooled[0].processing_kwargs, "text": {"padding": "max_length"}}
    return pooled
