"""Frozen transformer: its output for each text is computed once while later modules are trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

REMEMBERED_BYTES = 4 * 2**30
"""Limit of cached vectors; further texts are computed each time."""

_DROPOUT_NUMBERS = ("dropout", "attention_dropout")
_ROWS_AT_ONCE = 32  # activations then fit a processor's caches


def freeze(transformer: Any) -> None:
    """Freeze the weights of a library Transformer and cache its output, in place.

    Dropout is removed, so that texts have the same vectors in every epoch and after training.
    """
    for parameter in transformer.parameters():
        parameter.requires_grad_(False)
    model = without_dropout(transformer).model
    model.forward = _CachedForward(model.forward, model.config.pad_token_id)


def without_dropout(module: Any) -> Any:
    """Remove dropout from a module and return it; the attention of some models, such as T5, has a number instead of a layer."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for name in _DROPOUT_NUMBERS:
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)
    return module


class _CachedForward:
    """A model's forward that computes each row of token ids once.

    Rows are cached by ids and mask, without padding at the end, in the computing precision.
    """

    def __init__(self, forward: Any, padding: int | None) -> None:
        self._forward = forward
        self._padding = padding
        self._kept: dict[bytes, Tensor] = {}
        self._bytes = 0

    def __call__(self, input_ids: Tensor, attention_mask: Tensor, **others: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        lengths = self._lengths(input_ids, attention_mask)
        rows = torch.stack([input_ids, attention_mask], dim=1).cpu().numpy()
        keys = [row[:, :length].tobytes() for row, length in zip(rows, lengths, strict=True)]
        new = {key: place for place, key in enumerate(keys) if key not in self._kept}
        missing = sorted(new.values(), key=lengths.__getitem__)
        found: dict[bytes, Tensor] = {}
        at_once = _ROWS_AT_ONCE if input_ids.device.type == "cpu" else len(keys)
        for start in range(0, len(missing), at_once):
            some = missing[start : start + at_once]
            longest = max(lengths[place] for place in some)
            given = {"input_ids": input_ids, "attention_mask": attention_mask, **others}
            part = {name: value[some, :longest] if isinstance(value, Tensor) else value for name, value in given.items()}
            with torch.no_grad():
                states = self._forward(**part).last_hidden_state
            found |= {keys[place]: row[: lengths[place]] for place, row in zip(some, states, strict=True)}
        self._keep(found, input_ids.device.type)
        ordered = [self._kept[key] if key in self._kept else found[key] for key in keys]
        padded = input_ids.new_zeros((*input_ids.shape, ordered[0].shape[-1]), dtype=torch.float32)
        for place, row in enumerate(ordered):
            padded[place, : len(row)] = row
        return BaseModelOutput(last_hidden_state=padded)

    def _keep(self, found: dict[bytes, Tensor], device: str) -> None:
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        for key, row in found.items():
            size = row.numel() * kind.itemsize
            if self._bytes + size <= REMEMBERED_BYTES:
                self._kept[key] = row.to("cpu", kind, copy=True)
                self._bytes += size

    def _lengths(self, ids: Tensor, mask: Tensor) -> list[int]:
        """Return the length up to the last token that is attended to or is not padding, such as a query's expansion."""
        used = mask.bool() if self._padding is None else mask.bool() | (ids != self._padding)
        lengths: list[int] = (used * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(dim=1).tolist()
        return lengths
