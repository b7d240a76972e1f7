"""Models to start a training from, and the export of a trained projection."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pgretrieval.encode import minilm, xtr
from pgretrieval.encode.library import load_library_model
from pgretrieval.errors import ConfigError, EncoderError
from pgretrieval.train.options import option

Trained = Literal["all", "projection"]
"""Trained parameters: all, or all but the transformer."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """ConstBERT pooling to add to a model: `vectors` from at most `tokens` token vectors."""

    vectors: int = option(32, "Vectors of every passage, such as 16, 32 or 64.")
    tokens: int = option(180, "Token vectors to pool; longer passages are truncated.")
    shape: Literal["tokens", "full"] = option("tokens", "tokens (weights shared by all dimensions) or full (separate weights).")


@dataclass(frozen=True, slots=True)
class ColXtr:
    """ColXTR settings for a bare T5: dimension of the bottleneck, normalisation, and the end token's vector."""

    dim: int = option(xtr.DIM, "ColXTR: dimension of the projection added to a bare T5.")
    normalize: bool = option(True, "ColXTR: normalise vectors.")
    end_token: xtr.EndToken = option("own", "ColXTR: own (the end token's vector) or mean (of all tokens).")


def start_model(
    base: str | os.PathLike[str] | Any,
    device: str,
    *,
    pooling: Pooling | None = None,
    bottleneck: ColXtr | None = None,
    trained: Trained = "all",
) -> Any:
    """Load a `MultiVectorEncoder` in single precision: "minilm", or a late-interaction model or bare transformer by folder or name.

    A bare transformer gets a random projection. `pooling` is added if the model has none.
    """
    model = _loaded(base, device, bottleneck).float()
    if pooling is not None:
        from pgretrieval.encode.modules import ConstPooling, with_pooling

        if not any(isinstance(module, ConstPooling) for module in model):
            model = with_pooling(model, device=device, **asdict(pooling))
    if trained == "projection":
        from pgretrieval.train.frozen import freeze

        freeze(model[0])
        if not any(parameter.requires_grad for parameter in model.parameters()):
            msg = f"{base!r} consists of a transformer only and has no projection to train"
            raise ConfigError(msg)
    return model


def export_projection(model: Any, path: str | os.PathLike[str]) -> None:
    """Write the projection of a model in the format of "minilm". Raises EncoderError if it has none."""
    from safetensors.torch import save_file
    from sentence_transformers.base.modules import Dense

    dense = [module for module in model if isinstance(module, Dense) and module.module_output_name == "token_embeddings"]
    if len(dense) != 1 or dense[0].bias:
        msg = f"the model has {len(dense)} projections of token vectors; exactly one without bias can be exported"
        raise EncoderError(msg)
    save_file({minilm.PROJECTION_KEY: dense[0].linear.weight.detach().cpu().contiguous()}, path)


def _loaded(base: str | os.PathLike[str] | Any, device: str, bottleneck: ColXtr | None) -> Any:
    if not isinstance(base, (str, os.PathLike)):
        return base.to(device)
    name = os.fspath(base)
    version = minilm.version_named(name)
    if version is not None:
        import torch

        return minilm.build_model(device, torch.float32, version=version)
    if _is_bare_t5(name):
        return xtr.new_xtr(name, device, **asdict(bottleneck or ColXtr()))
    if bottleneck is not None:
        msg = f"{name!r} is not a bare T5 and has a projection; leave the bottleneck out"
        raise ConfigError(msg)
    return load_library_model(name, device, untrained=True)


def _is_bare_t5(name: str) -> bool:
    folder = Path(name)
    config = folder / "config.json"
    if not config.exists() or (folder / "modules.json").exists() or (folder / xtr.DENSE_FOLDER).exists():
        return False
    return xtr.is_xtr(json.loads(config.read_text(encoding="utf-8")), None)
