"""Consistency of client caches with the database after restores and recreated collections."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval import CollectionNotFoundError
from pgretrieval.database import open_database
from pgretrieval.types import Float32Array
from tests.support.encoder import HashedEncoder
from tests.support.meanwhile import meanwhile
from tests.support.vectors import unit


def fill(url: str, seed: int) -> list[np.ndarray]:
    """A built collection of random vectors; returns some of them."""
    rows = unit(np.random.default_rng(seed).standard_normal((1200, 64)).astype(np.float32)).reshape(200, 6, 64)
    with pgretrieval.connect(url=url) as database:
        docs = database.create_collection("docs", bits=2)
        docs.add([{"id": number, "text": f"passage {number}"} for number in range(200)], vectors=list(rows))
        docs.build()
    return [rows[number] for number in (3, 50, 120, 199)]


def make_again(url: str) -> None:
    """Restart all sequences."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop schema pgretrieval cascade")
    with open_database(url) as database:
        database.migrate()


def as_before(url: str, collection_identity: object) -> None:
    """Restore an earlier copy of the collection and rebuild it: its codebook reuses a number."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update pgretrieval.collection set identity = %s", [collection_identity])


def test_a_codebook_of_the_same_number_is_another(database_url: str):
    """A client reloads centroids of another codebook with the same number."""
    fill(database_url, 1)
    with pgretrieval.connect(url=database_url) as database:
        docs = database.get_collection("docs")
        docs.search(vectors=unit(np.ones((2, 64), dtype=np.float32)))
        make_again(database_url)
        asked = fill(database_url, 2)
        as_before(database_url, docs._row.identity)
        with pgretrieval.connect(url=database_url) as new:
            expected = [new.get_collection("docs").search(vectors=query, k=5) for query in asked]
        assert [docs.search(vectors=query, k=5) for query in asked] == expected
        rows = unit(np.random.default_rng(7).standard_normal((240, 64)).astype(np.float32)).reshape(40, 6, 64)
        docs.add([{"id": f"n{number}", "text": "new"} for number in range(40)], vectors=list(rows))
        with pgretrieval.connect(url=database_url) as new:
            found = [new.get_collection("docs").search(vectors=row, k=1)[0].id for row in rows]
        assert found == [f"n{number}" for number in range(40)]
        assert docs.check() == []


def calls(docs: pgretrieval.Collection) -> dict[str, Callable[[], object]]:
    """All calls of an open handle."""
    query = HashedEncoder().encode_query(["one"])[0]
    return {
        "search": lambda: docs.search("one"),
        "search of vectors": lambda: docs.search(vectors=query),
        "search_many": lambda: docs.search_many(["one", "two"]),
        "text_search": lambda: docs.text_search("one"),
        "hybrid_search": lambda: docs.hybrid_search("one"),
        "explain": lambda: docs.explain("one"),
        "add": lambda: docs.add([{"id": "new", "text": "new"}]),
        "update": lambda: docs.update([{"id": "1", "text": "new"}]),
        "delete": lambda: docs.delete(["1"]),
        "get": lambda: docs.get(["1"]),
        "stats": docs.stats,
        "check": docs.check,
        "build": docs.build,
        "rebuild": docs.rebuild,
    }


@pytest.mark.parametrize("again", [None, "another number", "the same number"])
@pytest.mark.parametrize("built", [False, True])
def test_a_handle_of_a_collection_that_was_dropped(database_url: str, again: str | None, built: bool):
    """A handle of a dropped collection raises an error, also if a new one has its name."""
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", encoder=HashedEncoder())
        docs.add([{"id": "1", "text": "one two"}])
        if built:
            docs.build()
        docs.search("one")
        if again == "the same number":
            make_again(database_url)
        else:
            database.drop_collection("docs")
        if again:
            new = database.create_collection("docs", encoder=HashedEncoder())
            new.add([{"id": "1", "text": "one other"}])
            if built:
                new.build()
        for call in calls(docs).values():
            with pytest.raises(CollectionNotFoundError, match=r"was dropped since it was opened|no collection 'docs'"):
                call()
        if again:
            assert new.get(["1"])["1"].text == "one other"
            assert [hit.id for hit in database.get_collection("docs", encoder=HashedEncoder()).search("one")] == ["1"]
            assert new.check() == []


class DroppedMeanwhile(HashedEncoder):
    """Drops the collection while its texts are encoded."""

    def __init__(self, drop: Callable[[], object]) -> None:
        super().__init__()
        self.drop = drop

    def encode_document(self, texts: Sequence[str]) -> list[Float32Array]:
        if texts != ["dimension"]:
            self.drop()
        return super().encode_document(texts)


@pytest.mark.parametrize("again", [False, True], ids=["dropped", "made again"])
def test_a_collection_is_dropped_while_texts_for_it_are_encoded(database_url: str, again: bool):
    """An add to a collection dropped during encoding raises an error and adds nothing to a new one."""
    with pgretrieval.connect(url=database_url) as database, pgretrieval.connect(url=database_url) as elsewhere:
        database.create_collection("docs", encoder=HashedEncoder()).add([{"id": "1", "text": "one two"}])

        def drop() -> None:
            elsewhere.drop_collection("docs")
            if again:
                elsewhere.create_collection("docs", encoder=HashedEncoder())

        docs = database.get_collection("docs", encoder=DroppedMeanwhile(drop))
        with pytest.raises(CollectionNotFoundError):
            docs.add([{"id": "2", "text": "two three"}])
        assert database.list_collections() == (["docs"] if again else [])
        if again:
            assert database.get_collection("docs").stats()["passages"] == 0


def test_adds_race_drops(database_url: str):
    """Adds during a drop raise an error of the package, end, and leave no rows."""
    with pgretrieval.connect(url=database_url) as database, pgretrieval.connect(url=database_url) as elsewhere:
        database.create_collection("docs", encoder=HashedEncoder())
        stored = refused = 0

        def add() -> None:
            nonlocal stored, refused
            try:
                docs = database.get_collection("docs", encoder=HashedEncoder())
                for number in range(50):
                    docs.add([{"id": number, "text": f"word{number} common"}], on_conflict="update")
                    stored += 1
            except CollectionNotFoundError:
                refused += 1

        with meanwhile(add):
            deadline = time.monotonic() + 30
            while (stored < 20 or refused < 5) and time.monotonic() < deadline:
                elsewhere.drop_collection("docs")
                elsewhere.create_collection("docs", encoder=HashedEncoder())
                time.sleep(0.05)
        assert stored >= 20
        assert refused >= 5
        docs = database.get_collection("docs", encoder=HashedEncoder())
        docs.add([{"id": "last", "text": "last one"}])
        assert docs.check() == []
        with psycopg.connect(database_url) as connection:
            orphans = """select count(*) from pgretrieval.passage
                         where collection_id not in (select collection_id from pgretrieval.collection)"""
            assert connection.execute(orphans).fetchone() == (0,)


@pytest.mark.parametrize("options", [{"bits": 2}, {"bits": 4}, {"bits": 2, "scorer": "xtr"}], ids=str)
def test_codes_of_another_codebook_are_found(database_url: str, options: dict[str, Any]):
    """Codes of another codebook are found by check."""
    rows = unit(np.random.default_rng(3).standard_normal((3000, 64)).astype(np.float32)).reshape(300, 10, 64)
    texts = [{"id": f"{number:03}", "text": "text"} for number in range(300)]
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", **options)
        docs.add(texts[:250], vectors=list(rows[:250]))
        docs.build()
        other = database.create_collection("other", **options)
        other.add(texts[:250], vectors=list(-rows[:250]))
        other.build()
        assert docs.check() == []
        assert other.check() == []
        own, another = (_coder(each) for each in (docs, other))
        docs._opened.coders._cached = own[0], another[1]
        docs.add(texts[250:], vectors=list(rows[250:]))
        docs._opened.coders._cached = None
        found = docs.check()
        assert {violation.rule for violation in found} == {"foreign_code"}
        assert found[0].id == "250"
        assert found[0].total == 50


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("scorer", ["maxsim", "xtr"])
def test_tokens_that_are_their_centroids_are_not_taken_for_foreign(database_url: str, bits: int, scorer: str):
    """Tokens equal to their centroids, which decode longer than one, are not reported as foreign codes."""
    generator = np.random.default_rng(3)
    often = unit(generator.standard_normal((20, 64)).astype(np.float32))
    others = unit(generator.standard_normal((2000, 64)).astype(np.float32)).reshape(200, 10, 64)
    rows = [np.concatenate([often[generator.permutation(20)[:10]], each]) for each in others]
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", bits=bits, scorer=scorer)
        docs.add([{"id": f"{number:03}", "text": "text"} for number in range(200)], vectors=rows)
        docs.build()
        late = [often[generator.permutation(20)[:10]] for _ in range(50)]
        docs.add([{"id": f"late{number}", "text": "text"} for number in range(50)], vectors=late)
        assert docs.check() == []


def _coder(docs: pgretrieval.Collection) -> tuple[Any, Any]:
    """The client's cached codebook with its identity."""
    docs.search(vectors=np.ones((1, 64), dtype=np.float32))
    kept = docs._opened.coders._cached
    assert kept is not None
    return kept


class Overlap:
    """Scores pairs by the number of common words."""

    def predict(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        return np.array([len({*query.split()} & {*text.split()}) for query, text in pairs], dtype=np.float64)


def test_a_factorisation_of_the_same_number_is_another(database_url: str):
    """A client reloads anchors of another factorisation with the same number."""
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", encoder="none")
        docs.add([{"id": str(number), "text": " ".join(f"w{(number * 3 + n) % 29}" for n in range(6))} for number in range(80)])
        docs.factorize(Overlap(), [f"w{n} w{n + 3}" for n in range(20)], 10)
        docs.search("w1 w4", k=5, scorer="cross_encoder", budget=40)
        kept = docs._cross_encoder._searcher.row()
        assert docs._cross_encoder._searcher.row() is kept
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("update pgretrieval.factorization set identity = gen_random_uuid()")
        assert docs._cross_encoder._searcher.row() is not kept
