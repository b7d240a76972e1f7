"""Encoder protocol, and the wrapper that gives all encoders the same behaviour."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from pgretrieval import validate
from pgretrieval.encode.arrays import quote, token_texts, unit_row_list, unit_rows
from pgretrieval.encode.images import IMAGES_PER_CALL, MOST_PIXELS, PatchGrid
from pgretrieval.encode.pooling import MAX_POOLING, pooled
from pgretrieval.encode.shared import TEXTS_PER_CALL, WITH_DENSE, SharedModel
from pgretrieval.errors import EncoderError, InputError
from pgretrieval.types import Float32Array, TokenText

Progress = Callable[[int], None]

POOLED = "token_pooling"
"""Key of the factor in the spec of an encoder that pools tokens."""
_PROBE = "dimension"


@runtime_checkable
class Encoder(Protocol):
    """Object that computes token vectors of texts: one (tokens, dim) float32 array with unit rows for each text.

    An encoder can also provide the dense vectors of a collection, by `encode_query_with_dense` and `encode_document_with_dense`,
    which return such a list and one (texts, dense dim) array. By `query_tokens` and `document_tokens` it can tell which tokens its
    vectors are of: for each text a list of (text, start, end), with offsets of characters, or None for markers and masks.
    By `count_tokens` it can tell the number of a text's tokens, without markers and limit.
    """

    def encode_query(self, texts: Sequence[str]) -> list[Float32Array]:
        """Return one (tokens, dim) array for each query."""
        ...

    def encode_document(self, texts: Sequence[str]) -> list[Float32Array]:
        """Return one (tokens, dim) array for each document."""
        ...


class CollectionEncoder:
    """Encoder of a collection: lazily loaded, checked, safe for several threads, which encode together while they wait.

    `model` is loaded at the first encode, or at the first use of an unknown `dim`. `spec` is stored in the database to find the
    encoder again. Without `unit`, token vectors keep the model's lengths. A `plain` model is known, without loading it, to have
    dense vectors and documents that differ in their number of vectors. `token_pooling` above 1 divides the number of vectors of a
    document by clusters of similar tokens.
    """

    def __init__(
        self,
        model: SharedModel,
        spec: dict[str, str],
        *,
        dim: int | None = None,
        unit: bool = True,
        plain: bool = False,
        token_pooling: int = 1,
    ) -> None:
        self.spec = spec
        self.unit = unit
        self.token_pooling = token_pooling
        self._model = model
        self._dim = dim
        self._plain = plain

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.spec})"

    @property
    def dim(self) -> int:
        """Dimension of token vectors: from the model's configuration, or else found by encoding one word."""
        if self._dim is None:
            stated = getattr(self._model.loaded(), "dim", None)
            if isinstance(stated, int):  # `dim` of a user's object may mean something else
                self._dim = stated
        return self._dim or self._encode([_PROBE], "encode_document")[0][0].shape[1]

    @property
    def vectors_per_passage(self) -> int | None:
        """Constant number of vectors of every document, if the encoder states one, else None."""
        if self._plain:
            return None
        stated = getattr(self._model.loaded(), "vectors_per_passage", None)
        return stated if isinstance(stated, int) and stated > 0 else None

    def pooling_by(self, factor: int) -> CollectionEncoder:
        """Return an encoder of the same model that divides the number of a document's vectors by this factor.

        Raises ConfigError for a number below 1 or above 9,999.
        """
        factor = validate.whole("factor", factor, most=MAX_POOLING)
        spec = {key: value for key, value in self.spec.items() if key != POOLED} | ({POOLED: str(factor)} if factor > 1 else {})
        return CollectionEncoder(self._model, spec, dim=self._dim, unit=self.unit, plain=self._plain, token_pooling=factor)

    @property
    def has_dense(self) -> bool:
        """True if the encoder computes dense vectors in the same pass."""
        if self._plain:
            return True
        model = self._model.loaded()
        stated = getattr(model, "has_dense", None)
        if isinstance(stated, bool):
            return stated
        return all(callable(getattr(model, method + WITH_DENSE, None)) for method in ("encode_query", "encode_document"))

    @property
    def takes_images(self) -> bool:
        """True if the encoder encodes images, such as those of pages."""
        if self._plain:
            return False
        model = self._model.loaded()
        stated = getattr(model, "takes_images", None)
        return stated if isinstance(stated, bool) else callable(getattr(model, "encode_images", None))

    def encode_query(self, texts: Sequence[str] | str) -> list[Float32Array]:
        """Return one (tokens, dim) float32 array with unit rows for each query; a single string gives a list of one."""
        return self._encode(_checked_queries(texts), "encode_query")[0]

    def encode_document(self, texts: Sequence[str] | str, *, progress: Progress | None = None) -> list[Float32Array]:
        """Return one (tokens, dim) float32 array with unit rows for each document; a single string gives a list of one.

        `progress` is called repeatedly with the number of texts just finished.
        """
        return self._encode(_text_list(texts), "encode_document", progress)[0]

    def encode_images(self, images: Sequence[str | os.PathLike[str]]) -> list[Float32Array]:
        """Return one (vectors, dim) float32 array with unit rows for each image file.

        Raises EncoderError if the encoder takes texts only, InputError for a file that is not an image.
        """
        listed = validate.listed("images", images, "image files", InputError)
        paths = [validate.path(f"image {number}", image) for number, image in enumerate(listed)]
        if not self.takes_images:
            raise EncoderError(
                f"encoder {self.spec} reads texts, not images; use a multi-vector image model such as vidore/colpali-v1.3-hf, or "
                "read_passages for the texts of documents"
            )
        arrays: list[Float32Array] = []
        for start in range(0, len(paths), IMAGES_PER_CALL):
            part = paths[start : start + IMAGES_PER_CALL]
            returned = self._model.call("encode_images", part, self.spec)
            arrays += unit_row_list(returned, part, "encode_images", self._dim, unit=self.unit)
            self._dim = arrays[0].shape[1]
        return pooled(arrays, self.token_pooling) if self.token_pooling > 1 else arrays

    def image_patches(self, width: int, height: int) -> PatchGrid | None:
        """Return the patches of an image of so many pixels, or None if the encoder does not tell them, or pools.

        Raises ConfigError for a number below 1 or beyond all images.
        """
        size = (validate.whole("width", width, most=MOST_PIXELS), validate.whole("height", height, most=MOST_PIXELS))
        if self.token_pooling > 1:
            return None
        try:
            tell = getattr(self._model.loaded(), "image_patches", None)
        except EncoderError:  # vectors were given, where the model is not
            return None
        found = self._model.alone(lambda: tell(size)) if callable(tell) else None
        return found if isinstance(found, PatchGrid) else None

    def encode_query_with_dense(self, texts: Sequence[str] | str) -> tuple[list[Float32Array], Float32Array]:
        """Return `encode_query`, and one (queries, dense dim) float32 array with unit rows.

        Raises EncoderError if the encoder has no dense vectors.
        """
        tokens, dense = self._encode(_checked_queries(texts), "encode_query" + WITH_DENSE)
        return tokens, np.stack(dense) if dense else np.zeros((0, 0), dtype=np.float32)

    def encode_document_with_dense(
        self, texts: Sequence[str] | str, *, progress: Progress | None = None
    ) -> tuple[list[Float32Array], Float32Array]:
        """Return `encode_document`, and one (documents, dense dim) float32 array with unit rows.

        Raises EncoderError if the encoder has no dense vectors.
        """
        tokens, dense = self._encode(_text_list(texts), "encode_document" + WITH_DENSE, progress)
        return tokens, np.stack(dense) if dense else np.zeros((0, 0), dtype=np.float32)

    def query_tokens(self, texts: Sequence[str] | str) -> list[list[TokenText]] | None:
        """Return the tokens of each query, one for each vector, or None if the encoder does not tell them."""
        return self._tokens("query_tokens", texts)

    def document_tokens(self, texts: Sequence[str] | str) -> list[list[TokenText]] | None:
        """Return the tokens of each document, one for each vector, or None if the encoder does not tell them, or pools them."""
        return None if self.token_pooling > 1 else self._tokens("document_tokens", texts)

    def count_tokens(self, text: str) -> int:
        """Return the number of a text's tokens, without markers and limit; of its words if the model has no tokenizer."""
        (checked,) = _text_list([text])
        count = getattr(self._model.loaded(), "count_tokens", None)
        return int(self._model.alone(lambda: count(checked))) if callable(count) else len(checked.split())

    def count_truncated(self, texts: Sequence[str] | str) -> int:
        """Return the number of documents beyond the model's limit; 0 for encoders that cannot count (user objects)."""
        return self._count("count_truncated", "document", texts)

    def count_truncated_queries(self, texts: Sequence[str] | str) -> int:
        """Return the number of queries beyond the model's limit."""
        return self._count("count_truncated_queries", "query", texts)

    def raise_lengths(self, *, query: int | None = None, document: int | None = None) -> None:
        """Let queries and documents have at least so many tokens, as far as the model can read, until the encoder is loaded again.

        Models of the library have such limits; "minilm" and objects are unchanged. Raises ConfigError for a number below 1.
        """
        query, document = validate.whole_or_none("query", query), validate.whole_or_none("document", document)
        self._model = self._model.unshared()  # other encoders keep their lengths
        change = getattr(self._model.loaded(), "raise_lengths", None)
        if callable(change):
            self._model.alone(lambda: change(query, document))

    def _tokens(self, method: str, texts: Sequence[str] | str) -> list[list[TokenText]] | None:
        listed = _text_list(texts)
        try:
            tell = getattr(self._model.loaded(), method, None)
        except EncoderError:  # vectors were given, where the model is not
            return None
        returned = self._model.call(method, listed, self.spec) if callable(tell) else None
        return None if returned is None else token_texts(returned, listed, method)

    def _count(self, method: str, kind: str, texts: Sequence[str] | str) -> int:
        listed = _text_list(texts)
        count, may_exceed = (getattr(self._model.loaded(), name, None) for name in (method, "may_exceed"))
        if not callable(count):
            return 0
        if callable(may_exceed):  # most texts are known to be short, without waiting for the model
            listed = may_exceed(listed, kind)
        return int(self._model.alone(lambda: count(listed))) if listed else 0

    def _encode(
        self, texts: list[str], method: str, progress: Progress | None = None
    ) -> tuple[list[Float32Array], list[Float32Array]]:
        """Return the token vectors of each text, and its dense vector if the method returns one."""
        validate.called("progress", progress)
        # Longest first: texts of one call have similar lengths, which saves padding, and memory peaks at the start.
        order = sorted(range(len(texts)), key=lambda number: -len(texts[number]))
        tokens: dict[int, Float32Array] = {}
        dense: dict[int, Float32Array] = {}
        for start in range(0, len(order), TEXTS_PER_CALL):
            part = order[start : start + TEXTS_PER_CALL]
            labels = [quote(texts[number], number) for number in part]
            returned = self._model.call(method, [texts[number] for number in part], self.spec)
            if method.endswith(WITH_DENSE):
                returned, vectors = returned
                rows = unit_rows(vectors, f"the dense vectors of {len(part)} texts")
                dense.update(zip(part, rows, strict=True))
            arrays = unit_row_list(returned, labels, method, self._dim, unit=self.unit)
            self._dim = arrays[0].shape[1]
            if self.token_pooling > 1 and method.startswith("encode_document"):
                arrays = pooled(arrays, self.token_pooling)
            tokens.update(zip(part, arrays, strict=True))
            if progress is not None:
                progress(len(part))
        ordered = range(len(texts))
        return [tokens[number] for number in ordered], [dense[number] for number in ordered if dense]


def _text_list(texts: Sequence[str] | str) -> list[str]:
    listed = [texts] if isinstance(texts, str) else list(validate.listed("texts", texts, "texts", InputError))
    for number, text in enumerate(listed):
        if not isinstance(text, str):
            raise InputError(f"text {number} is {type(text).__name__} ({validate.shown(text)}); pass strings")
        validate.storable(text, f"text {number}")
    return listed


def _checked_queries(texts: Sequence[str] | str) -> list[str]:
    listed = _text_list(texts)
    for number, text in enumerate(listed):
        if not text.strip():
            raise InputError(f"query {number} is empty ({text!r}); pass at least one word")
    return listed
