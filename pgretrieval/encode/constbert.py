"""Published ConstBERT checkpoints: BERT, a projection of token vectors, and a pooling over token positions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgretrieval.encode import colbert
from pgretrieval.encode.vetting import vetted_folder
from pgretrieval.errors import EncoderError

if TYPE_CHECKING:
    from pgretrieval.encode.modules import Shape

PROJECTION_KEY = "linear.weight"
_ARCHITECTURE = "ConstBERT"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def is_constbert(config: Mapping[str, Any]) -> bool:
    """Return whether a config.json is that of a published checkpoint."""
    return any(_ARCHITECTURE.lower() in str(kind).lower() for kind in config.get("architectures") or [])


def load_constbert(
    name: str,
    device: str | None = None,
    *,
    masked: bool = True,
    normalize_tokens: bool = False,
    skip_punctuation: bool = False,
    markers: tuple[str, str] = (colbert.QUERY_MARKER, colbert.DOCUMENT_MARKER),
    query_length: int = colbert.QUERY_LENGTH,
    attend_to_expansion: bool = False,
    pooling_key: str = "doc_project.weight",
    shape: Shape | None = None,
) -> Any:
    """Return a `MultiVectorEncoder` of a published checkpoint, from a folder or a Hugging Face name.

    The numbers of tokens M and vectors C follow from the weight `pooling_key`: (C, M), shared by the dimensions, or (C·dim, M·dim);
    `shape` decides if both are possible. Settings that the files do not state are arguments: whether padding is zeroed before the
    pooling (`masked`; otherwise passages are padded to M and the padding counts), whether token vectors are normalised before it
    (`normalize_tokens`), whether punctuation is skipped, and ColBERT's markers and query expansion.
    """
    import string

    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    from pgretrieval.encode.modules import ConstPooling, token_projection

    folder = vetted_folder(name)
    weights = _weights(folder, pooling_key)
    projection = weights[PROJECTION_KEY].float()
    dim = projection.shape[0]
    vectors, tokens, pooled_by = _read_shape(tuple(weights[pooling_key].shape), dim, shape)
    bias = weights.get(pooling_key.replace("weight", "bias"))
    padding = {} if masked else {"processing_kwargs": {"text": {"padding": "max_length"}}}
    transformer = colbert.marked_transformer(
        folder,
        markers,
        query_length=query_length,
        document_length=tokens,
        expand=True,
        attend=attend_to_expansion,
        **padding,
    )
    pooling = ConstPooling(tokens, vectors, dim, shape=pooled_by, bias=bias is not None, masked=masked)
    pooling.linear.weight.data = weights[pooling_key].float()
    if bias is not None:
        pooling.linear.bias.data = bias.float()
    unit = Normalize(module_input_name="token_embeddings")
    modules = [
        transformer,
        token_projection(projection.shape[1], dim, projection),
        MultiVectorMask(skiplist_words=list(string.punctuation) if skip_punctuation else None),
        *([unit] if normalize_tokens else []),
        pooling,
        Normalize(module_input_name="token_embeddings"),
    ]
    return MultiVectorEncoder(modules=modules, prompts=colbert.prompts(*markers), device=device)


def _read_shape(weight: tuple[int, ...], dim: int, shape: Shape | None) -> tuple[int, int, Shape]:
    """Return vectors, tokens and shape of a pooling weight; rows and columns that are multiples of the dimension mean "full"."""
    rows, columns = weight
    if shape is None:
        shape = "full" if rows > dim and rows % dim == 0 and columns % dim == 0 else "tokens"
    width = dim if shape == "full" else 1
    return rows // width, columns // width, shape


def _weights(folder: str, pooling_key: str) -> Mapping[str, Any]:
    """Return all weights by name, without the prefix of a wrapper."""
    import torch
    from safetensors.torch import load_file

    found = next((path for file in _WEIGHTS if (path := Path(folder) / file).exists()), None)
    if found is None:
        msg = f"{folder!r} has none of the files {', '.join(_WEIGHTS)}"
        raise EncoderError(msg)
    loaded = load_file(found) if found.suffix == ".safetensors" else torch.load(found, "cpu", weights_only=True)
    weights = {key.removeprefix("model."): value for key, value in loaded.items()}
    missing = [key for key in (PROJECTION_KEY, pooling_key) if key not in weights]
    if missing:
        msg = f"{folder!r} is not a ConstBERT checkpoint: its weights lack {' and '.join(missing)}"
        raise EncoderError(msg)
    return weights
