"""Compute device, and the number format for approximate inner products."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from pgretrieval.errors import ConfigError

_NATIVE = ("avx512_bf16", "amx_bf16")


@cache
def multiplies_bf16() -> bool:
    """Return whether this processor multiplies bf16 in hardware; otherwise bf16 is slower than float32.

    It does not if torch is told to do without (ATEN_CPU_CAPABILITY).
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in older torch
    return any(bool(capabilities.get(name)) for name in _NATIVE)


def quick(vectors: Tensor) -> Tensor:
    """Return vectors in bf16 if the processor multiplies bf16 (three to seven times as fast), else unchanged."""
    return vectors.bfloat16() if vectors.device.type != "cpu" or multiplies_bf16() else vectors


def compute_device(wanted: str | None = None) -> torch.device:
    """Return the requested device, else a GPU if torch finds one, else the processor. Raises ConfigError if it cannot be used."""
    if wanted is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=wanted)
    except Exception as error:  # torch raises several types, AssertionError among them
        msg = f'device {wanted!r} cannot be used: {error}. Pass None, "cpu", or a device that torch finds'
        raise ConfigError(msg) from error
    return torch.device(wanted)
