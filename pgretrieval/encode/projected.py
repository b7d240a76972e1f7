"""Token vectors of a small BERT through a projection, and its single vectors: what the encoders of the package have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgretrieval.encode.arrays import surface

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

    from pgretrieval.encode.bert import Bert

DIM = 128
PROJECTION_KEY = "projection"
QUERY, DOCUMENT = "query", "document"
TOKENS_PER_BATCH = 2_000
"""Tokens of a forward pass of torch on a processor, so that activations fit its caches."""
TOKENS_PER_BATCH_ACCELERATOR = 32_768


def load_projection(file: Path) -> Any:
    """Return the float32 tensor (128, width) of a projection's file."""
    from safetensors.torch import load_file

    return load_file(file)[PROJECTION_KEY].float()


class ProjectedBert(ABC):
    """Encoder over a `Bert` and a projection, without the model libraries. Not safe for several threads.

    A subclass says how a text becomes tokens, and how many of them after the first have no vector.
    """

    dim = DIM
    vectors_per_passage = None
    max_tokens: int
    """Tokens of a text that are read, markers included."""

    def __init__(self, bert: Bert, tokenizer: Tokenizer, projection: Path) -> None:
        self._bert = bert
        self._device = bert.device
        self._tokenizer = tokenizer
        self._projection_file = projection
        together = bert.device.type == "cpu" and not bert.compiled
        self._tokens_per_batch = TOKENS_PER_BATCH if together else TOKENS_PER_BATCH_ACCELERATOR

    @cached_property
    def _projection(self) -> Any:
        return load_projection(self._projection_file).to(self._device)

    @abstractmethod
    def tokenize(self, texts: Sequence[str], kind: str, *, offsets: bool = False) -> list[Encoding]:
        """Return the tokens of queries or documents, cut to `max_tokens`, markers included; on request with offsets."""

    def as_read(self, text: str) -> str:
        """Return a text in the characters that the tokenizer reads."""
        return text

    def unseen(self, _kind: str) -> int:
        """Return the number of tokens after the first that have no token vector."""
        return 0

    def offsets(self, encoding: Encoding, _text: str, _kind: str) -> list[tuple[int, int]]:
        """Return the offsets of each token in the characters of the text; (0, 0) for markers."""
        offsets: list[tuple[int, int]] = encoding.offsets
        return offsets

    def encode_query(self, texts: Sequence[str]) -> list[Any]:
        """Return one (tokens, 128) array for each query."""
        return self._encode(texts, QUERY)[0]

    def encode_document(self, texts: Sequence[str]) -> list[Any]:
        """Return one (tokens, 128) array for each document."""
        return self._encode(texts, DOCUMENT)[0]

    def encode_query_with_dense(self, texts: Sequence[str]) -> tuple[list[Any], Any]:
        """Return `encode_query` and the single vectors of the model, (queries, 384)."""
        return self._encode(texts, QUERY, dense=True)

    def encode_document_with_dense(self, texts: Sequence[str]) -> tuple[list[Any], Any]:
        """Return `encode_document` and the single vectors of the model, (documents, 384)."""
        return self._encode(texts, DOCUMENT, dense=True)

    def query_tokens(self, texts: Sequence[str]) -> list[list[tuple[str, int | None, int | None]]]:
        """Return the tokens of each query, with their offsets of characters; markers have none."""
        return self._tokens(texts, QUERY)

    def document_tokens(self, texts: Sequence[str]) -> list[list[tuple[str, int | None, int | None]]]:
        """Return the tokens of each document, with their offsets of characters; markers have none."""
        return self._tokens(texts, DOCUMENT)

    def count_tokens(self, text: str) -> int:
        """Return the number of a text's tokens, without markers, prefix and limit."""
        encoding = self._tokenizer.encode(self.as_read(text), add_special_tokens=False)
        return sum(len(part.ids) for part in (encoding, *encoding.overflowing))

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return the number of documents with more than `max_tokens` tokens, markers included."""
        return self._count_truncated(texts, DOCUMENT)

    def count_truncated_queries(self, texts: Sequence[str]) -> int:
        """Return the number of queries with more than `max_tokens` tokens, markers included."""
        return self._count_truncated(texts, QUERY)

    def may_exceed(self, texts: Sequence[str], kind: str = DOCUMENT) -> list[str]:
        """Return the texts that may have more tokens than the limit, since a token has at least one byte. Threads may call it."""
        rest = self.max_tokens - 2 - self.unseen(kind)
        return [text for text in texts if len(text.encode()) > rest]

    def hidden_states(self, texts: Sequence[str], kind: str) -> list[Any]:
        """Return one tensor (tokens, width) for each text, of all its tokens."""
        ids = [encoding.ids for encoding in self.tokenize(texts, kind)]
        return list(self._bert(ids).split([len(row) for row in ids]))

    def _count_truncated(self, texts: Sequence[str], kind: str) -> int:
        return sum(bool(encoding.overflowing) for encoding in self.tokenize(self.may_exceed(texts, kind), kind))

    def _tokens(self, texts: Sequence[str], kind: str) -> list[list[tuple[str, int | None, int | None]]]:
        found = []
        for text, encoding in zip(texts, self.tokenize(texts, kind, offsets=True), strict=True):
            pairs = list(zip(encoding.tokens, self.offsets(encoding, text, kind), strict=True))
            found.append([surface(token, text, *offsets) for token, offsets in [*pairs[:1], *pairs[1 + self.unseen(kind) :]]])
        return found

    def _encode(self, texts: Sequence[str], kind: str, *, dense: bool = False) -> tuple[list[Any], Any]:
        import numpy as np

        ids = [encoding.ids for encoding in self.tokenize(texts, kind)]
        unseen = slice(1, 1 + self.unseen(kind))
        tokens: list[Any] = [None] * len(ids)
        means: list[Any] = [None] * len(ids)
        for batch in _batches([len(row) for row in ids], self._tokens_per_batch):
            lengths = [len(ids[position]) for position in batch]
            hidden = self._bert([ids[position] for position in batch])
            projected = np.split((hidden @ self._projection.T).cpu().numpy(), np.cumsum(lengths)[:-1])
            for position, row in zip(batch, projected, strict=True):
                tokens[position] = np.delete(row, unseen, axis=0) if unseen.stop > 1 else row
            if dense:
                for position, states in zip(batch, hidden.split(lengths), strict=True):
                    means[position] = states.mean(dim=0).cpu().numpy()
        return tokens, np.stack(means) if dense else None


def _batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Yield positions of texts, longest first, in batches of at most `tokens` tokens with their padding."""
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    start = 0
    while start < len(order):
        batch = order[start : start + max(1, tokens // lengths[order[start]])]
        yield batch
        start += len(batch)
