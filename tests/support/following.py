"""A worker in a separate process: `python following.py URL COLLECTION SECONDS_PER_BATCH POLL CLAIMED`, until stopped."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pgretrieval.db.tables import queue
from pgretrieval.sync.worker import POLL
from pgretrieval.types import Float32Array
from tests.support.encoder import HashedEncoder

_SECONDS = 60


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


class SlowEncoder(HashedEncoder):
    """Encodes each batch slowly, and prints when it begins."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def encode_document(self, texts: Sequence[str]) -> list[Float32Array]:
        say(f"encoding {len(texts) if len(texts) > 1 else texts[0]}")
        time.sleep(self.seconds)
        return super().encode_document(texts)


def start(url: str, name: str, seconds: float = 0, poll: float = POLL, claimed: float = queue.CLAIMED) -> subprocess.Popen[str]:
    """Start a worker, which prints a line for each batch; its claims last for `claimed` seconds."""
    command = [sys.executable, "-W", "ignore", __file__, url, name, str(seconds), str(poll), str(claimed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1)


def until(true: Callable[[], bool], seconds: float = _SECONDS) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)


@contextmanager
def working(*jobs: Callable[[Callable[[], bool]], object]) -> Iterator[None]:
    """Run each job in a thread until stopped; none may raise."""
    done = threading.Event()
    failures: list[BaseException] = []

    def work(job: Callable[[Callable[[], bool]], object]) -> None:
        try:
            job(done.is_set)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=[job], daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join(_SECONDS)
    assert failures == []
    assert not any(thread.is_alive() for thread in threads)


def main() -> None:
    import pgretrieval
    from pgretrieval.cli.syncing import stop_on_signals

    url, name, seconds, poll, claimed = sys.argv[1:]
    queue.CLAIMED = float(claimed)
    logging.basicConfig(level=logging.INFO)
    stopped = stop_on_signals()
    with pgretrieval.connect(url=url) as database:
        docs = database.get_collection(name, encoder=SlowEncoder(float(seconds)))
        say("ready")
        database.work([docs], once=False, stopped=stopped, poll=float(poll))
    say("drained")


if __name__ == "__main__":
    main()
