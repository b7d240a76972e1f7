"""Threads for compiled code, which lets other threads of Python run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


def in_parallel(work: Callable[[_Part], _Result], parts: Sequence[_Part]) -> list[_Result]:
    """Return the results of `work` for each part, in order. Torch's number of threads is the limit."""
    if len(parts) == 1:
        return [work(parts[0])]
    return list(_workers(os.getpid()).map(work, parts))


def part_size(size: int, at_least: int) -> int:
    """Return the size of a part: each thread gets two, unless they would take longer to hand out than to compute."""
    return max(at_least, -(-size // (2 * torch.get_num_threads())))


@cache
def _workers(_process: int) -> ThreadPoolExecutor:
    """Return a pool of as many threads as torch uses; a forked process gets its own."""
    return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="pgretrieval-scores")
