"""Where the token vectors of new passages come from: the caller, or the encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.errors import InputError
from pgretrieval.index.vectors import token_array
from pgretrieval.types import Float32Array, Passage

Progress = Callable[[int], None]


class VectorSource(Protocol):
    """Gives the vectors of batches of passages, in order."""

    given: bool
    """Whether they are the caller's, so that encoding the text again would not give them."""

    @property
    def spec(self) -> dict[str, str] | None:
        """The encoder to remember."""

    def take(self, batch: Sequence[Passage], dim: int | None) -> tuple[list[Float32Array], int]:
        """One (tokens, dim) array a passage, and how many texts were cut."""

    def finish(self) -> None:
        """Called when there are no more passages."""


class GivenVectors:
    """The caller's arrays, one a passage."""

    given = True
    spec = None

    def __init__(self, arrays: Iterable[Any], progress: Progress | None) -> None:
        self._rest = iter(arrays)
        self._progress = progress

    def __str__(self) -> str:
        return "the given vectors"

    def take(self, batch: Sequence[Passage], dim: int | None) -> tuple[list[Float32Array], int]:
        """Checked arrays. Raises VectorError, DimensionMismatchError, InputError where they end too early."""
        arrays: list[Float32Array] = []
        for passage, vectors in zip(batch, self._rest, strict=False):
            arrays.append(token_array(vectors, f"passage {passage.id!r}", dim))
            dim = arrays[-1].shape[1]
        if len(arrays) < len(batch):
            msg = f"vectors= ended before passage {batch[len(arrays)].id!r}; give one (tokens, dim) array a passage"
            raise InputError(msg)
        if self._progress:
            self._progress(len(batch))
        return arrays, 0

    def finish(self) -> None:
        """Raises InputError where arrays are left."""
        if next(self._rest, None) is not None:
            msg = "there are more arrays in vectors= than passages; give one (tokens, dim) array a passage"
            raise InputError(msg)


class EncodedVectors:
    """The encoder's vectors of title, a space, and text."""

    given = False

    def __init__(self, encoder: CollectionEncoder, progress: Progress | None) -> None:
        self._encoder = encoder
        self._progress = progress

    def __str__(self) -> str:
        return f"encoder {self.spec}"

    @property
    def spec(self) -> dict[str, str]:
        """The encoder's own."""
        return self._encoder.spec

    def take(self, batch: Sequence[Passage], dim: int | None) -> tuple[list[Float32Array], int]:
        """Encoded texts. Raises EncoderError."""
        texts = [passage.encoded_text for passage in batch]
        return self._encoder.encode_document(texts, progress=self._progress), self._encoder.count_truncated(texts)

    def finish(self) -> None:
        """Nothing is left over."""
