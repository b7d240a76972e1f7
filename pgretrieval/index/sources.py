"""Where the vectors of new passages come from: the caller, or the encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.errors import ConflictError, InputError
from pgretrieval.index.vectors import dense_array, token_array, unit_rows
from pgretrieval.types import Float32Array, Passage

Progress = Callable[[int], None]


class Taken(NamedTuple):
    """Vectors of a batch: (tokens, dim) for each passage, unit rows (passages, dense dim) if any, and how many texts were cut."""

    arrays: list[Float32Array]
    dense: Float32Array | None
    truncated: int


class VectorSource(Protocol):
    """Gives the vectors of batches of passages, in order."""

    given: bool
    """Whether token vectors are the caller's, so that encoding the text again would not give them."""

    @property
    def given_dense(self) -> bool:
        """Whether dense vectors are the caller's."""

    @property
    def spec(self) -> dict[str, str] | None:
        """The encoder to remember."""

    def take(self, batch: Sequence[Passage], wanted: Sequence[int], dim: int | None) -> Taken:
        """The vectors of the next batch's passages at the wanted positions."""

    def finish(self) -> None:
        """Called when there are no more passages."""

    def again(self) -> VectorSource:
        """What gives the vectors of passages that were taken before; only where none are the caller's."""


class GivenDense:
    """The caller's dense vectors, one a passage."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self._rest = iter(rows)

    def take(self, batch: Sequence[Passage], wanted: Sequence[int]) -> Float32Array | None:
        """Unit rows (wanted, dense dim). Raises VectorError, DimensionMismatchError, InputError where they end too early."""
        rows = _one_each(batch, self._rest, "dense")
        checked: list[Float32Array] = []
        for position in wanted:
            what = f"passage {batch[position].id!r}"
            checked.append(dense_array(rows[position], what, len(checked[0]) if checked else None))
        return unit_rows(np.stack(checked)) if checked else None

    def finish(self) -> None:
        """Raises InputError where vectors are left."""
        _none_left(self._rest, "dense")


class GivenVectors:
    """The caller's arrays, one a passage."""

    given = True
    spec = None

    def __init__(self, arrays: Iterable[Any], dense: GivenDense | None, progress: Progress | None) -> None:
        self._rest = iter(arrays)
        self._dense = dense
        self._progress = progress

    def __str__(self) -> str:
        return "the given vectors"

    @property
    def given_dense(self) -> bool:
        """Whether there are any."""
        return self._dense is not None

    def take(self, batch: Sequence[Passage], wanted: Sequence[int], dim: int | None) -> Taken:
        """Checked arrays. Raises VectorError, DimensionMismatchError, InputError where they end too early."""
        arrays: list[Float32Array] = []
        given = _one_each(batch, self._rest, "vectors")
        for position in wanted:
            arrays.append(token_array(given[position], f"passage {batch[position].id!r}", dim))
            dim = arrays[-1].shape[1]
        dense = self._dense.take(batch, wanted) if self._dense else None
        if self._progress:
            self._progress(len(batch))
        return Taken(arrays, dense, 0)

    def again(self) -> VectorSource:
        """The caller's arrays come once."""
        return self

    def finish(self) -> None:
        """Raises InputError where arrays are left."""
        _none_left(self._rest, "vectors")
        if self._dense:
            self._dense.finish()


class EncodedVectors:
    """The encoder's vectors of title, a space, and text; its dense vectors too where these are wanted and not given."""

    given = False

    def __init__(
        self, encoder: CollectionEncoder, dense: GivenDense | None, progress: Progress | None, *, with_dense: bool = False
    ) -> None:
        self._encoder = encoder
        self._dense = dense
        self._progress = progress
        self._with_dense = with_dense and dense is None

    def __str__(self) -> str:
        return f"encoder {self.spec}"

    @property
    def spec(self) -> dict[str, str]:
        """The encoder's own."""
        return self._encoder.spec

    @property
    def given_dense(self) -> bool:
        """Whether there are any."""
        return self._dense is not None

    def take(self, batch: Sequence[Passage], wanted: Sequence[int], dim: int | None) -> Taken:
        """Encoded texts. Raises EncoderError."""
        texts = [batch[position].encoded_text for position in wanted]
        if self._progress and len(wanted) < len(batch):
            self._progress(len(batch) - len(wanted))
        if not texts:
            if self._dense:
                self._dense.take(batch, wanted)
            return Taken([], None, 0)
        truncated = self._encoder.count_truncated(texts)
        if self._with_dense:
            return Taken(*self._encoder.encode_document_with_dense(texts, progress=self._progress), truncated)
        dense = self._dense.take(batch, wanted) if self._dense else None
        return Taken(self._encoder.encode_document(texts, progress=self._progress), dense, truncated)

    def again(self) -> VectorSource:
        """The same encoder; nothing is told to be finished twice."""
        return EncodedVectors(self._encoder, self._dense, None, with_dense=self._with_dense)

    def finish(self) -> None:
        """Raises InputError where dense vectors are left."""
        if self._dense:
            self._dense.finish()


class NotEncodedError(ConflictError):
    """A text was to be encoded ahead and was not: it has changed since."""


class EncodedAhead:
    """Vectors of texts that were encoded before, so that nothing is encoded in a transaction."""

    given = False
    given_dense = False

    def __init__(self, spec: dict[str, str] | None, encoding: int) -> None:
        self.spec = spec
        self.encoding = encoding
        """Of which of the collection's encoders they are."""
        self._vectors: dict[str, Float32Array | None] = {}
        self._dense: dict[str, Float32Array] = {}

    def __str__(self) -> str:
        return f"encoder {self.spec}"

    def __contains__(self, text: object) -> bool:
        return text in self._vectors

    def keep(self, texts: Sequence[str], taken: Taken) -> None:
        """What was made of texts."""
        self._vectors |= zip(texts, taken.arrays, strict=True) if taken.arrays else dict.fromkeys(texts)
        if taken.dense is not None:
            self._dense |= zip(texts, taken.dense, strict=True)

    def take(self, batch: Sequence[Passage], wanted: Sequence[int], dim: int | None) -> Taken:
        """Raises NotEncodedError."""
        texts = [batch[position].encoded_text for position in wanted]
        missing = [batch[position].id for position, text in zip(wanted, texts, strict=True) if text not in self]
        if missing:
            raise NotEncodedError(f"passage {missing[0]!r} has changed since it was encoded; do the same again")
        arrays = [self._vectors[text] for text in texts]
        dense = np.stack([self._dense[text] for text in texts]) if texts and self._dense else None
        return Taken([array for array in arrays if array is not None], dense, 0)

    def again(self) -> VectorSource:
        """The same vectors."""
        return self

    def finish(self) -> None:
        """Nothing is left."""


class NoVectors:
    """Nothing that makes vectors: for changes of metadata alone."""

    given = False
    given_dense = False
    spec = None

    def __init__(self, reason: InputError) -> None:
        self._reason = reason

    def take(self, batch: Sequence[Passage], wanted: Sequence[int], dim: int | None) -> Taken:
        """Raises InputError where a vector is wanted."""
        if wanted:
            raise self._reason
        return Taken([], None, 0)

    def again(self) -> VectorSource:
        """Nothing either."""
        return self

    def finish(self) -> None:
        """Nothing is left."""


class TextsAlone:
    """No vectors at all, for collections that are found by words and by cross-encoders."""

    given = False
    given_dense = False
    spec = None

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def take(self, batch: Sequence[Passage], wanted: Sequence[int], dim: int | None) -> Taken:
        """Nothing for each."""
        if self._progress:
            self._progress(len(batch))
        return Taken([], None, 0)

    def again(self) -> VectorSource:
        """Nothing is told to be finished twice."""
        return TextsAlone(None)

    def finish(self) -> None:
        """Nothing is left."""


def _one_each(batch: Sequence[Passage], rest: Iterator[Any], name: str) -> list[Any]:
    given = [row for _, row in zip(batch, rest, strict=False)]
    if len(given) < len(batch):
        msg = f"{name}= ended before passage {batch[len(given)].id!r}; give one {_FORMS[name]} a passage"
        raise InputError(msg)
    return given


def _none_left(rest: Iterator[Any], name: str) -> None:
    if next(rest, None) is not None:
        msg = f"there are more arrays in {name}= than passages; give one {_FORMS[name]} a passage"
        raise InputError(msg)


_FORMS = {"vectors": "(tokens, dim) array", "dense": "vector"}
