"""Limits on size, number and time; slow clients, and clients that leave."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import psycopg
import pytest

import pgretrieval
from pgretrieval.encode import CollectionEncoder
from pgretrieval.serve.body import read_body
from pgretrieval.serve.errors import RequestError
from pgretrieval.serve.options import ServiceOptions
from tests.support.serving import SECONDS, Serving, failed, serving, until

SEARCH = "/v1/collections/docs/search"
ASKED = {"query": "a river", "mode": "late", "k": 1}


class Gate:
    """A model that waits in `encode_query` until it is opened."""

    def __init__(self, model: Any) -> None:
        self._encode = model.encode_query
        self.calls: list[int] = []
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, texts: Sequence[str]) -> Any:
        self.calls.append(len(texts))
        self.entered.set()
        assert self.opened.wait(SECONDS)
        return self._encode(texts)


@pytest.fixture
def gate(minilm: CollectionEncoder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Make queries wait in the model."""
    model = minilm._model.loaded()
    gate = Gate(model)
    monkeypatch.setattr(model, "encode_query", gate)
    yield gate
    gate.opened.set()


@contextmanager
def waiting(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Make searches wait in the database."""
    with connection.transaction():
        connection.execute("lock table pgretrieval.passage in access exclusive mode")
        yield


def test_a_body_with_a_length(database: pgretrieval.RetrievalDatabase):
    """A body that says that it is too long is refused before it is read, and the connection stays usable."""
    with serving(database, max_body=2_000) as running:
        error = failed(running.client.post(SEARCH, content=b"x" * 2_001), 413)
        assert "2,000 bytes" in error["message"]
        assert failed(running.client.post(SEARCH, content=b"x" * 3_000_000), 413)
        assert failed(running.client.post(SEARCH, content=b"x" * 2_000), 400)
        assert running.client.get("/v1/collections").status_code == 200


def test_a_body_in_chunks(database: pgretrieval.RetrievalDatabase):
    """A body without a length is refused at the limit."""
    with serving(database, max_body=2_000) as running:
        failed(running.client.post(SEARCH, content=iter([b"x" * 500] * 100)), 413)
        failed(running.client.post(SEARCH, content=iter([b"x" * 500] * 4)), 400)


def test_a_length_is_refused_before_the_body_arrives(service: Serving):
    with service.connect() as connection:
        connection.sendall(b"POST /v1/encode HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9000000000\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_in_drops(database: pgretrieval.RetrievalDatabase):
    """A body that never pauses for long still has the time of a request only."""
    with serving(database, seconds=0.5) as running, running.connect() as connection:
        connection.sendall(b"POST /v1/encode HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n")
        connection.settimeout(0.1)
        deadline, answer = time.monotonic() + SECONDS, b""
        while not answer:
            assert time.monotonic() < deadline
            with suppress(OSError):
                connection.sendall(b" ")
            with suppress(TimeoutError):
                answer = connection.recv(2_000)
        assert b"SlowRequest" in answer


@pytest.mark.parametrize(
    ("length", "messages", "status", "kind"),
    [
        (b"10", [{"type": "http.request", "body": b"{}", "more_body": True}, {"type": "http.disconnect"}], 400, "ClientLeft"),
        (b"9" * 5_000, [], 413, "TooLarge"),
    ],
)
def test_bodies_that_are_not_complete(length: bytes, messages: list[dict[str, Any]], status: int, kind: str):
    """Half a body is none, and a length of thousands of digits is no number to be read."""

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def read() -> bytes:
        deadline = asyncio.get_running_loop().time() + SECONDS
        return await read_body({"headers": [(b"content-length", length)]}, receive, ServiceOptions(), deadline)

    with pytest.raises(RequestError) as raised:
        asyncio.run(read())
    assert (raised.value.status, raised.value.kind) == (status, kind)


def test_headers_without_end(service: Serving):
    with service.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000)
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_more_requests_than_may_wait(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, gate: Gate):
    """Beyond those at work and those that may wait, requests get 429; probes are answered; none of the others is lost."""
    with serving(database, concurrency=2) as running, ThreadPoolExecutor(10) as threads:
        futures = [threads.submit(httpx.post, f"{running.url}{SEARCH}", json=ASKED, timeout=SECONDS) for _ in range(10)]
        until(lambda: running.service.calls.inside == 10)
        until(lambda: running.service.calls.waiting == 8)
        refused = running.search(**ASKED)
        assert failed(refused, 429)["type"] == "TooManyRequests"
        assert refused.headers["Retry-After"] == "1"
        assert running.client.get("/healthz").status_code == 200
        text = running.client.get("/metrics").text
        assert "pgretrieval_requests_waiting 8.0" in text
        assert "pgretrieval_requests_running 2.0" in text
        gate.opened.set()
        assert {future.result().status_code for future in futures} == {200}
        assert running.service.calls.inside == 0
        until(lambda: running.service.calls.running == 0)


def model_texts(service: Serving) -> dict[str, float]:
    """Calls of models by their number of texts, and the sum of all texts."""
    text = service.client.get("/metrics").text
    found = re.findall(r'pgretrieval_model_texts_(?:bucket\{le="([^"]+)"\}|(sum)) (\S+)', text)
    return {bucket or name: float(value) for bucket, name, value in found}


def test_waiting_queries_are_encoded_together(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, gate: Gate):
    """Queries of several requests are one call of the model; each gets its own hits."""
    queries = ["salty sea", "a bank lends", "paid back", "river flows"]
    with serving(database) as running, ThreadPoolExecutor(5) as threads:
        first = threads.submit(running.hits, **ASKED)
        assert gate.entered.wait(SECONDS)
        futures = [threads.submit(running.hits, query=query, mode="late", k=1) for query in queries]
        until(lambda: running.service.calls.running == 5)
        time.sleep(0.2)
        before = model_texts(running)
        gate.opened.set()
        assert first.result()[0]["id"] == "river"
        assert [future.result()[0]["id"] for future in futures] == ["sea", "bank", "loan", "river"]
        assert gate.calls == [1, 4]
        after = model_texts(running)
        more = {name: after[name] - before[name] for name in after}
        assert more == {**dict.fromkeys(more, 1), "1.0": 0, "2.0": 0, "sum": 4}


def test_a_request_that_takes_too_long(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, connection: psycopg.Connection[Any]
):
    """It gets 503, its statement is cancelled, and its place is free."""
    with serving(database, seconds=3.0, concurrency=1) as running:
        running.hits(**ASKED)
        with waiting(connection):
            answer = running.search(**ASKED)
            assert "longer than 3 seconds" in failed(answer, 503)["message"]
            assert answer.headers["Retry-After"] == "1"
            until(lambda: not _waits(connection))
        until(lambda: running.service.calls.running == 0)
        assert running.hits(**ASKED)[0]["id"] == "river"


def test_a_client_that_leaves(service: Serving, connection: psycopg.Connection[Any]):
    """Its statement is cancelled, its place is free, and later requests are answered."""
    service.hits(**ASKED)
    with waiting(connection):
        leaving = service.connect()
        leaving.sendall(_post(SEARCH, ASKED))
        until(lambda: _waits(connection))
        assert "pgretrieval_connections_in_use 1.0" in service.client.get("/metrics").text
        leaving.close()
        until(lambda: not _waits(connection))
    until(lambda: service.service.calls.running == 0)
    assert service.service.calls.inside == 0
    assert 'status="400"} 1.0' in service.client.get("/metrics").text
    assert service.hits(**ASKED)[0]["id"] == "river"


def test_a_change_whose_client_leaves_is_stored_entirely_or_not_at_all(
    service: Serving, docs: pgretrieval.Collection, connection: psycopg.Connection[Any]
):
    passages = {"passages": [{"id": f"new {number}", "text": "tea"} for number in range(20)]}
    with waiting(connection):
        leaving = service.connect()
        leaving.sendall(_post("/v1/collections/docs/passages", passages, "PUT"))
        until(lambda: _waits(connection))
        leaving.close()
        until(lambda: not _waits(connection))
    until(lambda: service.service.calls.running == 0)
    assert len(docs.get([f"new {number}" for number in range(20)])) in (0, 20)
    assert docs.check() == []
    assert service.client.put("/v1/collections/docs/passages", json={**passages, "on_conflict": "skip"}).status_code == 200
    assert len(docs.get([f"new {number}" for number in range(20)])) == 20


@pytest.fixture
def impatient(database: pgretrieval.RetrievalDatabase) -> Iterator[Serving]:
    """A service that looks at its connections four times a second."""
    with serving(database, patience=0.25) as running:
        yield running


def test_a_body_that_stops_arriving(impatient: Serving):
    """It is given up after the patience, not only after the time of a request."""
    with impatient.connect() as connection:
        began = time.monotonic()
        connection.sendall(b"POST /v1/encode HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
        answer = b""
        while not answer.endswith(b"}}"):
            answer += connection.recv(2_000)
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"the body stopped arriving after 1 bytes" in answer
        assert time.monotonic() - began < impatient.service.options.seconds / 2
    assert impatient.service.calls.inside == 0


def test_headers_that_stop_arriving(impatient: Serving):
    """A connection without a request is closed, one with half a request, too; drops do not keep it."""
    with impatient.connect() as silent, impatient.connect() as half:
        half.sendall(b"GET / HTTP/1.1\r\nhost: ")
        for _ in range(13):  # more than twice the patience
            with suppress(OSError):
                half.sendall(b"x")
            time.sleep(0.05)
        for connection in (silent, half):
            answer = connection.recv(2_000)
            assert answer.startswith(b"HTTP/1.1 400")
            assert b"no request arrived within 0.25 seconds" in answer
            assert connection.recv(1) == b""


def test_an_answer_that_nobody_reads(impatient: Serving, database: pgretrieval.RetrievalDatabase):
    """A connection whose client does not read its answer is closed."""
    database.create_collection("texts", encoder="none").add([{"id": "x", "text": "x", "metadata": {"long": "x" * 20_000_000}}])
    with impatient.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.sendall(b"GET /v1/collections/texts/passages?id=x HTTP/1.1\r\nhost: localhost\r\n\r\n")
        until(lambda: any(each.transport.get_write_buffer_size() for each in impatient.connections))
        until(lambda: not impatient.connections)
    assert impatient.client.get("/healthz").status_code == 200


def test_a_pause_between_requests(impatient: Serving):
    """A connection may rest between two requests, for longer than usual proxies let it."""
    assert impatient.client.get("/healthz").status_code == 200
    port = impatient.client.get("/healthz").extensions["network_stream"].get_extra_info("client_addr")
    time.sleep(0.8)
    assert impatient.client.get("/healthz").extensions["network_stream"].get_extra_info("client_addr") == port
    assert {connection.timeout_keep_alive for connection in impatient.connections} == {75}


def test_a_request_after_the_database_was_closed(service: Serving, database: pgretrieval.RetrievalDatabase):
    """It gets 503, and keeps no place."""
    database.close()
    assert failed(service.search(**ASKED), 503)["type"] == "DatabaseUnavailableError"
    assert (service.service.calls.inside, service.service.calls.running) == (0, 0)


def test_what_never_ends_does_not_delay_the_end(database: pgretrieval.RetrievalDatabase, monkeypatch: pytest.MonkeyPatch):
    """A stream, which is no request at work, ends with the service."""
    streaming = threading.Event()

    async def stream(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        streaming.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("tests.support.serving.create_app", lambda _service: stream)
    with serving(database, patience=0.25) as running, running.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert streaming.wait(SECONDS)
        ending = time.monotonic()
        running.service.draining = True
        until(lambda: not running.thread.is_alive())
        assert time.monotonic() - ending < 10


def test_answers_are_sent_at_once(service: Serving):
    """No answer waits for the client's acknowledgement of its first part, which takes 40 ms."""
    with service.connect():
        until(lambda: service.connections)
        connection = next(iter(service.connections)).transport.get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_model_that_fails(service: Serving, minilm: CollectionEncoder, monkeypatch: pytest.MonkeyPatch):
    """It is 503 for the requests that need the model, and searches by words go on."""
    model = minilm._model.loaded()

    def fail(_texts: Sequence[str]) -> Any:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as broken:
        broken.setattr(model, "encode_query", fail)
        error = failed(service.search(**ASKED), 503)
        assert error["type"] == "EncoderError"
        assert service.hits(query="river", mode="words")[0]["id"] == "river"
    assert service.hits(**ASKED)[0]["id"] == "river"


def test_an_unexpected_error(service: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """It is logged with its traceback; the caller gets its number."""

    def fail(*_given: Any, **_options: Any) -> Any:
        raise ZeroDivisionError("in the library")

    monkeypatch.setattr(pgretrieval.Collection, "explain", fail)
    error = failed(service.search(**ASKED), 503)
    assert error["type"] == "UnexpectedError"
    assert "ZeroDivisionError: in the library" in caplog.text
    assert caplog.records[0].getMessage().split()[1].strip(":") in error["remedy"]


def test_the_log_has_no_queries(service: Serving, caplog: pytest.LogCaptureFixture):
    """A request is one line, however long its path: method, path, status, milliseconds and client."""
    with caplog.at_level("INFO", "pgretrieval.serve"):
        service.hits(query="secret words")
        failed(service.search(query="secret words", mode="dense"), 400)
        service.client.get("/v1/collections/docs/passages", params={"id": "secret"})
        service.client.get(f"/v1/{'x' * 5_000}")
        until(lambda: len(caplog.records) >= 4)
    assert len(caplog.records.pop().getMessage()) < 400
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split()[:3] for line in lines] == [
        ["POST", SEARCH, "200"],
        ["POST", SEARCH, "400"],
        ["GET", "/v1/collections/docs/passages", "200"],
    ]
    assert "secret" not in caplog.text


def _waits(connection: psycopg.Connection[Any]) -> bool:
    """Return whether a statement of the service waits for a lock."""
    row = connection.execute(
        """select count(*) from pg_stat_activity
           where datname = current_database() and application_name = 'pgretrieval' and wait_event_type = 'Lock'"""
    ).fetchone()
    assert row is not None
    return bool(row[0])


def _post(path: str, asked: dict[str, Any], method: str = "POST") -> bytes:
    content = json.dumps(asked).encode()
    return f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content
