"""Outputs of MiniLM's untrained transformer, computed once for all trainings and measurements that leave it frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.training import FIRST
from pgretrieval.encode.library import LibraryEncoder
from pgretrieval.train.models import start_model


class States:
    """Outputs by text, in a file that `save` writes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._forward: Any = start_model(FIRST, "cpu", trained="projection")[0].model.forward
        self._saved = 0
        if file.exists():
            held = torch.load(file, weights_only=True)
            rows = held["rows"].split(held["lengths"])
            self._forward._kept = {bytes.fromhex(key): row for key, row in zip(held["keys"], rows, strict=True)}
            self._saved = len(rows)

    def model(self, base: str = FIRST) -> Any:
        """A model by name or folder whose transformer is the untrained one."""
        model = start_model(base, "cpu")
        model[0].model.forward = self._forward
        return model

    def encoder(self, base: str) -> LibraryEncoder:
        """The same as an encoder."""
        return LibraryEncoder(self.model(base).eval())

    def save(self) -> None:
        """Write the file, unless it has everything."""
        kept: dict[bytes, torch.Tensor] = self._forward._kept
        if len(kept) > self._saved:
            rows = {"keys": [key.hex() for key in kept], "lengths": [len(row) for row in kept.values()]}
            torch.save({**rows, "rows": torch.cat(list(kept.values()))}, self._file.with_suffix(".new"))
            self._file.with_suffix(".new").rename(self._file)
            self._saved = len(kept)


def cut(encoder: Any, passage_tokens: int | None) -> Any:
    """The encoder, which truncates passages from now on."""
    if passage_tokens is not None:
        encoder._model[0].document_length = passage_tokens
    return encoder
