"""Encoders of the sentence-transformers library: loading, encoding, counting truncated texts."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from pgretrieval.encode import constbert, images, xtr
from pgretrieval.encode.arrays import surface
from pgretrieval.encode.sources import existing
from pgretrieval.encode.vetting import read_json, vetted_folder
from pgretrieval.errors import ConfigError, EncoderError
from pgretrieval.importing import whole

CHARACTERS_PER_BATCH = 8_000
"""About 2,000 tokens for a forward pass on a processor, so that activations fit its caches."""
BATCH_CPU = (8, 64)
BATCH_ACCELERATOR = 128
_POOLED = "sentence_embedding"


_Token = tuple[str, int | None, int | None]


class LibraryEncoder:
    """`MultiVectorEncoder` with a batch size for its device. Not safe for several threads."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._patches = lru_cache(maxsize=256)(partial(images.patches_of, model))

    @property
    def dim(self) -> int | None:
        """Dimension of a token vector as the model's last layer states it, or None."""
        dim = self._model.get_embedding_dimension()
        return int(dim) if dim else None

    @property
    def vectors_per_passage(self) -> int | None:
        """Constant number of vectors of every document, or None."""
        from pgretrieval.encode.modules import pooled_vectors

        return pooled_vectors(self._model)

    @property
    def has_dense(self) -> bool:
        """True if one of the model's modules pools the token vectors of a text."""
        from sentence_transformers.sentence_transformer.modules import Pooling

        return any(isinstance(module, Pooling) for module in self._model.modules())

    def encode_query(self, texts: Sequence[str]) -> list[Any]:
        """Return one (tokens, dim) array for each query, with the model's query prompt, length and expansion."""
        return self._encode(self._model.encode_query, texts)

    def encode_document(self, texts: Sequence[str]) -> list[Any]:
        """Return one (tokens, dim) array for each document, with the model's document prompt, length and skip list."""
        return self._encode(self._model.encode_document, texts)

    def encode_query_with_dense(self, texts: Sequence[str]) -> tuple[list[Any], Any]:
        """Return `encode_query` and the model's pooled vectors. Raises EncoderError if the model has no pooling."""
        return self._encode_with_dense(self._model.encode_query, texts)

    def encode_document_with_dense(self, texts: Sequence[str]) -> tuple[list[Any], Any]:
        """Return `encode_document` and the model's pooled vectors. Raises EncoderError if the model has no pooling."""
        return self._encode_with_dense(self._model.encode_document, texts)

    @property
    def takes_images(self) -> bool:
        """True if the model encodes images."""
        return images.takes_images(self._model)

    def encode_images(self, paths: Sequence[str]) -> list[Any]:
        """Return one (vectors, dim) array for each image file. Raises InputError for one that cannot be read."""
        return images.encode_images(self._model, paths)

    def image_patches(self, size: tuple[int, int]) -> images.PatchGrid | None:
        """Return the patches of an image of so many pixels, or None if they are not known."""
        return self._patches(size)

    def query_tokens(self, texts: Sequence[str]) -> list[list[_Token]] | None:
        """Return the tokens of each query, one for each vector, with offsets of characters; None if the model pools queries."""
        return self._tokens(texts, "query")

    def document_tokens(self, texts: Sequence[str]) -> list[list[_Token]] | None:
        """Return the tokens of each document, one for each vector, with offsets of characters; None if the model pools them."""
        return self._tokens(texts, "document")

    def count_tokens(self, text: str) -> int:
        """Return the number of a text's tokens, without markers and limit; of its words if the model has no tokenizer."""
        tokenizer = self._model.tokenizer
        if tokenizer is None:
            return len(text.split())
        return len(tokenizer(text, add_special_tokens=False, truncation=False, padding=False, verbose=False)["input_ids"])

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return the number of documents with more tokens, markers included, than the model's limit."""
        return self._count_longer(texts, "document")

    def count_truncated_queries(self, texts: Sequence[str]) -> int:
        """Return the number of queries with more tokens, markers included, than the model's limit."""
        return self._count_longer(texts, "query")

    def raise_lengths(self, query: int | None, document: int | None) -> None:
        """Raise the limits of tokens, as far as the model can read; a pooled document keeps its length."""
        first = self._model[0]
        if query is not None and self._is_shorter("query", query):
            first.query_length = self._readable(query)
            expansion = getattr(first, "query_expansion", None) or {}
            if expansion.get("strategy") == "fixed":
                first.query_expansion = {**expansion, "length": first.query_length}
        if document is not None and self.vectors_per_passage is None and self._is_shorter("document", document):
            first.document_length = self._readable(document)

    def _is_shorter(self, kind: str, length: int) -> bool:
        limit = self._limit(kind)
        return limit is not None and limit < self._readable(length)

    def _readable(self, length: int) -> int:
        return min(length, self._model.max_seq_length or length)

    def may_exceed(self, texts: Sequence[str], kind: str) -> list[str]:
        """Return the texts that may have more tokens than the limit, since a token has at least one byte. Threads may call it."""
        limit = self._limit(kind)
        if limit is None:
            return []
        markers = 2 + len(self._prompt(kind).encode())
        return [text for text in texts if len(text.encode()) + markers > limit]

    def _prompt(self, kind: str) -> str:
        return (self._model.prompts or {}).get(kind) or ""

    def _count_longer(self, texts: Sequence[str], kind: str) -> int:
        tokenizer = self._model.tokenizer
        candidates = [self._prompt(kind) + text for text in self.may_exceed(texts, kind)]
        if tokenizer is None or not candidates:
            return 0
        limit = self._limit(kind) or 0
        rows = tokenizer(candidates, truncation=False, padding=False, verbose=False)["input_ids"]
        return sum(len(row) > limit for row in rows)

    def _tokens(self, texts: Sequence[str], kind: str) -> list[list[_Token]] | None:
        """Return the tokens that count, by the model's own preprocessing and mask; without a fast tokenizer offsets are None."""
        from pgretrieval.encode.modules import masks_of

        masks, tokenizer = masks_of(self._model, kind), self._model.tokenizer
        if masks is None or tokenizer is None:
            return None
        prompt = self._prompt(kind)
        # Models that take images write words of their own around a text, which would shift offsets.
        options = {"return_offsets_mapping": True} if tokenizer.is_fast and not self.takes_images else {}
        features = self._model.preprocess(list(texts), prompt=prompt, task=kind, processing_kwargs={"text": options})
        offsets = features.pop("offset_mapping", None)
        for mask in masks:
            features = mask(features, task=kind)
        found: list[list[_Token]] = []
        for row, (text, counts) in enumerate(zip(texts, features["attention_mask"].bool(), strict=True)):
            tokens = tokenizer.convert_ids_to_tokens(features["input_ids"][row][counts].tolist())
            known = [] if offsets is None else offsets[row].tolist()
            known += [[0, 0]] * (len(counts) - len(known))  # expansion beyond the tokenizer's padding
            places = [known[place] for place in counts.nonzero().flatten().tolist()]
            shift = len(prompt)
            found.append(
                [
                    surface(token, text, start - shift, end - shift) if start >= shift else (token, None, None)
                    for token, (start, end) in zip(tokens, places, strict=True)
                ]
            )
        return found

    def _encode(self, encode: Any, texts: Sequence[str]) -> list[Any]:
        options = {"batch_size": self._batch(texts), "show_progress_bar": False}
        arrays: list[Any] = encode(list(texts), convert_to_numpy=True, **options)
        return arrays

    def _encode_with_dense(self, encode: Any, texts: Sequence[str]) -> tuple[list[Any], Any]:
        import torch

        features = encode(list(texts), output_value=None, batch_size=self._batch(texts), show_progress_bar=False)
        if _POOLED not in features[0]:
            raise EncoderError(
                "the model has no dense vectors: none of its modules pools the token vectors of a text. Give dense vectors with "
                "dense=, or set dense= to a column of your own when you create the collection"
            )
        tokens = [one["token_embeddings"][one["attention_mask"].bool()].cpu() for one in features]
        return tokens, torch.stack([one[_POOLED] for one in features])

    def _batch(self, texts: Sequence[str]) -> int:
        if self._model.device.type != "cpu":
            return BATCH_ACCELERATOR
        longest = max(len(text) for text in texts)
        return min(max(CHARACTERS_PER_BATCH // max(longest, 1), BATCH_CPU[0]), BATCH_CPU[1])

    def _limit(self, kind: str) -> int | None:
        expansion = getattr(self._model[0], "query_expansion", None) or {}
        fixed = expansion.get("length") if kind == "query" and expansion.get("strategy") == "fixed" else None
        lengths = (fixed, getattr(self._model[0], f"{kind}_length", None), self._model.max_seq_length)
        known = [int(length) for length in lengths if length and length < 1_000_000]  # "no limit" is a huge number
        return known[0] if known else None


def load_named(name: str, device: str | None) -> LibraryEncoder:
    """Load the late-interaction model in a folder or of a Hugging Face name, optionally at a commit (name@commit)."""
    return LibraryEncoder(load_library_model(name, resolve_device(device)))


def load_library_model(name: str, resolved: str) -> Any:
    """Load the same as a `MultiVectorEncoder`."""
    with loading(name, resolved):
        return _load(name, resolved)


@contextmanager
def loading(name: str, resolved: str) -> Iterator[None]:
    """Load a model quietly in this block. Raises EncoderError for any failure."""
    try:
        whole("torch", "sentence_transformers")
        with quiet():
            yield
    except EncoderError:
        raise
    except Exception as error:  # the library and the hub raise many types
        tried = "a local folder" if existing(name) else "a local folder and a Hugging Face model name"
        raise EncoderError(
            f"cannot load encoder {name!r} on {resolved}; tried it as {tried}. Check the name and the network, "
            'or use "minilm", which needs no network, or the path of a folder with a MultiVectorEncoder model. '
            f"The library says: {type(error).__name__}: {error}"
        ) from error


def _load(name: str, device: str) -> Any:
    from pgretrieval.encode.modules import load_model

    folder = Path(vetted_folder(name))
    config = read_json(folder / "config.json") or {}
    saved = read_json(folder / "config_sentence_transformers.json") or {}
    if constbert.is_constbert(config) and "model_type" not in saved:
        return constbert.load_constbert(str(folder), device)
    if xtr.is_xtr(config, saved.get("model_type")):
        return xtr.load_xtr(str(folder), device)
    model = load_model(folder, device)
    if is_bare(folder):
        # The library would give it a random projection, different in every process.
        raise EncoderError(
            f"{name!r} is not a late-interaction model: it has no trained projection of its token vectors. Train one with "
            f'`pgretrieval train colbert --base {name}`, or use a ColBERT-style model, "minilm", or your own object with '
            "encode_query and encode_document"
        )
    return model


def is_bare(folder: Path) -> bool:
    """Return whether a model's files are a transformer without a trained projection of its token vectors."""
    modules = read_json(folder / "modules.json")
    if modules is not None:
        made_for = (read_json(folder / "config_sentence_transformers.json") or {}).get("model_type")
        has_dense = any(str(module.get("type", "")).endswith("Dense") for module in modules)
        return not has_dense and made_for not in ("MultiVectorEncoder", "ColBERT")
    config = read_json(folder / "config.json") or {}
    kinds = config.get("architectures") or []
    known = any(kind == "HF_ColBERT" or kind.endswith("ForRetrieval") for kind in kinds)
    return not known and not constbert.is_constbert(config) and not (folder / xtr.DENSE_FOLDER).exists()


def is_library_model(source: object) -> bool:
    """Return whether `source` is a `MultiVectorEncoder`, without importing the library."""
    library = sys.modules.get("sentence_transformers")
    kind = getattr(library, "MultiVectorEncoder", None)
    return kind is not None and isinstance(source, kind)


def resolve_device(device: str | None) -> str:
    """Return `device`, or for None "cuda" if torch finds one and "cpu" otherwise. Raises EncoderError if it cannot be used."""
    from pgretrieval.numerics.hardware import compute_device

    try:
        return str(compute_device(device))
    except ConfigError as error:
        raise EncoderError(str(error)) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress progress bars, log lines and warnings of the model libraries."""
    from transformers.utils import logging as transformers_log

    log: Any = transformers_log  # its functions carry no annotations
    library_logger = logging.getLogger("sentence_transformers")
    verbosity, bars, level = log.get_verbosity(), log.is_progress_bar_enabled(), library_logger.level
    log.set_verbosity_error()
    log.disable_progress_bar()
    library_logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(verbosity)
        library_logger.setLevel(level)
        if bars:
            log.enable_progress_bar()
