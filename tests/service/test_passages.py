"""Passages by HTTP: get, put, delete, and none of the last two without --write."""

from __future__ import annotations

from typing import Any

import pytest

import pgretrieval
from tests.support.serving import Serving, failed, serving

PATH = "/v1/collections/docs/passages"


def test_get_in_the_order_of_the_request(module_service: Serving):
    """Passages come in the order of their ids; unknown ids are left out."""
    answer = module_service.client.get(PATH, params={"id": ["loan", "nothing", "river", "loan"]})
    assert [each["id"] for each in answer.json()["passages"]] == ["loan", "river"]
    assert answer.json()["passages"][1] == {
        "id": "river",
        "title": "Rivers",
        "text": "A river flows to the sea.",
        "metadata": {"year": 1990, "kind": "water"},
    }


def test_put_and_delete(service: Serving, docs: pgretrieval.Collection):
    """Changes are those of `add` and `delete`."""
    added = [{"id": "tea", "text": "Tea is green.", "title": "Tea", "metadata": {"n": 1}}, {"id": 7, "text": "Seven."}]
    answer = service.client.put(PATH, json={"passages": added})
    assert answer.json() == {"passages": 2, "tokens": 11, "truncated": 0, "updated": 0, "skipped": 0}
    assert docs.get(["tea", "7"])["tea"].metadata == {"n": 1}
    assert service.hits(query="green tea")[0]["id"] == "tea"

    again = {"passages": [{"id": "tea", "text": "Tea is black."}]}
    assert failed(service.client.put(PATH, json=again), 409)["type"] == "DuplicateIdError"
    assert service.client.put(PATH, json={**again, "on_conflict": "skip"}).json()["skipped"] == 1
    assert service.client.put(PATH, json={**again, "on_conflict": "update"}).json()["updated"] == 1
    assert docs.get(["tea"])["tea"].text == "Tea is black."

    assert service.client.request("DELETE", PATH, json={"ids": ["tea", "nothing", 7]}).json() == {"deleted": 2}
    assert service.client.request("DELETE", PATH, json={"where": {"kind": "water"}}).json() == {"deleted": 2}
    assert service.client.request("DELETE", PATH, json={"ids": ["loan"], "where": "$.year < 2000"}).json() == {"deleted": 0}
    assert sorted(docs.get(["river", "bank", "loan", "sea"])) == ["bank", "loan"]


def test_put_stores_all_or_none(service: Serving, docs: pgretrieval.Collection):
    passages = [{"id": "tea", "text": "Tea."}, {"id": "river", "text": "Another river."}]
    assert "'river'" in failed(service.client.put(PATH, json={"passages": passages}), 409)["message"]
    assert docs.get(["tea"]) == {}


@pytest.mark.parametrize(
    ("method", "asked", "message"),
    [
        ("PUT", {"passages": [{"id": "a", "txt": "b"}]}, "passages.0.text is missing"),
        ("PUT", {"passages": [{"id": "a", "text": "b", "colour": 1}]}, "no field 'passages.0.colour'"),
        ("PUT", {"passages": [{"id": "a", "text": " "}]}, "text"),
        ("PUT", {"passages": [{"id": "a\0", "text": "b"}]}, "id"),
        ("PUT", {"passages": [{"id": "a", "text": "b", "metadata": [1]}]}, "metadata is [1]"),
        ("PUT", {"passages": [{"id": "a", "text": "b"}], "on_conflict": "replace"}, "on_conflict is 'replace'"),
        ("PUT", {}, "passages is missing"),
        ("DELETE", {}, "delete needs ids"),
        ("DELETE", {"where": {}}, "where"),
        ("DELETE", {"where": "$.year ="}, "where"),
        ("DELETE", {"all": True}, "no field 'all'"),
    ],
)
def test_invalid_changes_change_nothing(
    service: Serving, docs: pgretrieval.Collection, method: str, asked: dict[str, Any], message: str
):
    assert message in failed(service.client.request(method, PATH, json=asked), 400)["message"]
    assert docs.stats()["passages"] == 4


def test_numbers_that_json_does_not_have(service: Serving, docs: pgretrieval.Collection):
    content = b'{"passages": [{"id": "a", "text": "b", "metadata": {"x": NaN}}]}'
    assert "metadata" in failed(service.client.put(PATH, content=content), 400)["message"]
    assert docs.stats()["passages"] == 4


def test_changes_need_write(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection):
    """A service without --write says so and changes nothing."""
    with serving(database) as running:
        for method, asked in (("PUT", {"passages": [{"id": "a", "text": "b"}]}), ("DELETE", {"ids": ["river"]})):
            error = failed(running.client.request(method, PATH, json=asked), 409)
            assert error["type"] == "ReadOnly"
            assert "--write" in error["remedy"]
        assert running.client.get("/v1/collections/docs").json()["writable"] is False
    assert docs.stats()["passages"] == 4


def test_check(service: Serving, docs: pgretrieval.Collection, connection: Any):
    """Violations are those of `check`."""
    assert service.client.get("/v1/collections/docs/check").json() == {"violations": []}
    connection.execute("delete from pgretrieval.posting")
    violations = service.client.get("/v1/collections/docs/check").json()["violations"]
    assert {each["rule"] for each in violations} == {each.rule for each in docs.check()} != set()
