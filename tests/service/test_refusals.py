"""Bad requests get their status, a message and a remedy, and nothing of the service's code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pgretrieval import errors
from pgretrieval.serve.errors import STATUSES, answer_to, body
from tests.support.serving import Serving, failed

SEARCH = "/v1/collections/docs/search"


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({}, 400, "neither query nor vectors"),
        ({"query": " "}, 400, "the query is ' '"),
        ({"query": 7}, 400, "query is 7"),
        ({"query": "a\0b"}, 400, "NUL"),
        ({"query": "a", "k": 0}, 400, "k is 0"),
        ({"query": "a", "k": "10"}, 400, "k is '10'"),
        ({"query": "a", "k": True}, 400, "k is True"),
        ({"query": "a", "k": 10**20}, 400, "k is 100000000000000000000"),
        ({"query": "a", "k": 1001}, 400, "at most 1,000"),
        ({"query": "a", "mode": "fuzzy"}, 400, "mode is 'fuzzy'"),
        ({"query": "a", "mode": "dense"}, 400, "has none"),
        ({"query": "a", "where": 7}, 400, "where is 7"),
        ({"query": "a", "where": {"$near": 1}}, 400, "no operator '$near'"),
        ({"query": "a", "where": {"year": {"$gte": [1]}}}, 400, "compares 'year'"),
        ({"query": "a", "where": "$.year >="}, 400, "where"),
        ({"query": "a", "where": "$.year ? (@ > 1)'; drop table x; --"}, 400, "where"),
        ({"query": "a", "among": "river"}, 400, "among is 'river'"),
        ({"query": "a", "among": [[]]}, 400, "among.0 is []"),
        ({"query": "a", "vectors": [[1, 2]], "mode": "late"}, 400, "either"),
        ({"vectors": [[1, 2]]}, 400, "2 dimensions"),
        ({"vectors": [[1, "x"]]}, 400, "vectors.0.1 is 'x'"),
        ({"vectors": [[0.0] * 128]}, 400, "zero"),
        ({"vectors": []}, 400, "vectors"),
        ({"query": "a", "vectors": [[0.1] * 128], "mode": "words"}, 400, "vectors is"),
        ({"vectors": [[0.1] * 128], "mode": "hybrid"}, 400, "the query is None"),
        ({"query": "a", "rerank": "evil/model"}, 400, "rerank is 'evil/model'"),
        ({"query": "a", "rerank": "/etc/passwd"}, 400, "rerank is '/etc/passwd'"),
        ({"query": "a", "min_score": "high"}, 400, "min_score is 'high'"),
        ({"query": "a", "limit": 3}, 400, "no field 'limit'"),
        ({"query": "a", "mdoe": "late"}, 400, "no field 'mdoe'"),
    ],
)
def test_searches(module_service: Serving, asked: dict[str, Any], status: int, message: str):
    error = failed(module_service.client.post(SEARCH, json=asked), status)
    assert message in f"{error['message']}; {error['remedy']}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"{'query': 'a'}",
        b"\xff\xfe",
        b'{"query": "\\ud800"}',
        b"[" * 100_000,
        b'{"query": NaN}',
        b'{"query": "a", "min_score": NaN}',
        b'{"query": "a", "min_score": -Infinity}',
        b'{"query": "a", "where": {"year": NaN}}',
        b'{"vectors": [[NaN]]}',
    ],
)
def test_bodies_that_are_no_request(module_service: Serving, content: bytes):
    failed(module_service.client.post(SEARCH, content=content), 400)


def test_deeply_nested_filters(module_service: Serving):
    where: dict[str, Any] = {"year": 1}
    for _ in range(150):
        where = {"$not": where}
    failed(module_service.client.post(SEARCH, json={"query": "a", "where": where}), 400)


def test_a_field_with_a_similar_name_is_suggested(module_service: Serving):
    assert "did you mean mode?" in failed(module_service.search(query="a", mdoe="late"), 400)["remedy"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/collections/nothing/search"),
        ("GET", "/v1/collections/nothing"),
        ("GET", "/v1/collections/nothing/check"),
        ("GET", "/v1/collections/nothing/passages?id=a"),
    ],
)
def test_an_unknown_collection(module_service: Serving, method: str, path: str):
    asked = {"query": "a"} if method == "POST" else None
    assert "no collection 'nothing'" in failed(module_service.client.request(method, path, json=asked), 404)["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/nothing"),
        ("GET", "/v1/collections/"),
        ("GET", "/v2"),
        ("PATCH", "/v1/collections"),
        ("GET", SEARCH),
        ("HEAD", "/v1/collections"),
        ("GET", "/../pyproject.toml"),
        ("GET", "/page/%2e%2e/endpoints.py"),
        ("GET", "/page/__init__.py"),
        ("OPTIONS", SEARCH),
    ],
)
def test_an_unknown_path_or_method(module_service: Serving, method: str, path: str):
    answer = module_service.client.request(method, path)
    assert answer.status_code == 404
    if method != "HEAD":
        assert failed(answer, 404)["remedy"] == "see /openapi.json for what there is"


@pytest.mark.parametrize("name", ["%ff", "%00", "%20", "x" * 600])
def test_names_that_no_collection_has(module_service: Serving, name: str):
    failed(module_service.client.get(f"/v1/collections/{name}"), 400)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.DuplicateIdError, 409),
        (errors.CollectionExistsError, 409),
        (errors.ConflictError, 409),
        (errors.EncoderChangedError, 409),
        (errors.IndexNotBuiltError, 409),
        (errors.CollectionNotFoundError, 404),
        (errors.PassageNotFoundError, 404),
        (errors.ConfigError, 400),
        (errors.InputError, 400),
        (errors.VectorError, 400),
        (errors.EncoderError, 503),
        (errors.TimedOutError, 503),
        (errors.SchemaError, 503),
        (errors.StorageError, 503),
        (errors.DatabaseUnavailableError, 503),
        (errors.PgRetrievalError, 503),
        (ZeroDivisionError, 503),
    ],
)
def test_the_status_of_each_error(kind: type[Exception], status: int):
    assert answer_to(kind("x"))[0] == status


def test_every_error_of_the_library_has_a_status():
    """Each class maps to one of the documented statuses, the class before its bases."""
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.PgRetrievalError)]
    for each in classes:
        assert next(kind for kind in STATUSES if issubclass(each, kind))
    order = list(STATUSES)
    for place, kind in enumerate(order):
        assert not any(issubclass(later, kind) for later in order[place + 1 :]), f"{kind} hides a later class"
    assert {answer.status for answer in STATUSES.values()} <= {400, 404, 409, 503}


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("k is 0; give a whole number", "k is 0", "give a whole number"),
        ("it failed. Repeat the call.", "it failed", "Repeat the call."),
        ("a; b; give c", "a; b", "give c"),
        ('name is "x; y"', 'name is "x; y"', "correct the request"),
        ("x", "x", "correct the request"),
    ],
)
def test_the_remedy_is_the_last_clause(text: str, message: str, remedy: str):
    assert body("E", text)["error"] == {"type": "E", "message": message, "remedy": remedy}


def test_what_names_the_server_is_logged_and_not_told(caplog: pytest.LogCaptureFixture):
    """A caller gets neither the database's address nor an unexpected exception, but the number under which the log has it."""
    error = errors.DatabaseUnavailableError("searching failed (db.internal:5432, database 'secret'): refused. Repeat the call.")
    for each in (error, ZeroDivisionError("of secret")):
        caplog.clear()
        status, told = answer_to(each)
        assert status == 503
        assert "secret" not in json.dumps(told)
        assert "secret" in caplog.text
        number = caplog.records[0].getMessage().split()[1].strip(":")
        assert number in told["error"]["remedy"]
