"""A service follows the database: collections that others change, and a server that restarts."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval.encode import CollectionEncoder
from pgretrieval.encode.shared import calls
from pgretrieval.serve import handles, health
from pgretrieval.serve.options import ServiceOptions
from pgretrieval.serve.service import Service
from tests.service.conftest import TEXTS
from tests.support.own_server import own_server
from tests.support.serving import Serving, failed, serving, until


def test_collections_that_others_create_and_drop(service: Serving, database_url: str):
    """A collection is found once it is there, not found once it is dropped, and another of its name is another."""
    service.hits(query="river")
    with pgretrieval.connect(url=database_url) as other:
        failed(service.search("new", query="tea"), 404)
        new = other.create_collection("new")
        new.add([{"id": "tea", "text": "Tea is green."}])
        assert service.hits("new", query="tea")[0]["id"] == "tea"
        new.build()
        assert service.hits("new", query="tea")[0]["id"] == "tea"
        other.drop_collection("new")
        for mode in ("late", "words", "hybrid"):
            failed(service.search("new", query="tea", mode=mode), 404)
        other.create_collection("new").add([{"id": "coffee", "text": "Coffee is black."}])
        for mode in ("late", "hybrid"):
            assert service.hits("new", query="tea", mode=mode)[0]["id"] == "coffee"
        assert service.client.get("/v1/collections/new").json()["passages"] == 1
        other.drop_collection("new")
        failed(service.client.get("/v1/collections/new"), 404)
        assert list(service.service.handles._kept) == ["docs"]
        failed(service.client.get("/v1/collections/new/passages", params={"id": "a"}), 404)
        failed(service.client.put("/v1/collections/new/passages", json={"passages": [{"id": "a", "text": "b"}]}), 404)
        failed(service.client.post("/v1/encode", json={"collection": "new", "queries": ["a"]}), 404)


def test_an_encoder_that_others_change(service: Serving, database_url: str):
    """After a rebuild with another encoder, searches and encoded vectors are of the new one."""
    before = service.client.post("/v1/encode", json={"collection": "docs", "queries": ["river"]}).json()
    service.hits(query="river", mode="late")
    with pgretrieval.connect(url=database_url) as other:
        other.get_collection("docs").rebuild(encoder="minilm@1")
        after = service.client.post("/v1/encode", json={"collection": "docs", "queries": ["river"]}).json()
        assert after["vectors"] != before["vectors"]
        assert service.hits(query="river", mode="late")[0]["id"] == "river"
        assert service.hits(query="river")[0]["id"] == "river"


def test_texts_alone_that_get_an_encoder(service: Serving, database_url: str):
    """A collection that gets token vectors is then searched by them."""
    with pgretrieval.connect(url=database_url) as other:
        texts = other.create_collection("texts", encoder="none")
        texts.add(TEXTS)
        failed(service.search("texts", query="river", mode="late"), 400)
        assert service.client.get("/v1/collections/texts").json()["modes"] == ["words"]
        texts.rebuild(encoder="minilm")
        assert "encode" in service.search("texts", query="river").json()["milliseconds"]
        assert service.hits("texts", query="river", mode="late")[0]["id"] == "river"


def test_collections_with_the_same_encoder_share_a_model(service: Serving, database_url: str, minilm: CollectionEncoder):
    with pgretrieval.connect(url=database_url) as other:
        other.create_collection("more", encoder="minilm").add(TEXTS)
    for name in ("docs", "more"):
        service.hits(name, query="river")
        assert service.service.handles.use(name, lambda collection: collection.encoder)._model is minilm._model


def test_the_collections_used_last_are_kept(database: pgretrieval.RetrievalDatabase, monkeypatch: pytest.MonkeyPatch):
    """Of more collections than are kept open, the one that was not used for longest is opened again."""
    monkeypatch.setattr(handles, "KEPT", 2)
    for name in ("a", "b", "c"):
        database.create_collection(name, encoder="none")
    kept = handles.Handles(database)
    opened = {name: kept.use(name, lambda collection: collection) for name in ("a", "b")}
    assert kept.use("a", lambda collection: collection) is opened["a"]
    kept.use("c", lambda collection: collection)
    assert kept.use("a", lambda collection: collection) is opened["a"]
    assert kept.use("b", lambda collection: collection) is not opened["b"]


def test_models_are_loaded_before_requests(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection):
    """Each collection's model has computed once; one that has none does not keep the others from it."""
    database.create_collection("a given one").add([{"id": "x", "text": "one"}], vectors=[[[1.0] + [0.0] * 63]])
    service = Service(database, ServiceOptions())
    before = sum(calls.by_texts().values())
    service.warm()
    assert sum(calls.by_texts().values()) == before + 1


def test_a_database_that_is_away_at_the_start(database: pgretrieval.RetrievalDatabase, caplog: pytest.LogCaptureFixture):
    """The service starts, says so in its log, and is ready once the database is."""
    service = Service(database, ServiceOptions())
    database.close()
    service.warming = True
    service.warm()
    assert "no model is loaded yet" in caplog.text
    assert not service.warming


def test_it_is_not_ready_while_it_loads_models(service: Serving):
    service.service.warming = True
    assert failed(service.client.get("/readyz"), 503)["type"] == "StartingUp"
    assert service.hits(query="river")[0]["id"] == "river"
    service.service.warming = False
    assert service.client.get("/readyz").json() == {"status": "ready"}


def test_a_database_that_does_not_answer(service: Serving, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch):
    """It is not ready, and says so after a while."""
    monkeypatch.setattr(health, "_SECONDS", 0.3)
    with connection.transaction():
        connection.execute("lock table pgretrieval.schema_version in access exclusive mode")
        assert failed(service.client.get("/readyz"), 503)["type"] == "TimedOut"
    assert service.client.get("/readyz").status_code == 200


def test_the_server_restarts(minilm: CollectionEncoder):
    """While the server is down, requests get 503 and the service is not ready; once it is up, both are well again."""
    with own_server() as server, pgretrieval.connect(url=server.url) as database:
        database.create_collection("docs").add(TEXTS)
        with serving(database) as running:
            assert running.hits(query="river")[0]["id"] == "river"
            assert running.client.get("/readyz").status_code == 200
            server.stop()
            error = failed(running.search(query="river"), 503)
            assert error["type"] == "DatabaseUnavailableError"
            assert str(server.folder) not in str(error)
            failed(running.client.get("/readyz"), 503)
            assert running.client.get("/healthz").status_code == 200
            server.start()
            until(lambda: running.client.get("/readyz").status_code == 200)
            assert running.hits(query="river")[0]["id"] == "river"
            server.kill()
            failed(running.search(query="river"), 503)
            server.start()
            assert running.hits(query="river")[0]["id"] == "river"


def test_a_schema_that_does_not_fit(service: Serving, connection: object):
    """A database that is not of this version is not ready."""
    connection.execute("update pgretrieval.schema_version set version_num = '0999'")  # type: ignore[attr-defined]
    assert failed(service.client.get("/readyz"), 503)["type"] == "SchemaError"
