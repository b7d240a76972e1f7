"""Collections of texts: searched by words and by a cross-encoder, and given an encoder later."""

from __future__ import annotations

from typing import Any

import pytest

import pgretrieval
from pgretrieval.errors import ConfigError, IndexNotBuiltError, InputError
from tests.fixtures.collections import Corpus
from tests.support.cross_encoder import TableCrossEncoder, queries
from tests.support.encoder import HashedEncoder

pytestmark = pytest.mark.both_versions


@pytest.fixture
def texts(database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> pgretrieval.Collection:
    collection = database.create_collection("texts", encoder="none")
    report = collection.add(corpus.passages)
    assert (report.passages, report.tokens) == (300, 0)
    return collection


def test_texts_are_factorised_and_searched(texts: pgretrieval.Collection, connection: Any):
    """Texts are factorised and searched without vectors."""
    model = TableCrossEncoder()
    assert texts.factorize(model, queries(range(40)), 20).embedded == 300
    hits = texts.search("query 61", 5, scorer="cross_encoder", budget=100)
    assert [int(hit.id[1:]) for hit in hits] == model.best(61, 5)
    assert texts.search("passage 7", 1, generator="text", rerank=model, rerank_depth=3)[0].rank == 1
    assert texts.text_search("passage 17", 1)[0].id == "p17"
    texts.update([{"id": "p3", "text": "another 3"}])
    connection.execute("select pgretrieval.add_passage('texts', 'sql', 'text 301', null)")
    texts.delete(["p4"])
    stats = texts.stats()
    assert (stats["passages"], stats["tokens"], stats["factorization"]["not_scored"]) == (300, 0, 2)
    assert connection.execute("select count(*) from pgretrieval.token_vector").fetchone() == (0,)
    assert not texts.check()


def test_calls_that_need_vectors_raise(texts: pgretrieval.Collection, database: Any, corpus: Corpus, connection: Any):
    """Calls that need vectors raise an error that says so."""
    with pytest.raises(InputError, match=r"stores texts only.*rebuild\(encoder=…\)"):
        texts.search("passage 7")
    with pytest.raises(IndexNotBuiltError):
        texts.build()
    with pytest.raises(ConfigError, match="leave vectors= and dense= out"):
        texts.add([{"id": "new", "text": "new"}], vectors=corpus.vectors[:1])
    with pytest.raises(ConfigError, match="texts only; leave dim, keep_vectors"):
        database.create_collection("other", encoder="none", keep_vectors=True)
    with pytest.raises(Exception, match="'texts' stores texts only"):
        connection.execute("select pgretrieval.add_passage('texts', 'new', 'text', array['[1,2]']::vector[])")
    with pytest.raises(ConfigError, match="no vectors for selection"):
        texts.factorize(TableCrossEncoder(), queries(range(40)), 20, selection="kmeans")


def test_an_encoder_comes_later(texts: pgretrieval.Collection, hashed_encoder: HashedEncoder):
    """A rebuild with an encoder adds late interaction to stored texts."""
    texts.rebuild(encoder=hashed_encoder)
    assert texts.search("title 9 text of passage 9", 1)[0].id == "p9"
    texts.add([{"id": "new", "text": "wholly other words"}])
    assert texts.search("wholly other words", 1)[0].id == "new"
    assert texts.stats()["tokens"] > 300
    assert not texts.check()
