"""Why a passage is found, or is not."""

from __future__ import annotations

from typing import Any

import pytest

import pgretrieval
from tests.support.serving import Serving, failed

PATH = "/v1/collections/dense/explain"


@pytest.mark.parametrize("id", ["bank", "river"])
def test_it_is_explain_match(module_service: Serving, module_database: pgretrieval.RetrievalDatabase, id: str):
    """The answer is that of the library, for a passage that is found and for one that is not."""
    answer = module_service.client.post(PATH, json={"query": "money in a bank", "id": id, "k": 1})
    assert answer.status_code == 200, answer.text
    expected = module_database.get_collection("dense").explain_match("money in a bank", id, 1, mode="hybrid").as_dict()
    shown = answer.json()
    assert shown["ranks"].keys() == expected["ranks"].keys() == {"late", "words", "dense"}
    assert (shown["rank"], len(shown["lacks"]), shown["passage"]) == (expected["rank"], len(expected["lacks"]), expected["passage"])
    assert len(shown["similarities"]) == len(shown["query_tokens"])
    assert len(shown["similarities"][0]) == len(shown["passage_tokens"])


@pytest.mark.parametrize("mode", [None, "hybrid", "late", "words", "dense"])
def test_the_rank_is_that_of_the_list(module_service: Serving, mode: str | None):
    """Each hit of a search has the same rank in its explanation, by default as by any mode."""
    asked = {"query": "the sea and money", "mode": mode}
    hits = module_service.hits("dense", **asked)
    shown = [module_service.client.post(PATH, json={**asked, "id": hit["id"]}).json() for hit in hits]
    assert [each["rank"] for each in shown] == [hit["rank"] for hit in hits]
    assert {each["mode"] for each in shown} == {mode or "hybrid"}


def test_texts_alone_are_ranked_by_words(module_service: Serving):
    shown = module_service.client.post("/v1/collections/texts/explain", json={"query": "river", "id": "river"}).json()
    assert (shown["rank"], shown["mode"]) == (1, "words")


def test_a_filter(module_service: Serving):
    """A passage that the filter leaves out has that as its reason."""
    asked = {"query": "money", "id": "bank", "where": {"year": {"$lt": 2000}}}
    assert any("filter" in each for each in module_service.client.post(PATH, json=asked).json()["lacks"])


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({"query": "a", "id": "nothing"}, 404, "nothing"),
        ({"query": " ", "id": "bank"}, 400, "the query is ' '"),
        ({"query": "a", "id": [1]}, 400, "id is [1]"),
        ({"query": "a", "id": "bank", "k": 0}, 400, "k is 0"),
        ({"query": "a", "id": "bank", "k": 1_001}, 400, "k is 1001"),
        ({"query": "a", "id": "bank", "where": "$.year ="}, 400, "where"),
        ({"query": "a", "id": "bank", "mode": "fuzzy"}, 400, "mode is 'fuzzy'"),
        ({"id": "bank"}, 400, "query is missing"),
    ],
)
def test_requests_that_cannot_be_explained(module_service: Serving, asked: dict[str, Any], status: int, message: str):
    assert message in failed(module_service.client.post(PATH, json=asked), status)["message"]


def test_the_heat_map_as_html(module_service: Serving):
    """Those who accept HTML get a fragment for their page, in which nothing runs; errors stay JSON."""
    headers = {"Accept": "text/html"}
    asked = {"query": "<script>money</script>", "id": "bank"}
    answer = module_service.client.post(PATH, json=asked, headers=headers)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.text.startswith('<div class="match">')
    assert "<script" not in answer.text
    failed(module_service.client.post(PATH, json={**asked, "id": "nothing"}, headers=headers), 404)
