"""Calls of the library, which blocks, from the event loop: in threads, so many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pgretrieval.serve.errors import RequestError
from pgretrieval.serve.options import ServiceOptions

_Result = TypeVar("_Result")


class Calls:
    """Threads for calls of the library. All methods belong to the event loop."""

    def __init__(self, options: ServiceOptions) -> None:
        self._options = options
        self._threads = ThreadPoolExecutor(options.concurrency, thread_name_prefix="pgretrieval-serve")

    async def run(self, call: Callable[[], _Result]) -> _Result:
        """Return the result of a call. Raises RequestError (503) if it takes too long."""
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(self._threads, call), self._options.seconds)
        except asyncio.TimeoutError as error:
            msg = f"the request took longer than {self._options.seconds:g} seconds; repeat it later, or ask for less"
            raise RequestError(503, "TimedOut", msg) from error

    def close(self) -> None:
        """Let no further call start."""
        self._threads.shutdown(wait=False, cancel_futures=True)
