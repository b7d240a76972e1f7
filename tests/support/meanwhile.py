"""Work in threads during a test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS = 60


@contextmanager
def meanwhile(*jobs: Callable[[], object]) -> Iterator[None]:
    """Repeat each job in a thread, at least once before and once after the block; none may raise."""
    done = threading.Event()
    rounds = [0] * len(jobs)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            while not done.is_set():
                jobs[number]()
                rounds[number] += 1
        except BaseException as error:
            failures.append(error)

    def one_more_each() -> None:
        wanted = [count + 2 for count in rounds]  # the first may have begun earlier
        deadline = time.monotonic() + _SECONDS
        while any(count < want for count, want in zip(rounds, wanted, strict=True)) and not failures:
            assert time.monotonic() < deadline, f"rounds stand still at {rounds}"
            time.sleep(0.01)

    threads = [threading.Thread(target=work, args=[number], daemon=True) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    try:
        one_more_each()
        yield
        one_more_each()
    finally:
        done.set()
        for thread in threads:
            thread.join(_SECONDS)
    if failures:
        raise failures[0]
