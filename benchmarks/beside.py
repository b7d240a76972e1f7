"""Latency of searches while a collection changes: the same searches alone and during writes, rebuilds and compactions.

    python benchmarks/beside.py [--passages 4000] [--rate 8] [--seconds 15]

Searches start at a fixed rate whatever their predecessors' latency, which counts from the scheduled time. All other work runs
continuously in separate processes; processes that only count show the effect of the processors alone. Some states are repeated
with searches on their own processor. Vectors are computed from hashes of words, so no model is measured. Needs Linux and two
processors. Writes benchmarks/results/beside.md.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import multiprocessing
import os
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import psutil
import psycopg
from numpy.typing import NDArray

import pgretrieval
from benchmarks import machine, vectors
from benchmarks.run import RESULTS, say, serving
from pgretrieval.types import Float32Array

_NAME, _SEARCHING = "docs", "searching"
_WRITERS, _BATCH, _SEARCHERS = 4, 5, 8
_DIM, _WORDS, _OF_NEIGHBOUR = 64, 48, 0.5
_QUERIES, _ROUNDS = 500, 2
_QUIET, _ALL, _COUNTING = "quiet", "4 writers, rebuilds and compactions", "6 processes that count"
_WARMED = 1.0  # seconds of concurrent work before searches are measured
_SAMPLE_SECONDS = 0.02  # seconds between two samples of wait events
_FORKING = multiprocessing.get_context("forkserver")  # its fork server has imported this module
_PROCESSORS = os.sched_getaffinity(0)

Job = Callable[[Any], None]
"""Work of a process, which increments the given counter."""


class Encoder:
    """One vector per word, computed from hashes of the word and of its predecessor."""

    def encode_query(self, texts: Sequence[str]) -> list[Float32Array]:
        """Encode like passages."""
        return self.encode_document(texts)

    def encode_document(self, texts: Sequence[str]) -> list[Float32Array]:
        """Return (words, dim) arrays."""
        return [self._encode(text.lower().split()) for text in texts]

    def _encode(self, words: list[str]) -> Float32Array:
        rows = [_direction(word) + _OF_NEIGHBOUR * _direction(before) for before, word in itertools.pairwise(["", *words])]
        stacked = np.stack(rows)
        return stacked / np.linalg.norm(stacked, axis=1, keepdims=True)


@lru_cache(None)
def _direction(word: str) -> Float32Array:
    return np.random.default_rng(list(word.encode())).standard_normal(_DIM).astype(np.float32)


def texts(count: int) -> list[str]:
    """The first words of the first passages of wiki_movies."""
    with gzip.open(vectors.data_folder() / "wiki_movies" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [" ".join(json.loads(line)["text"].split()[:_WORDS]) for line in itertools.islice(lines, count)]


# --- what goes on beside searches ------------------------------------------------------------------------------------------------


def count(done: Any) -> None:
    """Occupy a processor."""
    done.value = 0
    while True:
        pass


def write(url: str, number: int, passages: int, done: Any) -> None:
    """Replace passages, and delete and re-add some, repeatedly; each writer has its own."""
    bodies, chosen = texts(passages), random.Random(number)
    own = range(number, passages, _WRITERS)
    with pgretrieval.connect(url=url) as database:
        docs = database.get_collection(_NAME, encoder=Encoder())
        done.value = 0
        while True:
            batch = chosen.sample(own, _BATCH)
            if chosen.random() < 0.25:
                docs.delete([str(place) for place in batch])
            docs.add([{"id": str(place), "text": chosen.choice(bodies)} for place in batch], on_conflict="update")
            done.value += _BATCH


def rebuild(url: str, done: Any) -> None:
    """Rebuild repeatedly."""
    with pgretrieval.connect(url=url) as database:
        docs = database.get_collection(_NAME, encoder=Encoder())
        done.value = 0
        while True:
            docs.rebuild()
            done.value += 1


def compact(url: str, done: Any) -> None:
    """Compact repeatedly."""
    with pgretrieval.connect(url=url) as database:
        docs = database.get_collection(_NAME, encoder=Encoder())
        done.value = 0
        while True:
            docs.compact()
            done.value += 1


@contextmanager
def concurrently(jobs: Sequence[Job], where: set[int]) -> Iterator[list[Any]]:
    """Run each job in its own process on these processors, starting when all are ready; yields their counts."""
    counts = [_FORKING.Value("q", -1) for _ in jobs]
    processes = [
        _FORKING.Process(target=begin, args=(where, job, done), daemon=True) for job, done in zip(jobs, counts, strict=True)
    ]
    for process in processes:
        process.start()
    try:
        while any(one.value < 0 for one in counts):
            time.sleep(0.1)
        time.sleep(_WARMED)
        yield counts
    finally:
        for process in processes:
            process.kill()
            process.join()


def begin(where: set[int], job: Job, done: Any) -> None:
    """Start of the new process."""
    os.sched_setaffinity(0, where)
    job(done)


# --- searches --------------------------------------------------------------------------------------------------------------------


@dataclass
class Measured:
    """Results of one state.

    For each search: milliseconds from the scheduled time, while its thread or session waited for a processor, and while either
    computed. Also how often a session worked or waited, by wait event, and counts and seconds of the concurrent jobs.
    """

    spent: list[float] = field(default_factory=list)
    queued: list[float] = field(default_factory=list)
    computed: list[float] = field(default_factory=list)
    samples: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def processors(*numbers: int) -> NDArray[np.float64]:
    """Milliseconds that processes or threads have computed, and waited for a processor, from Linux."""
    times = [Path(f"/proc/{number}/schedstat").read_text().split()[:2] for number in numbers]
    return np.array(times, dtype=np.float64).sum(axis=0) / 1e6


def watched(docs: pgretrieval.Collection) -> Callable[[Float32Array], NDArray[np.float64]]:
    """Searches with the milliseconds that their thread and session computed and waited for a processor."""
    pool, now = docs._database._pool, threading.local()
    take = pool.take

    def taking(lease: Any) -> Any:
        connection = take(lease)
        now.session = connection.info.backend_pid
        now.before = processors(now.session)
        return connection

    def search(query: Float32Array) -> NDArray[np.float64]:
        docs.search(vectors=query, k=10)
        return processors(now.session) - now.before

    pool.take = taking  # type: ignore[method-assign]
    return search


def offer(
    search: Callable[[Float32Array], NDArray[np.float64]],
    url: str,
    queries: Sequence[Float32Array],
    rate: float,
    seconds: float,
    into: Measured,
) -> None:
    """Run searches at a rate, in threads that take the next scheduled one."""
    turns = list(range(int(rate * seconds)))[::-1]
    failed: list[BaseException] = []
    started = time.perf_counter() + 0.1

    def work() -> None:
        own = threading.get_native_id()
        try:
            while turns:
                turn = turns.pop()
                due, before = started + turn / rate, processors(own)
                time.sleep(max(0.0, due - time.perf_counter()))
                computed, queued = search(queries[turn % len(queries)]) + processors(own) - before
                into.spent.append((time.perf_counter() - due) * 1e3)
                into.queued.append(queued)
                into.computed.append(computed)
        except BaseException as error:
            failed.append(error)

    searchers = [threading.Thread(target=work, daemon=True) for _ in range(_SEARCHERS)]
    for searcher in searchers:
        searcher.start()
    with psycopg.connect(url, autocommit=True) as connection:
        while any(searcher.is_alive() for searcher in searchers):
            into.samples.update(row[0] for row in connection.execute(_WAITS, [_SEARCHING]))
            time.sleep(_SAMPLE_SECONDS)
    if failed:
        raise failed[0]


_WAITS = """
    select coalesce(wait_event_type || ' ' || wait_event, 'works') from pg_stat_activity
    where application_name = %s and state = 'active' and wait_event_type is distinct from 'Client'
"""


def arrange(url: str, *, apart: bool) -> set[int]:
    """Assign one processor to searching sessions and this thread and the rest to other server processes, or all to all.

    Returns the processors of the others.
    """
    first = {min(_PROCESSORS)}
    own, others = (first, _PROCESSORS - first) if apart else (_PROCESSORS, _PROCESSORS)
    os.sched_setaffinity(0, own)
    with psycopg.connect(url, autocommit=True) as connection:
        server = psutil.Process(connection.info.backend_pid).parent()
        for process in [server, *server.children()]:
            process.cpu_affinity(list(others))
        for (pid,) in connection.execute("select pid from pg_stat_activity where application_name = %s", [_SEARCHING]):
            os.sched_setaffinity(pid, own)
    return others


# --- the table -------------------------------------------------------------------------------------------------------------------


def states(url: str, passages: int) -> list[tuple[str, bool, list[tuple[str, Job]]]]:
    """The measured states: a name, whether searches have their own processor, and jobs with the unit of their counts."""
    writers: list[tuple[str, Job]] = [("passages", partial(write, url, number, passages)) for number in range(_WRITERS)]
    builds: list[tuple[str, Job]] = [("rebuilds", partial(rebuild, url))]
    tidying: list[tuple[str, Job]] = [("compactions", partial(compact, url))]
    counting: list[tuple[str, Job]] = [("", count)]
    return [
        (_QUIET, False, []),
        ("2 processes that count", False, counting * 2),
        ("4 processes that count", False, counting * 4),
        (_COUNTING, False, counting * 6),
        ("4 writers", False, writers),
        ("rebuilds", False, builds),
        ("compactions", False, tidying),
        (_ALL, False, writers + builds + tidying),
        (_QUIET, True, []),
        (_COUNTING, True, counting * 6),
        (_ALL, True, writers + builds + tidying),
    ]


def measure(passages: int, rate: float, seconds: float) -> dict[tuple[str, bool], Measured]:
    """Measure every state twice, on one collection."""
    bodies = texts(passages)
    found: dict[tuple[str, bool], Measured] = defaultdict(Measured)
    with ExitStack() as stack:
        served = stack.enter_context(serving())
        made = served.create_collection(_NAME, encoder=Encoder())
        made.add([{"id": str(place), "text": body} for place, body in enumerate(bodies)])
        made.build()
        url = f"{served.url}{'&' if '?' in served.url else '?'}application_name={_SEARCHING}"
        docs = stack.enter_context(pgretrieval.connect(url=url)).get_collection(_NAME, encoder=Encoder())
        words = random.Random(0)
        queries = Encoder().encode_query([" ".join(words.choice(bodies).split()[3:11]) for _ in range(_QUERIES)])
        with ExitStack() as warm:  # as many sessions as threads
            for _ in range(_SEARCHERS):
                warm.enter_context(docs._database.connection("warming up"))
        search = watched(docs)
        for query in queries[:50]:
            search(query)
        for number in range(_ROUNDS):
            for name, apart, jobs in states(served.url, passages):
                one = found[name, apart]
                where = arrange(served.url, apart=apart)
                with concurrently([job for _, job in jobs], where) as counts:
                    before, started = [done.value for done in counts], time.perf_counter()
                    offer(search, served.url, queries, rate, seconds, one)
                    one.seconds += time.perf_counter() - started
                    for (what, _), done, earlier in zip(jobs, counts, before, strict=True):
                        one.done[what] += done.value - earlier
                say({"round": number, "state": name, "apart": apart, "p95": float(np.percentile(one.spent, 95))})
    return found


def row(name: str, measured: Measured, quiet: Measured) -> str:
    """One row of the table."""
    p50, p95, p99 = np.percentile(measured.spent, [50, 95, 99])
    samples = sum(measured.samples.values())
    waits = [f"{event} {times / samples:.1%}" for event, times in measured.samples.most_common() if event != "works"]
    done = [f"{times / measured.seconds:.3g} {what}" for what, times in measured.done.items() if what]
    return (
        f"| {name} | {p50:.1f} | {p95:.1f} | {p99:.1f} | {p95 / np.percentile(quiet.spent, 95):.2f} | "
        f"{np.mean(measured.computed):.1f} | {np.mean(measured.queued):.1f} | {', '.join(waits) or 'none'} | {', '.join(done)} |"
    )


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=4000, help="how many the collection holds")
    parser.add_argument("--rate", type=float, default=8.0, help="searches a second")
    parser.add_argument("--seconds", type=float, default=15.0, help="for each state, twice")
    options = parser.parse_args()
    found = measure(options.passages, options.rate, options.seconds)
    command = f"python benchmarks/beside.py --passages {options.passages} --rate {options.rate:g} --seconds {options.seconds:g}"
    head = [
        "| during | p50 ms | p95 ms | p99 ms | p95 / quiet | computed | queued | waits | done per second |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows: dict[bool, list[str]] = {
        separate: [row(name, one, found[_QUIET, separate]) for (name, apart), one in found.items() if apart is separate]
        for separate in (False, True)
    }
    lines = [
        "# Searches during changes",
        "",
        f"`{command}`: passages of wiki_movies, {_WORDS} words at most,",
        f"{_DIM} dimensions. {len(found[_QUIET, False].spent)} searches of 8 tokens in each state, {options.rate:g} per second",
        "independent of earlier ones; milliseconds count from the scheduled time. Concurrent work runs continuously in separate",
        f"processes; a writer replaces {_BATCH} passages per call.",
        "",
        machine.as_lines(machine.describe()),
        "",
        "`computed` is the mean time that client and server compute per search, `queued` that they wait for a processor, in",
        f"milliseconds. `waits` are wait events of searching sessions, as shares of samples every {_SAMPLE_SECONDS * 1e3:.0f} ms.",
        "",
        "All on the same processors:",
        "",
        *head,
        *rows[False],
        "",
        "Searches and their server sessions on their own processor:",
        "",
        *head,
        *rows[True],
    ]
    RESULTS.mkdir(exist_ok=True)
    text = "\n".join([*lines, ""])
    (RESULTS / "beside.md").write_text(text)
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
