"""Random sequences of operations on a collection, compared with a model in plain Python; ids, texts and metadata are arbitrary."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

import pgretrieval
from pgretrieval.types import Passage
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.chaos import LONG, Tally, rounds
from tests.support.encoder import HashedEncoder
from tests.support.vectors import maxsim

STEPS = 40 if LONG else 12
STAGES = ["encode", "train", "code", "postings", "words", "index", "switch", "drop"]

# Texts that Postgres can store, and bytes decoded as Latin-1.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
BYTES = st.binary(min_size=1, max_size=40).map(lambda drawn: drawn.decode("latin-1").replace("\0", "x"))
IDS = st.one_of(st.sampled_from(["a", "b", "c", "d", "e"]), TEXT, BYTES, st.integers(-5, 5).map(str)).filter(
    lambda key: key.strip() != ""
)
BODIES = st.one_of(
    st.lists(st.sampled_from(["one", "two", "three", "four", "fünf", "検索"]), min_size=1, max_size=8).map(" ".join), TEXT, BYTES
).filter(lambda text: text.strip() != "")
TITLES = st.one_of(st.none(), TEXT.filter(lambda text: text.strip() != ""))
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(10**12), 10**12), st.floats(-1e9, 1e9), TEXT)
METADATA = st.fixed_dictionaries(
    {"n": st.integers(0, 3)},
    optional={"more": st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))},
)
PASSAGES = st.builds(Passage, IDS, BODIES, TITLES, METADATA)
UNSTORABLE = st.sampled_from(["\0", "a\0b", "\ud800", "tail \udfff"])


class StopHere(Exception):  # noqa: N818
    """Simulates Ctrl-C or a crash."""


class CollectionModel(RuleBasedStateMachine):
    """`held` is the expected content of the collection."""

    server: PostgresUnderTest
    tally: Tally

    def __init__(self) -> None:
        super().__init__()
        self.url = self.server.create_database()
        self.database = pgretrieval.connect(url=self.url)
        self.held: dict[str, Passage] = {}
        self.built = False
        self.tally.runs += 1

    def teardown(self) -> None:
        self.database.close()
        self.server.drop_database(self.url)

    @initialize(
        keep_vectors=st.booleans(),
        bits=st.sampled_from([1, 2, 4]),
        language=st.sampled_from(["english", "simple", None]),
        generator=st.sampled_from(["postings", "auto"]),
    )
    def create(self, keep_vectors: bool, bits: int, language: str | None, generator: Any) -> None:
        self.exact = keep_vectors
        self.encoder = HashedEncoder()
        self.language = language
        self.docs = self.database.create_collection(
            "docs", self.encoder, bits, keep_vectors=keep_vectors, language=language, generator=generator
        )

    @rule(batch=st.lists(PASSAGES, min_size=1, max_size=6), on_conflict=st.sampled_from(["error", "update", "skip"]))
    def add(self, batch: list[Passage], on_conflict: Any) -> None:
        ids = [passage.id for passage in batch]
        repeated = len(set(ids)) < len(ids)
        if (repeated and on_conflict != "skip") or (on_conflict == "error" and self.held.keys() & set(ids)):
            with pytest.raises(pgretrieval.DuplicateIdError):
                self.docs.add(batch, on_conflict=on_conflict)
            return
        self.docs.add(batch, on_conflict=on_conflict)
        for passage in batch:
            if on_conflict != "skip" or passage.id not in self.held:
                self.held[passage.id] = passage
                self.tally.acknowledged += 1

    @rule(data=st.data())
    def update(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.held)) if self.held else IDS)
        change = data.draw(st.fixed_dictionaries({}, optional={"text": BODIES, "title": TITLES, "metadata": METADATA}))
        if key not in self.held:
            with pytest.raises(pgretrieval.PassageNotFoundError):
                self.docs.update([{"id": key, **change}])
            return
        before = self.held[key]
        self.docs.update([{"id": key, **change}])
        stored = {"text": before.text, "title": before.title, "metadata": before.metadata} | change
        self.held[key] = Passage(key, stored["text"], stored["title"], stored["metadata"])
        self.tally.acknowledged += 1

    @rule(data=st.data(), strangers=st.lists(IDS, max_size=2))
    def delete(self, data: st.DataObject, strangers: list[str]) -> None:
        known = data.draw(st.lists(st.sampled_from(sorted(self.held)), max_size=4)) if self.held else []
        gone = set(known + strangers) & self.held.keys()
        assert self.docs.delete(known + strangers) == len(gone)
        self._forget(gone)

    @rule(n=st.integers(0, 3))
    def delete_where(self, n: int) -> None:
        gone = {key for key, passage in self.held.items() if passage.metadata["n"] == n}
        assert self.docs.delete(where={"n": n}) == len(gone)
        self._forget(gone)

    def _forget(self, gone: set[str]) -> None:
        for key in gone:
            del self.held[key]

    @rule(text=BODIES, bad=UNSTORABLE, where=st.sampled_from(["id", "text", "title", "metadata"]))
    def refuse(self, text: str, bad: str, where: str) -> None:
        record: dict[str, Any] = {"id": "refused", "text": text}
        record[where] = {"key": bad} if where == "metadata" else bad
        with pytest.raises(pgretrieval.InputError):
            self.docs.add([{"id": "refused too", "text": text}, record], on_conflict="update")

    @rule()
    def build(self) -> None:
        if not self.held and not self.built:
            with pytest.raises(pgretrieval.IndexNotBuiltError):
                self.docs.build()
            return
        self.docs.build()
        self.built = True

    @precondition(lambda self: self.held)
    @rule(dim=st.sampled_from([None, 64, 96]))
    def rebuild(self, dim: int | None) -> None:
        self.docs.rebuild(encoder=None if dim is None else HashedEncoder(dim))
        self.encoder = self.encoder if dim is None else HashedEncoder(dim)
        self.built = True

    @precondition(lambda self: self.held)
    @rule(at=st.sampled_from(STAGES), dim=st.sampled_from([None, 64, 96]), anew=st.booleans())
    def interrupt(self, at: str, dim: int | None, anew: bool) -> None:
        def stop(name: str, _done: int, _total: int) -> None:
            if name == at:
                raise StopHere

        with suppress(StopHere):
            if anew:
                self.docs.rebuild(encoder=None if dim is None else HashedEncoder(dim), stage=stop)
            else:
                self.docs.build(stage=stop)
        held = self.docs.stats()  # the interruption may have come after the switch, or never
        self.built = held["built"]
        self.encoder = HashedEncoder(held["dim"])

    @rule()
    def compact(self) -> None:
        self.docs.compact()
        with psycopg.connect(self.url) as connection:
            assert connection.execute("select count(*) from pgretrieval.removed_passage").fetchone() == (0,) or not self.built

    @rule()
    def open_again(self) -> None:
        self.database.close()
        self.database = pgretrieval.connect(url=self.url)
        self.docs = self.database.get_collection("docs", encoder=self.encoder)

    @rule(query=BODIES)
    def search_everything(self, query: str) -> None:
        if not self.held and not self.built:
            return
        hits = self.docs.search(query, k=len(self.held) + 5)
        assert {hit.id: Passage(hit.id, hit.text, hit.title, hit.metadata) for hit in hits} == self.held
        assert len(hits) == len(self.held)
        asked = self.encoder.encode_query([query])[0]
        for hit in hits:
            best = maxsim(asked, self.encoder.encode_document([self.held[hit.id].encoded_text])[0])
            if self.exact or not self.built:
                assert hit.score == pytest.approx(best, abs=0.01 * len(asked))
            assert np.isfinite(hit.score)

    @precondition(lambda self: self.held)
    @rule(n=st.integers(0, 3))
    def search_where(self, n: int) -> None:
        expected = {key for key, passage in self.held.items() if passage.metadata["n"] == n}
        assert {hit.id for hit in self.docs.search("one two", k=100, where={"n": n})} == expected

    @precondition(lambda self: self.held and self.language)
    @rule(query=BODIES)
    def search_words(self, query: str) -> None:
        for hit in self.docs.text_search(query, k=100):
            assert self.held[hit.id].text == hit.text

    @invariant()
    def is_sound(self) -> None:
        if hasattr(self, "docs"):
            self.tally.faults += 1
            found = self.docs.check()
            self.tally.violations += len(found)
            assert found == []
            assert self.docs.stats()["passages"] == len(self.held)


def test_random_operations(postgres: PostgresUnderTest):
    """After every sequence of operations the collection equals the model and passes check."""
    tally = Tally("random operations beside a model (faults: operations)")
    model = type("Model", (CollectionModel,), {"server": postgres, "tally": tally})
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=rounds(6, 150),
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=not LONG,
            suppress_health_check=list(HealthCheck),
        ),
    )
    tally.report()
