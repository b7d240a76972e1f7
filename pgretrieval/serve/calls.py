"""Calls of the library from the event loop: so many at once, each with a time, and cancelled when nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from pgretrieval.asynchronous import finish
from pgretrieval.db.connection import Database
from pgretrieval.serve.errors import RequestError
from pgretrieval.serve.options import ServiceOptions

_Result = TypeVar("_Result")


class Calls:
    """Places for requests. All methods belong to the event loop.

    `inside` counts requests from their first byte to their answer, `waiting` those that wait for a place, `running` those at work.
    A place is free again when the work of a request has ended, which can be after its answer.
    """

    def __init__(self, database: Database, options: ServiceOptions) -> None:
        self.inside = self.waiting = self.running = 0
        self._database = database
        self._options = options
        self._places = asyncio.Semaphore(options.concurrency)

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request. Raises RequestError (429) if as many wait as may."""
        if self.inside >= self._options.concurrency + self._options.waiting:
            msg = f"{self.inside} requests are at work or wait; repeat the request in a second"
            raise RequestError(429, "TooManyRequests", msg)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    async def run(self, call: Callable[[], _Result], left: asyncio.Future[None], deadline: float) -> _Result:
        """Return the result of a call in a thread.

        `left` ends when the client leaves, and `deadline` is in the loop's time; the call is then cancelled where it waits for the
        server. Raises RequestError.
        """
        work = asyncio.ensure_future(self._in_turn(call))
        either: set[asyncio.Future[Any]] = {work, left}
        try:
            await asyncio.wait(either, timeout=deadline - asyncio.get_running_loop().time(), return_when="FIRST_COMPLETED")
            if work.done():
                return work.result()
        finally:
            work.cancel()
        if left.done():
            raise RequestError(400, "ClientLeft", "the client closed the connection before its answer; keep it open")
        msg = f"the request took longer than {self._options.seconds:g} seconds; repeat it later, or ask for less"
        raise RequestError(503, "TimedOut", msg)

    async def _in_turn(self, call: Callable[[], _Result]) -> _Result:
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        loop = asyncio.get_running_loop()

        def ended() -> None:
            self.running -= 1
            self._places.release()

        def leave(_done: Future[_Result]) -> None:
            with suppress(RuntimeError):  # a loop that is closed needs no place
                loop.call_soon_threadsafe(ended)

        def submit(call: Callable[[], _Result]) -> Future[_Result]:
            try:
                work = self._database.submit(call)
            except BaseException:
                ended()
                raise
            work.add_done_callback(leave)  # also called for work that is cancelled before it begins
            return work

        return await finish(submit, call)
