"""Where to compute, and the number format for inner products of which mainly the order matters."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any

import torch
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]
from torch import Tensor

_NATIVE = ("avx512_bf16", "amx_bf16")


@cache
def multiplies_bf16() -> bool:
    """Whether this processor multiplies bf16 in hardware; where it does not, bf16 is slower than float32."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in older torch
    return any(bool(capabilities.get(name)) for name in _NATIVE)


def quick(vectors: Tensor) -> Tensor:
    """The vectors in bf16 where its products are faster (three to seven times on such processors), else as they are."""
    return vectors.bfloat16() if vectors.device.type != "cpu" or multiplies_bf16() else vectors


def compute_device(wanted: str | None = None) -> torch.device:
    """The device asked for, else a GPU if torch sees one, else the processor."""
    return torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))


class _OneBlasThread:
    """Holds numpy's BLAS to one thread while any caller is inside; the last one out restores what the first one found."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limit: Any = None

    @cached_property
    def _blas(self) -> ThreadpoolController:
        return ThreadpoolController().select(user_api="blas")

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._inside == 0:
                self._limit = self._blas.limit(limits=1)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._limit.restore_original_limits()


one_blas_thread = _OneBlasThread()
"""For products of a search: small ones gain nothing from more threads, which spin between them and starve other clients."""
