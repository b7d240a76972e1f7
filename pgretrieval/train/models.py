"""Models to start a training from, and the export of a trained projection."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pgretrieval.encode import colbert, minilm, xtr
from pgretrieval.encode.library import is_bare, load_library_model, loading
from pgretrieval.encode.projected import PROJECTION_KEY
from pgretrieval.encode.vetting import read_json, vetted_folder
from pgretrieval.errors import ConfigError, EncoderError
from pgretrieval.train.options import option
from pgretrieval.train.run import CHECKPOINTS, MODEL, REPORT_FILE

Trained = Literal["all", "projection", "adapter"]
"""Trained parameters: all; all but the transformer; or these and an adapter after the transformer."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """Pooling to `vectors` vectors to add to a model: ConstBERT's, of at most `tokens` token vectors, or means of clusters."""

    vectors: int = option(32, "Vectors of every passage, such as 16, 32 or 64.")
    tokens: int = option(180, "Token vectors to pool; longer passages are truncated. Not for clusters.")
    shape: Literal["tokens", "full", "clusters"] = option(
        "clusters",
        "clusters (means of similar tokens, no weights), tokens (weights shared by all dimensions), or full (separate ones).",
    )
    masked: bool = option(True, "Zero the padding before the pooling; otherwise passages are padded to --tokens, and it counts.")
    bias: bool = option(False, "Add a bias to the pooling.")
    normalize_tokens: bool = option(False, "Scale token vectors to unit length before the pooling.")


@dataclass(frozen=True, slots=True)
class ColBert:
    """ColBERT to build from a bare transformer; None is ColBERTv2's value.

    `dim`, the lengths and `normalize` also apply to a bare T5, which has no [MASK] and gets XTR's layout. A model that is not bare
    keeps its own layout, and settings raise an error.
    """

    dim: int | None = option(None, "ColBERT: dimension of the projection added to a bare transformer.", shown="128")
    query_length: int | None = option(None, "ColBERT: tokens of a query, markers included.", shown="32")
    document_length: int | None = option(None, "ColBERT: longer passages are truncated, markers included.", shown="220")
    expand: bool | None = option(None, "ColBERT: pad queries to their length with [MASK] and use its outputs.", shown="expand")
    attend: bool | None = option(None, "ColBERT: let other tokens attend to the [MASK] of queries.", shown="no-attend")
    skip_punctuation: bool | None = option(None, "ColBERT: leave punctuation out of passages.", shown="skip-punctuation")
    query_marker: str | None = option(None, "ColBERT: token before queries, [Q].", shown=colbert.QUERY_MARKER)
    document_marker: str | None = option(None, "ColBERT: token before passages, [D].", shown=colbert.DOCUMENT_MARKER)
    normalize: bool | None = option(None, "Scale vectors to unit length, or keep their lengths.", shown="normalize")


@dataclass(frozen=True, slots=True)
class ColXtr:
    """ColXTR settings for a bare T5: dimension of the bottleneck, normalisation, and the end token's vector."""

    dim: int = option(xtr.DIM, "ColXTR: dimension of the projection added to a bare T5.")
    normalize: bool = option(True, "ColXTR: normalise vectors, or keep their lengths.")
    end_token: xtr.EndToken = option("own", "ColXTR: own (the end token's vector) or mean (of all tokens).")


Layout = ColBert | ColXtr
"""Late-interaction model to build from a bare transformer."""

_OF_T5 = ("dim", "query_length", "document_length", "normalize")
"""Settings of `ColBert` that apply to a bare T5."""


def start_model(
    base: str | os.PathLike[str] | Any,
    device: str,
    *,
    pooling: Pooling | None = None,
    layout: Layout | None = None,
    trained: Trained = "all",
) -> Any:
    """Load a `MultiVectorEncoder` in single precision: "minilm", or a late-interaction model or bare transformer by folder or name.

    The folder of a finished run stands for its model. A bare transformer becomes the model that `layout` describes, with a random
    projection; a bare T5 without layout an XTR. `pooling`, and with `trained` "adapter" an adapter, are added if the model has
    none. Raises ConfigError for a bare transformer of another family without layout, and for a layout that does not fit.
    """
    model = _loaded(base, device, layout).float()
    if pooling is not None:
        from pgretrieval.encode.modules import CONSTANT

        if not any(isinstance(module, CONSTANT) for module in model):
            model = _pooled(model, pooling, device)
    if trained == "adapter":
        from pgretrieval.encode.modules import with_adapter

        model = with_adapter(model, device)
    if trained != "all":
        from pgretrieval.train.frozen import freeze

        freeze(model[0])
        if not any(parameter.requires_grad for parameter in model.parameters()):
            msg = f"{base!r} consists of a transformer only and has no projection to train"
            raise ConfigError(msg)
    return model


def is_bare_base(base: str) -> bool:
    """Return whether a model to start from is a bare transformer, with which no collection can be indexed."""
    if minilm.version_named(base) is not None:
        return False
    with loading(base, "cpu"):
        return is_bare(Path(vetted_folder(base)))


def keeps_lengths(base: str) -> bool:
    """Return whether the token vectors of a saved model keep their lengths."""
    if minilm.version_named(base) is not None:
        return False
    with loading(base, "cpu"):
        folder = Path(vetted_folder(base))
    if (read_json(folder / "config_sentence_transformers.json") or {}).get("model_type") != "MultiVectorEncoder":
        return False
    modules = read_json(folder / "modules.json") or []
    return not any(str(module.get("type", "")).endswith("Normalize") for module in modules)


def model_of_run(base: str) -> str:
    """Return the model's folder if `base` is the folder of a run, else `base`. Raises ConfigError for an unfinished run."""
    folder = Path(base)
    if (folder / REPORT_FILE).is_file() and (folder / MODEL).is_dir():
        return str(folder / MODEL)
    if (folder / CHECKPOINTS).is_dir():
        msg = f"{base!r} contains an unfinished run; repeat its command to finish it, or give one of its {CHECKPOINTS}"
        raise ConfigError(msg)
    return base


def export_projection(model: Any, path: str | os.PathLike[str]) -> None:
    """Write the projection of a model in the format of "minilm". Raises EncoderError if it has none, or an adapter before it."""
    from safetensors.torch import save_file
    from sentence_transformers.base.modules import Dense

    from pgretrieval.encode.modules import TokenAdapter

    if any(isinstance(module, TokenAdapter) for module in model):
        msg = "the model has an adapter before its projection, which the format cannot hold; save the model instead"
        raise EncoderError(msg)

    dense = [module for module in model if isinstance(module, Dense) and module.module_output_name == "token_embeddings"]
    if len(dense) != 1 or dense[0].bias:
        msg = f"the model has {len(dense)} projections of token vectors; exactly one without bias can be exported"
        raise EncoderError(msg)
    save_file({PROJECTION_KEY: dense[0].linear.weight.detach().cpu().contiguous()}, path)


def _pooled(model: Any, pooling: Pooling, device: str) -> Any:
    from pgretrieval.encode.modules import with_clusters, with_pooling

    if pooling.shape != "clusters":
        return with_pooling(model, device=device, **asdict(pooling))
    usual = Pooling()
    for name in ("tokens", "masked", "bias", "normalize_tokens"):
        if (given := getattr(pooling, name)) != getattr(usual, name):
            msg = f'{name} is {given}, but clusters have no weights; leave it out, or give shape "tokens" or "full"'
            raise ConfigError(msg)
    return with_clusters(model, pooling.vectors, device)


def _loaded(base: str | os.PathLike[str] | Any, device: str, layout: Layout | None) -> Any:
    if not isinstance(base, (str, os.PathLike)):
        _refuse_layout(type(base).__qualname__, layout)
        return base.to(device)
    name = model_of_run(os.fspath(base))
    version = minilm.version_named(name)
    if version is not None:
        import torch

        _refuse_layout(name, layout)
        return minilm.build_model(device, torch.float32, version=version)
    with loading(name, device):
        folder = Path(vetted_folder(name))
    if is_bare(folder):
        return _built(name, folder, device, layout)
    _refuse_layout(name, layout)
    return load_library_model(name, device)


def _built(name: str, folder: Path, device: str, layout: Layout | None) -> Any:
    """Build a late-interaction model from a bare transformer."""
    config = read_json(folder / "config.json") or {}
    if xtr.is_xtr(config, None):
        options = _of_t5(name, layout)
        with loading(name, device):
            return xtr.new_xtr(str(folder), device, **options)
    if not isinstance(layout, ColBert):
        reason = "XTR and ColXTR need a T5" if layout is None else "the bottleneck of ColXTR needs a bare T5"
        msg = (
            f"{name!r} is a bare transformer of type {config.get('model_type')!r}, and {reason}; build a ColBERT from it first "
            "(`pgretrieval train colbert`, or layout=ColBert()), or give a bare T5"
        )
        raise ConfigError(msg)
    with loading(name, device):
        return colbert.new_colbert(str(folder), device, **_given(layout))


def _of_t5(name: str, layout: Layout | None) -> dict[str, Any]:
    """Return the options of `new_xtr`. Raises ConfigError for settings that a T5 cannot have."""
    given = {} if layout is None else _given(layout)
    unknown = [] if isinstance(layout, ColXtr) else [key for key in given if key not in _OF_T5]
    if unknown:
        msg = f"{name!r} is a T5, which has no [MASK] and gets XTR's layout without {', '.join(unknown)}; leave these out"
        raise ConfigError(msg)
    return given


def _given(layout: Layout) -> dict[str, Any]:
    return {one.name: value for one in fields(layout) if (value := getattr(layout, one.name)) is not None}


def _refuse_layout(name: str, layout: Layout | None) -> None:
    given = {} if layout is None else _given(layout)
    if given:
        msg = f"{name!r} is not a bare transformer and keeps its own layout; leave out {', '.join(given)}"
        raise ConfigError(msg)
