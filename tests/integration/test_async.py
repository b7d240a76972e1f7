"""The handles for asyncio: the loop is never blocked, cancelled calls end at once, and several loops share a handle."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval import asynchronous
from tests.fixtures.collections import Corpus
from tests.support.changing import until_waiting
from tests.support.encoder import HashedEncoder
from tests.support.vectors import clustered

_LOCKED = "lock table pgretrieval.passage in access exclusive mode"
_RUNNING = """select count(*) from pg_stat_activity
              where datname = current_database() and application_name = 'pgretrieval' and state <> 'idle'"""
TEXTS = [{"id": f"p{number}", "text": f"word{number} word{number % 7} common"} for number in range(40)]


class Slow(HashedEncoder):
    """Encodes a document in 0.3 seconds."""

    def encode_document(self, texts: Any) -> Any:
        time.sleep(0.3)
        return super().encode_document(texts)


@asynccontextmanager
async def opened(url: str, encoder: object | None = None) -> AsyncIterator[pgretrieval.AsyncCollection]:
    """The collection "docs" with an encoder, in a handle for the block."""
    async with await pgretrieval.connect_async(url=url) as database:
        if "docs" not in await database.list_collections():
            await database.create_collection("docs", encoder=encoder or HashedEncoder())
        yield await database.get_collection("docs", encoder=encoder or HashedEncoder())


@contextmanager
def locked(url: str) -> Iterator[None]:
    """No other session reads passages during the block."""
    with psycopg.connect(url) as connection:
        connection.execute(_LOCKED)
        yield


def until_idle(url: str) -> float:
    """Wait until no statement of the library runs, and return the seconds."""
    began = time.monotonic()
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(_RUNNING).fetchone() != (0,):
            assert time.monotonic() - began < 10, "a statement goes on"
            time.sleep(0.01)
    return time.monotonic() - began


async def until_free(docs: pgretrieval.AsyncCollection) -> None:
    """Wait until no call has a connection."""
    began = time.monotonic()
    while docs.sync._database._pool.lent:
        assert time.monotonic() - began < 10, "a call keeps its connection"
        await asyncio.sleep(0.01)


def stored(url: str) -> int:
    """Number of stored passages."""
    with psycopg.connect(url) as connection:
        return connection.execute("select count(*) from pgretrieval.passage").fetchone()[0]


async def cancelled(url: str, call: Coroutine[Any, Any, Any]) -> None:
    """Start a call, cancel it when it waits for a lock, and expect that its task ends at once."""
    task = asyncio.create_task(call)
    await asyncio.to_thread(until_waiting, url)
    task.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 0.05


def test_calls_return_what_the_synchronous_ones_do(database_url: str):
    """Every kind of call returns what the call of the same name of `Collection` returns."""

    async def run() -> None:
        async with pgretrieval.connect_async(url=database_url) as database:
            docs = await database.create_collection("docs", encoder=HashedEncoder(), language="simple")
            assert repr(docs) == "<AsyncCollection 'docs'>"
            assert (await docs.add(TEXTS)).passages == 40
            assert (await docs.build()).built
            assert (await docs.update([{"id": "p3", "metadata": {"odd": True}}])).updated == 1
            assert await docs.delete(["p39"]) == 1
            assert await docs.search("word5 common", 3) == docs.sync.search("word5 common", 3)
            assert await docs.search_many(["word5", "word6"]) == docs.sync.search_many(["word5", "word6"])
            assert await docs.search("common", where={"odd": True}) == docs.sync.search("common", where={"odd": True})
            assert await docs.hybrid_search("word5") == docs.sync.hybrid_search("word5")
            assert await docs.text_search("word5") == docs.sync.text_search("word5")
            assert await docs.get(["p3", "p39"]) == docs.sync.get(["p3"])
            assert (await docs.stats())["passages"] == 39
            assert await docs.check() == []
            assert await docs.settings() == docs.sync.settings
            assert await docs.encoder() is docs.sync.encoder
            assert await docs.auto_compact() is True
            await docs.set_auto_compact(False)
            assert await docs.auto_compact() is False
            assert await database.list_collections() == ["docs"]
            assert (database.url, database.data_dir) == (database.sync.url, None)
            await database.drop_collection("docs")
            with pytest.raises(pgretrieval.CollectionNotFoundError, match="docs"):
                await database.get_collection("docs")

    asyncio.run(run())


def test_the_loop_goes_on_while_16_searches_and_an_add_run(database_url: str, corpus: Corpus):
    """The event loop answers within milliseconds while searches and an add compute and wait."""

    async def lag(seconds: list[float]) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            seconds.append(time.perf_counter() - began - 0.001)

    async def run() -> list[float]:
        async with pgretrieval.connect_async(url=database_url) as database:
            docs = await database.create_collection("docs")
            await docs.add(corpus.passages, vectors=corpus.vectors)
            await docs.build()
            await docs.search(vectors=corpus.queries[0])
            lags: list[float] = []
            measuring = asyncio.create_task(lag(lags))
            more = [{"id": f"more{number}", "text": "text"} for number in range(300)]
            adding = docs.add(more, vectors=clustered(300, seed=5))
            found = await asyncio.gather(adding, *(docs.search(vectors=corpus.queries[n % 10]) for n in range(16)))
            measuring.cancel()
            assert [len(hits) for hits in found[1:]] == [10] * 16
            return lags

    lags = sorted(asyncio.run(run()))
    assert len(lags) > 20
    assert lags[len(lags) // 2] < 0.02


@pytest.mark.parametrize("name", ["search", "get", "delete", "add"])
def test_a_cancelled_call_cancels_its_statement(database_url: str, name: str):
    """A cancelled call ends at once; its statement, connection and thread end within a second, and nothing was stored."""

    async def run() -> None:
        async with opened(database_url) as docs:
            await docs.add(TEXTS)
            calls: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
                "search": lambda: docs.search("common"),
                "get": lambda: docs.get(["p1"]),
                "delete": lambda: docs.delete(all=True),
                "add": lambda: docs.add([{"id": "new", "text": "text"}]),
            }
            with locked(database_url):
                await cancelled(database_url, calls[name]())
                assert await asyncio.to_thread(until_idle, database_url) < 1
                await until_free(docs)
            assert len(await asyncio.gather(*(docs.search("common", 1) for _ in range(8)))) == 8
        assert stored(database_url) == 40

    asyncio.run(run())


def test_a_time_limit_ends_a_call(database_url: str):
    """`wait_for` ends a call that waits, also where all threads wait and the call has not begun."""

    async def run() -> None:
        async with opened(database_url) as docs:
            await docs.add(TEXTS)
            with locked(database_url):
                began = time.monotonic()
                ended = await asyncio.gather(*(asyncio.wait_for(docs.get(["p1"]), 0.3) for _ in range(20)), return_exceptions=True)
                assert time.monotonic() - began < 1
                assert {type(error) for error in ended} == {asyncio.TimeoutError}
            assert len(await docs.get(["p1"])) == 1
        assert until_idle(database_url) < 1

    asyncio.run(run())


def test_an_add_cancelled_at_any_moment_stores_everything_or_nothing(database_url: str):
    """An add that is cancelled while it encodes, waits or writes stores all passages or none, and can be repeated."""

    async def run() -> set[int]:
        seen = set()
        async with opened(database_url) as docs:
            await docs.add([{"id": "first", "text": "text"}])
            for round_, seconds in enumerate([0.0, 0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2]):
                texts = [{"id": f"r{round_}-{number}", "text": f"word{number}"} for number in range(600)]
                before = stored(database_url)
                task = asyncio.create_task(docs.add(texts))
                await asyncio.sleep(seconds)
                task.cancel()
                await asyncio.wait([task])
                await until_free(docs)
                await asyncio.to_thread(until_idle, database_url)
                seen.add(stored(database_url) - before)
                await docs.add(texts, on_conflict="skip")
        return seen

    assert asyncio.run(run()) <= {0, 600}
    assert stored(database_url) == 1 + 9 * 600


def test_a_cancelled_add_stops_before_its_next_batch(database_url: str):
    """An add that is cancelled while the model computes stops at its next statement."""

    async def run() -> None:
        encoder = Slow()
        async with opened(database_url, encoder) as docs:
            await docs.settings()
            task = asyncio.create_task(docs.add([{"id": str(number), "text": f"text {number}"} for number in range(5000)]))
            await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(1.5)
            assert encoder.encoded < 1024
            assert len(await asyncio.gather(*(docs.get(["1"]) for _ in range(8)))) == 8

    asyncio.run(run())
    assert stored(database_url) == 0


def test_a_cancelled_build_stops_at_its_next_step(database_url: str):
    """A build that is cancelled stops at its next step, and the next build continues."""

    async def run() -> None:
        steps: list[str] = []
        reached = threading.Event()

        def stage(name: str, _done: int, _total: int) -> None:
            steps.append(name)
            if name == "train":
                reached.set()
                time.sleep(0.2)

        async with opened(database_url) as docs:
            await docs.add(TEXTS)
            task = asyncio.create_task(docs.build(stage=stage))
            await asyncio.to_thread(reached.wait, 30)
            task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(0.3)
            assert steps[-1] == "train"
            assert (await docs.build()).built

    asyncio.run(run())


def test_closing_ends_calls_that_run_or_wait(database_url: str):
    """Closing ends calls in threads and calls that wait for one with DatabaseUnavailableError, as it does later ones."""

    async def run() -> None:
        database = await pgretrieval.connect_async(url=database_url)
        docs = await database.create_collection("docs", encoder=HashedEncoder())
        await docs.add(TEXTS)
        with locked(database_url):
            tasks = [asyncio.create_task(docs.get(["p1"])) for _ in range(20)]
            await asyncio.to_thread(until_waiting, database_url)
            began = time.monotonic()
            await database.close()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert time.monotonic() - began < 3
        assert {type(error) for error in ended} == {pgretrieval.DatabaseUnavailableError}
        for call in (docs.search("common"), database.list_collections()):
            with pytest.raises(pgretrieval.DatabaseUnavailableError, match="closed; connect again"):
                await call
        await database.close()

    asyncio.run(run())


def test_several_loops_share_a_handle(database_url: str):
    """Event loops of several threads use one handle at once."""
    with pgretrieval.connect(url=database_url) as database:
        docs = asynchronous.AsyncCollection(database.create_collection("docs", encoder=HashedEncoder()))
        docs.sync.add(TEXTS)

        async def run(word: str) -> list[str]:
            return [hits[0].id for hits in await asyncio.gather(*(docs.search(word, 1) for _ in range(10)))]

        with ThreadPoolExecutor(4) as threads:
            found = [threads.submit(asyncio.run, run(f"word{number}")) for number in range(10, 18)]
            assert [future.result() for future in found] == [[f"p{number}"] * 10 for number in range(10, 18)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_process_has_threads_of_its_own(database_url: str):
    """A handle whose threads have run can be used in a forked process."""
    with pgretrieval.connect(url=database_url) as database:
        docs = asynchronous.AsyncCollection(database.create_collection("docs", encoder=HashedEncoder()))
        docs.sync.add(TEXTS)

        async def run() -> list[str]:
            return [hits[0].id for hits in await asyncio.gather(*(docs.search("word9", 1) for _ in range(4)))]

        assert asyncio.run(run()) == ["p9"] * 4
        forking = multiprocessing.get_context("fork")
        answers = forking.SimpleQueue()
        child = forking.Process(target=lambda: answers.put(asyncio.run(run())))
        child.start()
        child.join(30)
        assert child.exitcode == 0
        assert answers.get() == ["p9"] * 4
        assert asyncio.run(run()) == ["p9"] * 4


def test_the_embedded_server(made_before: None, data_dir: Path):
    """The embedded server is opened, used and stopped."""

    async def run() -> None:
        async with await pgretrieval.connect_async(data_dir) as database:
            assert database.data_dir == data_dir
            docs = await database.create_collection("docs", encoder=HashedEncoder())
            await docs.add(TEXTS)
            assert (await docs.search("word9", 1))[0].id == "p9"
        assert not (data_dir / "postgres" / "postmaster.pid").exists()

    asyncio.run(run())


def test_a_cancelled_connect_leaves_nothing_open(database_url: str, monkeypatch: pytest.MonkeyPatch):
    """A handle that is opened after its task was cancelled is closed."""
    closed = threading.Event()

    def late(*arguments: Any, **options: Any) -> pgretrieval.RetrievalDatabase:
        time.sleep(0.2)
        database = pgretrieval.connect(database_url)
        database.close = closed.set  # type: ignore[method-assign]
        return database

    monkeypatch.setattr(asynchronous, "connect", late)
    monkeypatch.setattr(asynchronous, "cancellable", lambda _event, call: call())

    async def run() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pgretrieval.connect_async(database_url), 0.05)

    asyncio.run(run())
    assert closed.wait(5)


def test_connecting_does_not_block_the_loop():
    """A server that does not answer does not hold up the loop, and errors are those of `connect`."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            began = time.monotonic()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(pgretrieval.connect_async(f"postgresql://127.0.0.1:{silent.getsockname()[1]}/x"), 0.1)
            assert time.monotonic() - began < 0.5
        with pytest.raises(pgretrieval.ConfigError, match="both a URL and a data directory"):
            await pgretrieval.connect_async("postgresql://", "folder")

    asyncio.run(run())


def test_the_options_reach_connect(database_url: str):
    """`connections` limits the calls at once, and `device` is the handle's; both ways of leaving close it."""

    async def run() -> None:
        async with pgretrieval.connect_async(database_url, connections=2, device="cpu") as database:
            docs = await database.create_collection("docs", encoder=HashedEncoder())
            await docs.add(TEXTS)
            with locked(database_url):
                calls = [asyncio.create_task(docs.get(["p1"])) for _ in range(5)]
                await asyncio.to_thread(until_waiting, database_url)
                await asyncio.sleep(0.2)
                assert database.sync._database.in_use == 2
            assert all(await asyncio.gather(*calls))
            assert database.sync._device == "cpu"
        with pytest.raises(pgretrieval.DatabaseUnavailableError, match="closed"):
            await docs.get(["p1"])
        async with await pgretrieval.connect_async(database_url) as database:
            pass
        with pytest.raises(pgretrieval.DatabaseUnavailableError, match="closed"):
            await database.list_collections()

    asyncio.run(run())


def test_context_variables_reach_the_encoder(database_url: str):
    """The caller's context, such as a trace, is that of the call."""
    trace: ContextVar[str] = ContextVar("trace", default="none")
    seen: list[str] = []

    class Traced(HashedEncoder):
        def encode_query(self, texts: Any) -> Any:
            seen.append(trace.get())
            return super().encode_query(texts)

    async def run() -> None:
        async with opened(database_url, Traced()) as docs:
            await docs.add(TEXTS[:2])
            trace.set("request 7")
            await docs.search("word1")

    asyncio.run(run())
    assert seen == ["request 7"]
