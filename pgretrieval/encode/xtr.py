"""Models of the T5 family in the layout of google/xtr-base-en: lower-cased, no markers, Dense 768 -> 128 without bias."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pgretrieval.encode.vetting import CLOSED, CLOSED_WEIGHTS, read_json, vetted_folder, without_stdin
from pgretrieval.errors import ConfigError

DENSE_FOLDER = "2_Dense"
DIM = 128
_FAMILY = ("t5", "mt5", "umt5")

EndToken = Literal["own", "mean"]
"""Vector of the end-of-text token: the encoder's own, or the mean of the text's token vectors."""


def is_xtr(config: Mapping[str, Any], made_for: str | None) -> bool:
    """Return whether the files are a T5 that this package assembles, not a saved `MultiVectorEncoder`."""
    return config.get("model_type") in _FAMILY and made_for not in ("MultiVectorEncoder", "ColBERT")


def load_xtr(
    name: str,
    device: str | None = None,
    *,
    lower_case: bool = True,
    normalize: bool = True,
    end_token: EndToken = "own",
    query_length: int = 32,
    document_length: int = 512,
) -> Any:
    """Return a `MultiVectorEncoder` of a T5 encoder and its token projection, from a folder or a Hugging Face name.

    The defaults are XTR's. The published ColXTR code does not normalise vectors (`normalize=False`) and uses the mean for the end
    token (`end_token="mean"`), which the paper does not mention. Its checkpoints are not available, so choose. To use a choice in a
    collection, `save` the model to a folder and use that as the encoder.
    """
    from sentence_transformers.base.modules import Dense, Transformer

    if end_token not in ("own", "mean"):
        msg = f'end_token is {end_token!r}; give "own" or "mean"'
        raise ConfigError(msg)
    folder = vetted_folder(name)
    with without_stdin():
        transformer = Transformer.load(
            folder, subfolder=_folder(folder, "Transformer", ""), model_kwargs=dict(CLOSED_WEIGHTS), **CLOSED
        )
        dense = Dense.load(folder, subfolder=_folder(folder, "Dense", DENSE_FOLDER), init_defaults={"bias": False}, **CLOSED)
    dense.module_input_name = dense.module_output_name = "token_embeddings"
    return _assemble(transformer, dense, device, lower_case, normalize, end_token, (query_length, document_length))


def new_xtr(
    name: str,
    device: str | None = None,
    *,
    dim: int = DIM,
    lower_case: bool = True,
    normalize: bool = True,
    end_token: EndToken = "own",
    query_length: int = 32,
    document_length: int = 512,
) -> Any:
    """Return the same for a T5 without projection, with a new random one: the bottleneck that ColXTR trains."""
    from sentence_transformers.base.modules import Transformer

    from pgretrieval.encode.modules import token_projection

    folder = vetted_folder(name)
    with without_stdin():
        transformer = Transformer(
            folder, model_kwargs=dict(CLOSED_WEIGHTS), processor_kwargs=dict(CLOSED), config_kwargs=dict(CLOSED)
        )
    dense = token_projection(transformer.get_embedding_dimension(), dim)
    return _assemble(transformer, dense, device, lower_case, normalize, end_token, (query_length, document_length))


def _assemble(
    transformer: Any,
    dense: Any,
    device: str | None,
    lower_case: bool,
    normalize: bool,
    end_token: EndToken,
    lengths: tuple[int, int],
) -> Any:
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    from pgretrieval.encode.modules import EndTokenMean, LowerCase

    transformer.query_length, transformer.document_length = lengths
    modules = [transformer, *([LowerCase()] if lower_case else []), dense, MultiVectorMask()]
    modules += [EndTokenMean()] if end_token == "mean" else []
    modules += [Normalize(module_input_name="token_embeddings")] if normalize else []
    return MultiVectorEncoder(modules=modules, device=device)


def _folder(folder: str, kind: str, default: str) -> str:
    """Return the folder of a module according to modules.json."""
    modules = read_json(Path(folder) / "modules.json") or []
    return next((str(module["path"]) for module in modules if str(module["type"]).endswith(kind)), default)
