"""Sources of the vectors of new passages: the caller or the encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.errors import ConflictError, InputError
from pgretrieval.index.vectors import dense_array, token_array, unit_rows
from pgretrieval.types import Float32Array, Passage

Progress = Callable[[int], None]


class BatchVectors(NamedTuple):
    """Vectors of a batch: (tokens, dim) for each passage, unit rows (passages, dense dim) or None, and the number of truncated
    texts.
    """

    arrays: list[Float32Array]
    dense: Float32Array | None
    truncated: int


class VectorSource(Protocol):
    """Source of the vectors of batches of passages, in order."""

    given: bool
    """True if token vectors are given by the caller, so that encoding the text again would not reproduce them."""

    @property
    def given_dense(self) -> bool:
        """True if dense vectors are given by the caller."""

    @property
    def spec(self) -> dict[str, str] | None:
        """Encoder to store in the catalog."""

    def take(self, batch: Sequence[Passage], wanted: Sequence[int], dim: int | None) -> BatchVectors:
        """Return the vectors of the next batch's passages at the wanted positions."""

    def finish(self) -> None:
        """Check that no vectors are left."""

    def again(self) -> VectorSource:
        """Return a source for passages that were taken before; not for given vectors."""


class GivenDense:
    """Dense vectors from the caller, one for each passage."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self._rest = iter(rows)

    def take(self, batch: Sequence[Passage], wanted: Sequence[int]) -> Float32Array | None:
        """Return unit rows (wanted, dense dim). Raises VectorError, DimensionMismatchError, InputError if there are too few."""
        rows = _next_batch(batch, self._rest, "dense")
        checked: list[Float32Array] = []
        for position in wanted:
            what = f"passage {batch[position].id!r}"
            checked.append(dense_array(rows[position], what, len(checked[0]) if checked else None))
        return unit_rows(np.stack(checked)) if checked else None

    def finish(self) -> None:
        """Raise InputError if vectors are left."""
        _check_exhausted(self._rest, "dense")


class GivenVectors:
    """Token vectors from the caller, one array for each passage."""

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
        """True if dense vectors are given."""
        return self._dense is not None

    def take(self, batch: Sequence[Passage], wanted: Sequence[int], dim: int | None) -> BatchVectors:
        """Return checked arrays. Raises VectorError, DimensionMismatchError, InputError if there are too few."""
        arrays: list[Float32Array] = []
        given = _next_batch(batch, self._rest, "vectors")
        for position in wanted:
            arrays.append(token_array(given[position], f"passage {batch[position].id!r}", dim))
            dim = arrays[-1].shape[1]
        dense = self._dense.take(batch, wanted) if self._dense else None
        if self._progress:
            self._progress(len(batch))
        return BatchVectors(arrays, dense, 0)

    def again(self) -> VectorSource:
        """Return the same source, since given arrays can be read only once."""
        return self

    def finish(self) -> None:
        """Raise InputError if arrays are left."""
        _check_exhausted(self._rest, "vectors")
        if self._dense:
            self._dense.finish()


class EncodedVectors:
    """Vectors from the encoder, for title, a space and text; also dense vectors if required and not given."""

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
        """Specification of the encoder."""
        return self._encoder.spec

    @property
    def given_dense(self) -> bool:
        """True if dense vectors are given."""
        return self._dense is not None

    def take(self, batch: Sequence[Passage], wanted: Sequence[int], dim: int | None) -> BatchVectors:
        """Encode the texts. Raises EncoderError, InputError for a passage without text."""
        texts = texts_to_encode([batch[position] for position in wanted])
        if self._progress and len(wanted) < len(batch):
            self._progress(len(batch) - len(wanted))
        if not texts:
            if self._dense:
                self._dense.take(batch, wanted)
            return BatchVectors([], None, 0)
        truncated = self._encoder.count_truncated(texts)
        if self._with_dense:
            return BatchVectors(*self._encoder.encode_document_with_dense(texts, progress=self._progress), truncated)
        dense = self._dense.take(batch, wanted) if self._dense else None
        return BatchVectors(self._encoder.encode_document(texts, progress=self._progress), dense, truncated)

    def again(self) -> VectorSource:
        """Return a source with the same encoder that reports no progress."""
        return EncodedVectors(self._encoder, self._dense, None, with_dense=self._with_dense)

    def finish(self) -> None:
        """Raise InputError if dense vectors are left."""
        if self._dense:
            self._dense.finish()


class NotEncodedError(ConflictError):
    """A text changed after it was encoded ahead."""


class EncodedAhead:
    """Vectors of texts encoded earlier, so that nothing is encoded in a transaction."""

    given = False
    given_dense = False

    def __init__(self, spec: dict[str, str] | None, encoding: int) -> None:
        self.spec = spec
        self.encoding = encoding
        """Encoder generation of the vectors."""
        self._vectors: dict[str, Float32Array | None] = {}
        self._dense: dict[str, Float32Array] = {}

    def __str__(self) -> str:
        return f"encoder {self.spec}"

    def __contains__(self, text: object) -> bool:
        return text in self._vectors

    def keep(self, texts: Sequence[str], taken: BatchVectors) -> None:
        """Store the vectors of texts."""
        self._vectors |= zip(texts, taken.arrays, strict=True) if taken.arrays else dict.fromkeys(texts)
        if taken.dense is not None:
            self._dense |= zip(texts, taken.dense, strict=True)

    def take(self, batch: Sequence[Passage], wanted: Sequence[int], dim: int | None) -> BatchVectors:
        """Return the stored vectors. Raises NotEncodedError."""
        texts = [batch[position].encoded_text for position in wanted]
        missing = [batch[position].id for position, text in zip(wanted, texts, strict=True) if text not in self]
        if missing:
            raise NotEncodedError(f"passage {missing[0]!r} has changed since it was encoded; repeat the call")
        arrays = [self._vectors[text] for text in texts]
        dense = np.stack([self._dense[text] for text in texts]) if texts and self._dense else None
        return BatchVectors([array for array in arrays if array is not None], dense, 0)

    def again(self) -> VectorSource:
        """Return the same source."""
        return self

    def finish(self) -> None:
        """Do nothing."""


class NoVectors:
    """Source without vectors, for changes of metadata only."""

    given = False
    given_dense = False
    spec = None

    def __init__(self, reason: InputError) -> None:
        self._reason = reason

    def take(self, batch: Sequence[Passage], wanted: Sequence[int], dim: int | None) -> BatchVectors:
        """Raise InputError if a vector is wanted."""
        if wanted:
            raise self._reason
        return BatchVectors([], None, 0)

    def again(self) -> VectorSource:
        """Return the same source."""
        return self

    def finish(self) -> None:
        """Do nothing."""


class TextsOnly:
    """Source without vectors, for collections of texts only."""

    given = False
    given_dense = False
    spec = None

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def take(self, batch: Sequence[Passage], wanted: Sequence[int], dim: int | None) -> BatchVectors:
        """Return no vectors, and report progress."""
        if self._progress:
            self._progress(len(batch))
        return BatchVectors([], None, 0)

    def again(self) -> VectorSource:
        """Return a source that reports no progress."""
        return TextsOnly(None)

    def finish(self) -> None:
        """Do nothing."""


def texts_to_encode(passages: Sequence[Passage]) -> list[str]:
    """Return the texts that an encoder reads. Raises InputError for a passage without text, which came with vectors."""
    for passage in passages:
        if not passage.text.strip():
            msg = (
                f"passage {passage.id!r} has no text to encode, because its vectors were given, such as those of a page image; "
                "give its vectors again, or delete it"
            )
            raise InputError(msg)
    return [passage.encoded_text for passage in passages]


def _next_batch(batch: Sequence[Passage], rest: Iterator[Any], name: str) -> list[Any]:
    given = [row for _, row in zip(batch, rest, strict=False)]
    if len(given) < len(batch):
        msg = f"{name}= ended before passage {batch[len(given)].id!r}; give one {_FORMS[name]} for each passage"
        raise InputError(msg)
    return given


def _check_exhausted(rest: Iterator[Any], name: str) -> None:
    if next(rest, None) is not None:
        msg = f"there are more arrays in {name}= than passages; give one {_FORMS[name]} for each passage"
        raise InputError(msg)


_FORMS = {"vectors": "(tokens, dim) array", "dense": "vector"}
