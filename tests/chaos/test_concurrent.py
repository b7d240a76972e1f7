"""Concurrent writers, searches, builds and compactions: every hit existed, with its text, while the search ran."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval import ConflictError
from pgretrieval.types import Hit
from tests.support.changing import NAME, text, until_waiting
from tests.support.chaos import LONG, Tally
from tests.support.encoder import HashedEncoder
from tests.support.vectors import maxsim

SECONDS = 60 if LONG else 5
WRITERS = SEARCHERS = 4
_STANDING = [f"standing{number}" for number in range(30)]  # never changed, must always be found
_OWN = 60  # ids of each writer
_BATCH = 5
_SEARCH_PAUSE, _WRITE_PAUSE, _REBUILD_PAUSE = 0.05, 0.25, 2.0  # seconds between calls, where the time of searches is measured
_TOLERANCE = 0.15  # score tolerance per query token for codes of 4 bits; another version differs by about 1


@dataclass
class Version:
    """A text of an id, valid from `begun` at the earliest to `ended` at the latest, by the client's clock."""

    text: str
    begun: float
    ended: float = float("inf")


@dataclass
class History:
    """Every text of every id; append-only, so threads can read while the only writer appends."""

    versions: dict[str, list[Version]] = field(default_factory=lambda: defaultdict(list))

    def was_there(self, key: str, shown: str, since: float, until: float) -> bool:
        """Return whether a search between these times may have seen the version."""
        return any(
            version.text == shown and version.begun <= until and version.ended >= since
            for version in list(self.versions.get(key, ()))
        )

    def now(self) -> dict[str, str]:
        """The final passages, when all threads have stopped."""
        return {key: held[-1].text for key, held in self.versions.items() if held[-1].ended == float("inf")}


class Run:
    """The threads, the errors they found, and durations of searches."""

    def __init__(self, url: str, tally: Tally) -> None:
        self.url = url
        self.tally = tally
        self.history = History()
        self.done = threading.Event()
        self.wrong: list[BaseException] = []
        self.spent: list[float] = []
        self.retries = self.turns = 0

    def thread(self, job: Callable[[pgretrieval.Collection], None]) -> threading.Thread:
        """Run a job repeatedly, with its own database handle."""

        def work() -> None:
            try:
                with pgretrieval.connect(url=self.url) as database:
                    docs = database.get_collection(NAME, encoder=HashedEncoder())
                    while not self.done.is_set():
                        job(docs)
            except BaseException as error:
                self.wrong.append(error)
                self.done.set()

        return threading.Thread(target=work, daemon=True)

    def writer(self, number: int) -> Callable[[pgretrieval.Collection], None]:
        """Add, update and delete its own ids; each text is a new version."""
        chosen = random.Random(number)
        keys = [f"w{number}k{place}" for place in range(_OWN)]
        versions = iter(range(1, 10**9))

        def write(docs: pgretrieval.Collection) -> None:
            batch = chosen.sample(keys, _BATCH)
            version = next(versions)
            stored = {} if chosen.random() < 0.3 else {key: text(key, version) for key in batch}
            begun = time.monotonic()
            for key, body in stored.items():
                self.history.versions[key].append(Version(body, begun))
            while not self._changed(docs, batch, stored):
                self.retries += 1
            ended = time.monotonic()
            for key in batch:
                for earlier in self.history.versions[key][: -1 if key in stored else None]:
                    earlier.ended = min(earlier.ended, ended)
            self.tally.acknowledged += _BATCH

        return write

    def _changed(self, docs: pgretrieval.Collection, batch: list[str], stored: dict[str, str]) -> bool:
        try:
            if stored:
                docs.add([{"id": key, "text": body} for key, body in stored.items()], on_conflict="update")
            else:
                docs.delete(batch)
        except ConflictError:
            return False
        return True

    def search(self, docs: pgretrieval.Collection) -> None:
        """Search for passages of the history, or for constant passages, which must be found."""
        standing = random.random() < 0.5
        key = random.choice(_STANDING if standing else sorted(self.history.versions))
        query = text(key, 0) if standing else random.choice(list(self.history.versions[key])).text
        since = time.monotonic()
        hits = docs.search(query, k=10)
        until = time.monotonic()
        self.spent.append(until - since)
        self.turns += 1
        if standing:
            assert hits[0].id == key, f"{key} was not found: {[hit.id for hit in hits]}"
        for hit in hits:
            self._existed(query, hit, since, until)

    def _existed(self, query: str, hit: Hit, since: float, until: float) -> None:
        assert self.history.was_there(hit.id, hit.text, since, until), f"{hit.id} did not have the text {hit.text!r}"
        asked = HashedEncoder().encode_query([query])[0]
        best = maxsim(asked, HashedEncoder().encode_document([hit.text])[0])
        assert hit.score == pytest.approx(best, abs=_TOLERANCE * len(asked)), f"the score of {hit.id} is not that of its text"

    def seconds(self, jobs: list[Callable[[pgretrieval.Collection], None]], seconds: float) -> None:
        """Run jobs concurrently."""
        self.done.clear()
        threads = [self.thread(job) for job in jobs]
        for thread in threads:
            thread.start()
        self.done.wait(seconds)
        self.done.set()
        for thread in threads:
            thread.join(120)
        if self.wrong:
            raise self.wrong[0]


def begin(url: str, history: History) -> None:
    """Build the constant passages and the first version of all others."""
    bodies = {key: text(key, 0) for key in _STANDING}
    bodies |= {f"w{number}k{place}": text(f"w{number}k{place}", 0) for number in range(WRITERS) for place in range(_OWN)}
    with pgretrieval.connect(url=url) as database:
        docs = database.create_collection(NAME, encoder=HashedEncoder())
        docs.add([{"id": key, "text": body} for key, body in bodies.items()])
        docs.build()
    for key, body in bodies.items():
        history.versions[key].append(Version(body, 0.0))


def remake(docs: pgretrieval.Collection) -> None:
    """Rebuild, or part of a rebuild."""
    getattr(docs, "rebuild", docs.build)()


def compact(docs: pgretrieval.Collection) -> None:
    """Compact repeatedly, with pauses."""
    docs.compact()
    time.sleep(0.05)


def p95(spent: list[float]) -> float:
    return float(np.percentile(spent, 95)) * 1e3


def paced(job: Callable[[pgretrieval.Collection], None], pause: float) -> Callable[[pgretrieval.Collection], None]:
    """Run with pauses, so that processors are not the bottleneck."""

    def work(docs: pgretrieval.Collection) -> None:
        job(docs)
        time.sleep(pause)

    return work


def test_everything_at_once(database_url: str):
    """Searches return no deleted passages and no text with the codes of another version, and find all constant passages."""
    tally = Tally(f"{WRITERS} writers, {SEARCHERS} searchers, rebuilds and compactions for {SECONDS} s", runs=1)
    run = Run(database_url, tally)
    begin(database_url, run.history)
    writers = [run.writer(number) for number in range(WRITERS)]
    run.seconds([*writers, *[run.search] * SEARCHERS, remake, compact], SECONDS)
    tally.look(database_url, run.history.now())
    assert tally.acknowledged > 10 * SECONDS
    searchers = [paced(run.search, _SEARCH_PAUSE)] * SEARCHERS
    run.spent = []
    run.seconds(searchers, max(2.0, SECONDS / 4))
    quiet, run.spent = p95(run.spent), []
    slow_writers = [paced(write, _WRITE_PAUSE) for write in writers]
    run.seconds([*slow_writers, *searchers, paced(remake, _REBUILD_PAUSE), paced(compact, _REBUILD_PAUSE)], max(2.0, SECONDS / 2))
    busy = p95(run.spent)
    tally.look(database_url, run.history.now())
    tally.faults = run.retries
    tally.note = (
        f"{run.turns:,} searches; at a pace p95 {quiet:.1f} ms quiet, {busy:.1f} ms meanwhile; faults are conflicts tried again"
    )
    if LONG:
        assert busy <= 2 * quiet, tally.note
    tally.report()


def test_a_passage_added_and_deleted_at_the_start_of_a_compaction(database_url: str):
    """A passage added and removed while a compaction begins leaves no posting."""
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection(NAME, encoder=HashedEncoder())
        docs.auto_compact = False
        docs.add([{"id": f"p{number}", "text": text(f"p{number}", 1)} for number in range(30)])
        docs.build()
        docs.add([{"id": "early", "text": "an early one"}])
        with psycopg.connect(database_url) as holding:
            holding.execute("select from pgretrieval.segment for update")
            compacting = threading.Thread(target=docs.compact)
            compacting.start()
            until_waiting(database_url)
            docs.add([{"id": "late", "text": "a late one"}])
            docs.delete(["late"])
            holding.rollback()
        compacting.join(60)
        assert docs.check() == []
