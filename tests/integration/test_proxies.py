"""Learned proxies: built, searched, extended, resumed, retrained, dropped."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.evaluate.fidelity import fidelity
from pgretrieval.numerics.maxsim import maxsim_many
from pgretrieval.types import Float32Array
from tests.support.encoder import HashedEncoder
from tests.support.proxies import quick_proxies
from tests.support.vectors import clustered, passages

PASSAGES = 2500


@pytest.fixture(scope="module")
def vectors() -> list[Float32Array]:
    return clustered(PASSAGES, directions=600, tokens=(4, 14), seed=1)


@pytest.fixture(scope="module")
def queries() -> list[Float32Array]:
    return clustered(40, directions=600, tokens=(4, 10), seed=2)


@pytest.fixture(scope="module")
def exact(vectors: list[Float32Array], queries: list[Float32Array]) -> list[list[str]]:
    """The exact top ten of each query."""
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in vectors])])
    scores = maxsim_many(queries, np.concatenate(vectors), offsets)
    return [[f"p{i}" for i in np.argsort(-row)[:10].tolist()] for row in scores]


@pytest.fixture(scope="module")
def proxied(module_database: pgretrieval.RetrievalDatabase, vectors: list[Float32Array]) -> pgretrieval.Collection:
    """2,000 passages of the build and 500 added later."""
    docs = module_database.create_collection("proxied", generator="proxy")
    docs.add(passages(2000), vectors=vectors[:2000])
    docs.build()
    docs.add(passages(500, start=2000), vectors=vectors[2000:])
    return docs


def one(url: str, statement: str) -> Any:
    """The first column of the first row."""
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchone()[0]


def ids(collection: pgretrieval.Collection, queries: list[Float32Array], **knobs: Any) -> list[list[str]]:
    return [[hit.id for hit in collection.search(vectors=query, **knobs)] for query in queries]


def test_proxies_find_what_exact_maxsim_ranks_first(
    proxied: pgretrieval.Collection, queries: list[Float32Array], exact: list[list[str]]
):
    """256 of 2,500 candidates by proxy contain the exact top ten as well as postings do."""
    ceiling = fidelity(ids(proxied, queries, generator="postings", candidates=PASSAGES, probes=10**6, pruning=PASSAGES), exact, 10)
    found = fidelity(ids(proxied, queries, generator="proxy", candidates=256), exact, 10)
    assert ceiling >= 0.95
    assert found >= ceiling - 0.03


def test_passages_added_after_the_build_have_proxies(
    proxied: pgretrieval.Collection, queries: list[Float32Array], exact: list[list[str]]
):
    """Passages added after the build have proxies without training."""
    later = {f"p{i}" for i in range(2000, PASSAGES)}
    wanted = sum(len(later & set(best)) for best in exact)
    found = sum(len(later & set(best) & set(got)) for best, got in zip(exact, ids(proxied, queries), strict=True))
    assert wanted >= 30
    assert found >= 0.9 * wanted


def test_explain_tells_generators_apart(
    proxied: pgretrieval.Collection, module_database: pgretrieval.RetrievalDatabase, queries: list[Float32Array]
):
    fresh = module_database.get_collection("proxied")
    by_postings = fresh.explain(vectors=queries[0], generator="postings", candidates=200, pruning=128)
    by_proxy = fresh.explain(vectors=queries[0], generator="proxy", candidates=200, pruning=128)
    assert (by_proxy.candidates, by_proxy.postings_read, by_proxy.probes) == (200, 0, 0)
    assert by_postings.candidates == 200
    assert by_postings.postings_read > 0
    assert by_postings.probes > 0
    assert (by_proxy.round_trips, by_postings.round_trips) == (3, 5)  # one loaded the index, one read centroids


def test_more_candidates_than_the_index_scans_at_once(proxied: pgretrieval.Collection, queries: list[Float32Array]):
    """More candidates than pgvector's maximum ef_search, 1,000, are returned."""
    assert proxied.explain(vectors=queries[0], generator="proxy", candidates=2000).candidates == 2000


def test_search_many_equals_search(proxied: pgretrieval.Collection, queries: list[Float32Array]):
    """search_many returns each query's results."""
    for generator in ("proxy", "postings"):
        together = proxied.search_many(vectors=queries, generator=generator)
        alone = [proxied.search(vectors=query, generator=generator) for query in queries]
        assert together == alone


def test_threads_share_a_collection(proxied: pgretrieval.Collection, queries: list[Float32Array]):
    expected = ids(proxied, queries)
    found: dict[int, list[list[str]]] = {}
    threads = [threading.Thread(target=lambda n=n: found.update({n: ids(proxied, queries)})) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[number] == expected for number in range(4))


def test_k_beyond_the_collection_returns_all(proxied: pgretrieval.Collection, queries: list[Float32Array]):
    assert len(proxied.search(vectors=queries[0], k=3000)) == PASSAGES


def test_small_collections_are_left_to_postings(database: pgretrieval.RetrievalDatabase, vectors: list[Float32Array]):
    """Small collections train no proxy model."""
    docs = database.create_collection("small")
    docs.add(passages(50), vectors=vectors[:50])
    docs.build()
    assert docs.stats()["bytes"].get("proxy", 0) == docs.stats()["bytes"]["proxy_model"] == 0
    assert docs.explain(vectors=vectors[0]).postings_read > 0
    with pytest.raises(pgretrieval.ConfigError, match="no proxies"):
        docs.search(vectors=vectors[0], generator="proxy")
    with pytest.raises(pgretrieval.ConfigError, match="generator is 'hnsw'; choose auto, proxy or postings"):
        database.create_collection("other", generator="hnsw")  # type: ignore[arg-type]


@pytest.mark.both_versions
@pytest.mark.parametrize("stage", ["train", "proxies", "code", "postings", "index"])
def test_an_interrupted_build_resumes_after_its_last_stage(
    database: pgretrieval.RetrievalDatabase, vectors: list[Float32Array], stage: str
):
    """An interrupted build reuses the finished codebook, model and codes."""
    docs = database.create_collection("docs", generator="proxy")
    docs.add(passages(400), vectors=vectors[:400])

    def stop(name: str, _done: int, _total: int) -> None:
        if name == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        docs.build(stage=stop)
    made = "select coalesce(max(codebook_id), 0) from pgretrieval."
    codebooks, models = one(database.url, made + "codebook"), one(database.url, made + "proxy_model")
    coded = "select coalesce(min(xmin::text::bigint), 0) from pgretrieval.token_code"
    before = one(database.url, coded)
    stages = []
    docs.build(stage=lambda name, _done, _total: stages.append(name))
    assert one(database.url, "select count(*) from pgretrieval.codebook") == 1
    if stage != "train":
        assert one(database.url, made + "codebook") == codebooks
    if stage in ("code", "postings", "index"):
        assert one(database.url, made + "proxy_model") == models
        assert "train" not in stages
        assert "proxies" not in stages
    if stage in ("postings", "index"):
        assert one(database.url, coded) == before
    assert one(database.url, "select count(*) from pgretrieval.proxy") == 400
    assert [hit.id for hit in docs.search(vectors=vectors[7], k=1)] == ["p7"]


def test_coding_resumes_after_the_last_part(
    database: pgretrieval.RetrievalDatabase, vectors: list[Float32Array], monkeypatch: pytest.MonkeyPatch
):
    """Coding resumes after the last committed part."""
    from pgretrieval.index import sharing

    monkeypatch.setattr(sharing, "VALUES_AT_ONCE", 64 * 500)
    docs = database.create_collection("docs", generator="proxy")
    docs.add(passages(400), vectors=vectors[:400])

    def stop(name: str, done: int, total: int) -> None:
        if name == "code" and done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        docs.build(stage=stop)
    kept = one(database.url, "select count(*) from pgretrieval.token_code")
    assert 0 < kept < 400
    begun: list[int] = []
    docs.build(stage=lambda name, done, _total: begun.append(done) if name == "code" else None)
    assert begun[0] == kept
    assert one(database.url, "select count(*) from pgretrieval.token_code") == 400
    assert one(database.url, "select count(*) from pgretrieval.proxy") == 400
    assert [[hit.id for hit in docs.search(vectors=vectors[i], k=1)] for i in range(0, 400, 40)] == [
        [f"p{i}"] for i in range(0, 400, 40)
    ]


def test_retraining_replaces_the_proxies(database: pgretrieval.RetrievalDatabase):
    """Retraining removes the old proxies, and searches do not mix both."""
    docs = database.create_collection("docs", encoder=HashedEncoder(), generator="proxy")
    docs.add({"id": f"a{i}", "text": f"word{i} common{i % 7}"} for i in range(60))
    docs.build()
    docs.add({"id": f"b{i}", "text": f"term{i} common{i % 7}"} for i in range(300))
    assert docs.build().built
    parts = "select count(*) from pg_inherits where inhparent = 'pgretrieval.proxy'::regclass"
    assert one(database.url, parts) == 1
    assert one(database.url, "select count(*) from pgretrieval.proxy") == 360
    assert docs.search("term33", k=1, generator="proxy")[0].id == "b33"


def test_dropping_a_collection_drops_its_proxies(database: pgretrieval.RetrievalDatabase, vectors: list[Float32Array]):
    """Dropping a collection drops its proxies."""
    docs = database.create_collection("docs", generator="proxy")
    docs.add(passages(100), vectors=vectors[:100])
    docs.build()
    database.drop_collection("docs")
    left = "select count(*) from pg_class where relnamespace = 'pgretrieval'::regnamespace and relname ~ '^proxy_[0-9]'"
    assert one(database.url, left) == 0
    assert one(database.url, "select count(*) from pgretrieval.proxy_model") == 0


def test_a_build_warns_of_plans_without_an_index(
    database: pgretrieval.RetrievalDatabase, vectors: list[Float32Array], monkeypatch: pytest.MonkeyPatch
):
    """A build warns if the server's plans do not use indexes."""
    from pgretrieval.db import plans

    monkeypatch.setattr(plans, "_ROWS_WORTH_AN_INDEX", 100)
    with psycopg.connect(database.url, autocommit=True) as connection:
        name = connection.info.dbname
        for setting in ("enable_indexscan", "enable_bitmapscan", "enable_indexonlyscan"):
            connection.execute(f'alter database "{name}" set {setting} = off')
    with pgretrieval.connect(database.url) as fresh:
        docs = fresh.create_collection("docs", generator="proxy")
        docs.add(passages(600), vectors=vectors[:600])
        with pytest.warns(pgretrieval.PgRetrievalWarning, match="without an index .*reads all of token_code_1"):
            report = docs.build()
        assert any("proxy" in slow for slow in report.slow_plans)


def test_a_build_on_a_sound_server_does_not_warn(database: pgretrieval.RetrievalDatabase):
    """A build on a correct server does not warn; plans are checked from 10,000 passages on."""
    docs = database.create_collection("docs", generator="proxy")
    docs.add(passages(10_200), vectors=clustered(10_200, directions=600, tokens=(1, 2)))
    with warnings.catch_warnings(), quick_proxies():
        warnings.simplefilter("error")
        assert docs.build().slow_plans == []
