"""Each preset finds what the formulas of its paper find, written here in numpy, on texts encoded by minilm."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.corpus.docstrings import standard_library_passages
from pgretrieval.db.handles import IndexTables
from pgretrieval.db.tables import codebooks
from pgretrieval.encode.registry import load_encoder
from pgretrieval.index.coding import codebook_from_row
from pgretrieval.presets import PRESETS, row_for
from pgretrieval.types import Float32Array, Passage
from tests.support.cross_encoder import TableCrossEncoder
from tests.support.sql import vector_array

QUERIES = (
    "parse a document of JSON",
    "compress files with bzip2",
    "when is a socket closed",
    "abstract base classes of containers",
    "call a function later in another thread",
)
PASSAGES = 300


@dataclass(frozen=True)
class Texts:
    """Passages with their token vectors, and the token vectors of each query."""

    passages: list[Passage]
    vectors: list[Float32Array]
    queries: list[Float32Array]


@dataclass(frozen=True)
class Stored:
    """A built collection as its tables have it: centroids, and of each passage the centroids and decoded vectors of its tokens."""

    centroids: np.ndarray
    codes: dict[str, np.ndarray]
    vectors: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def texts() -> Texts:
    """Docstrings of the standard library."""
    encoder = load_encoder("minilm")
    every = itertools.islice(standard_library_passages(), 0, 10 * PASSAGES, 10)
    found = [Passage(passage.id, passage.text[:400]) for passage in every]
    return Texts(found, encoder.encode_document([passage.text for passage in found]), encoder.encode_query(list(QUERIES)))


@pytest.fixture(scope="module")
def collections(module_database: pgretrieval.RetrievalDatabase, texts: Texts) -> dict[str, pgretrieval.Collection]:
    """A built collection of each preset for token vectors of any number."""
    made = {}
    for name in ("colbertv2", "plaid", "xtr", "colxtr"):
        made[name] = module_database.create_collection(name, preset=name)
        made[name].add(texts.passages, vectors=texts.vectors)
        made[name].build()
    return made


@pytest.fixture(scope="module")
def stored(collections: dict[str, pgretrieval.Collection], module_database: pgretrieval.RetrievalDatabase) -> dict[str, Stored]:
    return {name: read(module_database.url, name) for name in collections}


def read(url: str, name: str) -> Stored:
    """Read codes from the tables, without the code of searches: by passage, or for "xtr" by centroid."""
    with psycopg.connect(url) as connection:
        ids = connection.execute("select collection_id, codebook_id from pgretrieval.collection where name = %s", [name]).fetchone()
        assert ids
        codebook = codebook_from_row(codebooks.load(IndexTables(connection, *ids)))
        by_centroid = connection.execute(
            """select passage_id, centroid_id, substr(residuals, 1 + (place - 1)::integer * width, width)
               from (select *, length(residuals) / cardinality(passage_ids) as width from pgretrieval.posting_code) as posting
               cross join unnest(passage_ids) with ordinality as entry (passage_id, place)
               where collection_id = %s and codebook_id = %s""",
            ids,
        ).fetchall()
        by_passage = connection.execute(
            """select passage_id, centroid_ids, residuals || tail from pgretrieval.token_code
               where collection_id = %s and codebook_id = %s""",
            ids,
        ).fetchall()
        keys = dict(
            connection.execute("select passage_id, key from pgretrieval.passage where collection_id = %s", ids[:1]).fetchall()
        )
    codes: dict[str, list[int]] = {key: [] for key in keys.values()}
    packed: dict[str, bytes] = dict.fromkeys(keys.values(), b"")
    for passage_id, centroid_id, residual in by_centroid:
        codes[keys[passage_id]].append(centroid_id)
        packed[keys[passage_id]] += residual
    for passage_id, centroid_ids, residuals in by_passage:
        if not by_centroid:
            codes[keys[passage_id]] = np.frombuffer(centroid_ids, dtype="<u2").tolist()
            packed[keys[passage_id]] = residuals
    vectors = {}
    for key, numbers in codes.items():
        residuals = np.frombuffer(packed[key], dtype=np.uint8).reshape(len(numbers), -1).copy()
        rows = codebook.decode(np.array(numbers, dtype=np.int32), residuals).astype(np.float64)
        vectors[key] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return Stored(codebook.centroids.astype(np.float64), {key: np.array(numbers) for key, numbers in codes.items()}, vectors)


def maxsim(query: np.ndarray, vectors: np.ndarray) -> float:
    """Sum over query tokens of the best inner product."""
    return float((query @ vectors.T).max(axis=1).sum())


def probed(query: np.ndarray, centroids: np.ndarray, probes: int) -> set[int]:
    """The `probes` nearest centroids of each query token, together."""
    return set(np.argsort(-(query @ centroids.T), axis=1)[:, :probes].ravel().tolist())


def best(scores: dict[str, float], count: int) -> list[str]:
    return sorted(scores, key=lambda key: -scores[key])[:count]


def assert_hits(hits: list[pgretrieval.Hit], scores: dict[str, float], k: int = 10) -> None:
    """Assert that the hits are the best of these passages, with these scores."""
    assert [hit.id for hit in hits] == best(scores, k)
    assert [hit.score for hit in hits] == pytest.approx([scores[hit.id] for hit in hits], abs=1e-3)


# ---- ColBERTv2, section 3.5


def lower_bounds(query: np.ndarray, index: Stored, probes: int) -> dict[str, float]:
    """Sum, over query tokens, of the best decoded vector in the probed lists, for each listed passage; 0 if there is none."""
    lists = probed(query, index.centroids, probes)
    bounds = {}
    for key, vectors in index.vectors.items():
        seen = vectors[np.isin(index.codes[key], sorted(lists))]
        if len(seen):
            bounds[key] = float(sum(max(row, default=0.0) for row in query @ seen.T))
    return bounds


@pytest.mark.parametrize("limit", [None, 25, 10])
def test_colbertv2_takes_the_candidates_with_the_highest_lower_bounds(
    collections: dict[str, pgretrieval.Collection], stored: dict[str, Stored], texts: Texts, limit: int | None
):
    """Probe 2; the candidates with the highest bounds, probe * 2^12 or as many as asked for, get exact scores."""
    index, others = stored["colbertv2"], 0
    for query in texts.queries:
        bounds = lower_bounds(query, index, 2)
        assert 25 < len(bounds) < PASSAGES
        kept = best(bounds, limit or 2 * 2**12)
        assert_hits(
            collections["colbertv2"].search(vectors=query, candidates=limit),
            {key: maxsim(query, index.vectors[key]) for key in kept},
        )
        exact = {key: maxsim(query, vectors) for key, vectors in index.vectors.items()}
        others += len(set(best(exact, 10)) - set(kept))
        assert all(bounds[key] <= exact[key] + 1e-6 for key in bounds)
    assert limit is None or others  # so that the bound makes a difference


def test_colbertv2_counts_candidates_by_probes(collections: dict[str, pgretrieval.Collection], texts: Texts):
    """With more probes there are more lists to read; the collection has no more passages than candidates."""
    stats = collections["colbertv2"].stats()
    assert (stats["bits"], stats["levels"]) == (2, "quantile")
    few, many = (collections["colbertv2"].explain(vectors=texts.queries[0], probes=probes) for probes in (1, 8))
    assert few.candidates == few.passages_decoded < many.candidates == many.passages_decoded
    assert few.probes < many.probes <= 8 * len(texts.queries[0])


# ---- PLAID, section 4


def interaction(query: np.ndarray, index: Stored, key: str, threshold: float | None = None) -> float:
    """MaxSim on centroids, at least 0 a query token, without those that score less than the threshold with every query token."""
    scores = query @ index.centroids[index.codes[key]].T
    if threshold is not None:
        scores = scores[:, scores.max(axis=0) >= threshold]
    return float(scores.max(axis=1, initial=0).sum())


@pytest.mark.parametrize(("k", "probes", "threshold", "candidates"), [(10, 1, 0.5, 256), (40, 2, 0.45, 1024), (120, 4, 0.4, 4096)])
@pytest.mark.parametrize("limit", [None, 1])
def test_plaid_prunes_in_two_stages(
    collections: dict[str, pgretrieval.Collection],
    stored: dict[str, Stored],
    texts: Texts,
    k: int,
    probes: int,
    threshold: float,
    candidates: int,
    limit: int | None,
):
    """The values by k are those of PLAID's table 2; of ndocs candidates a quarter is decoded, at least k."""
    index = stored["plaid"]
    ndocs = candidates if limit is None else k + 15
    row = row_for(PRESETS["plaid"].search, k, PASSAGES)
    assert (row["probes"], row["centroid_threshold"], row["candidates"]) == (probes, threshold, candidates)
    for query in texts.queries:
        lists = probed(query, index.centroids, probes)
        listed = [key for key, codes in index.codes.items() if lists.intersection(codes.tolist())]
        first = best({key: interaction(query, index, key, threshold) for key in listed}, ndocs)
        second = best({key: interaction(query, index, key) for key in first}, max(ndocs // 4, k))
        hits = collections["plaid"].search(vectors=query, k=k, candidates=None if limit is None else ndocs)
        if len(listed) < k:
            assert len(hits) == k
            continue
        scores = {key: maxsim(query, index.vectors[key]) for key in second}
        assert_hits(hits, scores, k)
        explained = collections["plaid"].explain(vectors=query, k=k, candidates=None if limit is None else ndocs)
        assert (explained.candidates, explained.passages_decoded) == (len(listed), len(second))


def test_the_threshold_of_plaid_makes_a_difference(collections: dict[str, pgretrieval.Collection], texts: Texts):
    """A threshold that no centroid reaches leaves the first stage without an order."""
    docs = collections["plaid"]
    found = [docs.search(vectors=texts.queries[0], candidates=20, centroid_threshold=threshold) for threshold in (-1.0, 0.5, 1.0)]
    assert [hit.id for hit in found[1]] != [hit.id for hit in found[2]]
    assert [hit.id for hit in found[0]] != [hit.id for hit in found[2]]


# ---- XTR, section 3.2, and ColXTR


def retrieved_scores(query: np.ndarray, index: Stored, lists: set[int] | None, k_tokens: int) -> dict[str, float]:
    """Mean over query tokens of the best retrieved token of a passage, or of the last retrieved score if it has none."""
    keys = [key for key, codes in index.codes.items() for _ in codes]
    codes = np.concatenate(list(index.codes.values()))
    scores = query @ np.concatenate(list(index.vectors.values())).T
    if lists is not None:
        scores[:, ~np.isin(codes, sorted(lists))] = -np.inf
    found: dict[str, dict[int, float]] = {}
    last = []
    for token, row in enumerate(scores):
        order = np.argsort(-row)[: min(k_tokens, int(np.isfinite(row).sum()))]
        last.append(row[order[-1]])
        for place in order[::-1]:
            found.setdefault(keys[place], {})[token] = row[place]
    return {key: float(np.mean([some.get(token, last[token]) for token in range(len(query))])) for key, some in found.items()}


@pytest.mark.parametrize("k_tokens", [None, 50])
def test_xtr_imputes_the_last_retrieved_score_and_takes_the_mean(
    collections: dict[str, pgretrieval.Collection], stored: dict[str, Stored], texts: Texts, k_tokens: int | None
):
    """k' is 40,000, which retrieves all tokens here; no passage is scored again."""
    for query in texts.queries:
        scores = retrieved_scores(query, stored["xtr"], None, k_tokens or 40_000)
        knobs = {} if k_tokens is None else {"k_tokens": k_tokens, "probes": 10**6}
        assert_hits(collections["xtr"].search(vectors=query, **knobs), scores)


@pytest.mark.parametrize("depth", [None, 15])
def test_colxtr_scores_the_best_again_by_maxsim(
    collections: dict[str, pgretrieval.Collection], stored: dict[str, Stored], texts: Texts, depth: int | None
):
    """Ten probes, 500 tokens, imputation, mean; then MaxSim of the best, 128 by default, over all their tokens."""
    index, moved = stored["colxtr"], 0
    for query in texts.queries:
        scores = retrieved_scores(query, index, probed(query, index.centroids, 10), 500)
        kept = best(scores, depth or 128)
        exact = {key: maxsim(query, index.vectors[key]) / len(query) for key in kept}
        assert_hits(collections["colxtr"].search(vectors=query, rerank_depth=depth), exact)
        moved += best(exact, 10) != kept[:10]
        alone = collections["colxtr"].search(vectors=query, rerank="none")
        assert_hits(alone, scores)
    assert moved


@pytest.mark.parametrize("name", ["xtr", "colxtr"])
def test_sql_searches_with_the_options_of_the_preset(
    collections: dict[str, pgretrieval.Collection], module_database: pgretrieval.RetrievalDatabase, texts: Texts, name: str
):
    """`search` in SQL returns the hits and scores of the Python client."""
    hits = collections[name].search(vectors=texts.queries[0])
    with psycopg.connect(module_database.url) as connection:
        connection.execute("select set_config('search_path', 'public', false)")
        rows = connection.execute(
            "select id, score from pgretrieval.search(%s, %s::vector[])", [name, vector_array(texts.queries[0])]
        ).fetchall()
    assert [key for key, _ in rows] == [hit.id for hit in hits]
    assert [score for _, score in rows] == pytest.approx([hit.score for hit in hits], abs=1e-3)


@pytest.mark.parametrize("name", ["colbertv2", "plaid"])
def test_sql_has_its_own_stages_for_colbertv2_and_plaid(
    collections: dict[str, pgretrieval.Collection], module_database: pgretrieval.RetrievalDatabase, texts: Texts, name: str
):
    """`search` in SQL returns the hits of a collection without a preset; probes, candidates and threshold are not the preset's."""
    plain = module_database.create_collection(f"without-{name}", bits=2, levels="quantile")
    plain.add(texts.passages, vectors=texts.vectors)
    plain.build()
    with psycopg.connect(module_database.url) as connection:
        connection.execute("select set_config('search_path', 'public', false)")
        for query in texts.queries:
            found = [
                connection.execute(
                    "select id, score from pgretrieval.search(%s, %s::vector[])", [collection, vector_array(query)]
                ).fetchall()
                for collection in (name, plain.name)
            ]
            assert found[0] == found[1]


# ---- ConstBERT


@pytest.mark.parametrize(("name", "count"), [("constbert", 32), ("constbert16", 16), ("constbert32", 32), ("constbert64", 64)])
def test_constbert_has_a_constant_number_of_vectors(database: pgretrieval.RetrievalDatabase, texts: Texts, name: str, count: int):
    """Every passage has C vectors of 2 bits; MaxSim of them gives the scores. Another number is refused."""
    docs = database.create_collection("docs", preset=name)
    pooled = [means(vectors, count) for vectors in texts.vectors[:80]]
    docs.add(texts.passages[:80], vectors=pooled)
    docs.build()
    stats = docs.stats()
    assert (stats["bits"], stats["levels"], stats["tokens"]) == (2, "quantile", 80 * count)
    index = read(database.url, "docs")
    for query in texts.queries:
        hits = docs.search(vectors=query, probes=10**6, candidates=10**6, pruning=10**6)
        assert_hits(hits, {key: maxsim(query, vectors) for key, vectors in index.vectors.items()})
    with pytest.raises(pgretrieval.VectorError, match=str(count)):
        docs.add([{"id": "other", "text": "other"}], vectors=[pooled[0][1:]])


def means(vectors: Float32Array, count: int) -> Float32Array:
    """The vectors, repeated to a multiple of `count`, as `count` means of unit length."""
    repeated = np.resize(vectors, (count * -(-len(vectors) // count), vectors.shape[1])).reshape(count, -1, vectors.shape[1])
    pooled = repeated.mean(axis=1)
    return (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float32)


# ---- all presets


def test_a_preset_says_what_it_sets(database: pgretrieval.RetrievalDatabase, caplog: pytest.LogCaptureFixture):
    """It is in the log, in `settings` and in `stats`."""
    with caplog.at_level(logging.INFO, logger="pgretrieval"):
        docs = database.create_collection("docs", dim=64, preset="colxtr", bits=1)
    assert caplog.messages == [
        "preset colxtr, ColXTR (Bhat and Sen 2025): scorer colxtr, rerank maxsim; searches up to 1,000,000 passages: probes 10, "
        "k_tokens 500, imputation kth, reduction mean; searches: probes 10, k_tokens 10,000, imputation kth, reduction mean"
    ]
    stats = docs.stats()
    assert stats["preset"] == {"name": "colxtr", "search": [dict(row) for row in PRESETS["colxtr"].search]}
    assert (stats["scorer"], stats["rerank"], stats["bits"]) == ("colxtr", "maxsim", 1)
    assert database.get_collection("docs").settings.preset == "colxtr"
    assert database.create_collection("plain", dim=64).stats()["preset"] is None


@pytest.mark.parametrize(
    ("preset", "given"),
    [
        ("colbertv2", {"bits": 4, "levels": "lloyd-max"}),
        ("colxtr", {"rerank": "none"}),
        ("constbert16", {"vectors_per_passage": 24}),
    ],
)
def test_given_options_come_first(database: pgretrieval.RetrievalDatabase, preset: str, given: dict[str, Any]):
    """An option of `create_collection` replaces the preset's."""
    stats = database.create_collection("docs", preset=preset, **given).stats()
    assert {name: stats[name] or "none" for name in given} == given


def test_an_unknown_preset_is_refused(database: pgretrieval.RetrievalDatabase):
    """The error lists the names."""
    with pytest.raises(pgretrieval.ConfigError, match=r"preset is 'colbert'; choose colbertv2, plaid, xtr, colxtr, constbert"):
        database.create_collection("docs", preset="colbert")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("colbertv2", {"pruning": 20}, "pruning is 20, which generator"),
        ("colbertv2", {"generator": "postings", "centroid_threshold": 0.3}, "centroid_threshold is 0.3, but generator"),
        ("xtr", {"centroid_threshold": 0.3}, "centroid_threshold is 0.3, but this collection retrieves tokens"),
        ("xtr", {"generator": "lower_bound"}, 'generator is "lower_bound", but this collection retrieves tokens'),
        ("plaid", {"centroid_threshold": "high"}, "centroid_threshold is 'high'"),
    ],
)
def test_options_without_effect_are_refused(
    collections: dict[str, pgretrieval.Collection], texts: Texts, name: str, options: dict[str, Any], message: str
):
    """An option that the search does not use raises an error."""
    with pytest.raises(pgretrieval.ConfigError, match=message):
        collections[name].search(vectors=texts.queries[0], **options)


@pytest.mark.parametrize("name", ["colbertv2", "plaid"])
def test_generators_of_papers_search_any_collection(database: pgretrieval.RetrievalDatabase, texts: Texts, name: str):
    """Without a preset of the collection, the generator takes the values of its own; vectors that are stored are scored."""
    docs = database.create_collection("docs", keep_vectors=True)
    docs.add(texts.passages[:150], vectors=texts.vectors[:150])
    docs.build()
    generator = PRESETS[name].search[0]["generator"]
    vectors = {passage.id: rows for passage, rows in zip(texts.passages, texts.vectors[:150], strict=False)}
    for query in texts.queries:
        hits = docs.search(vectors=query, generator=generator)
        assert [hit.score for hit in hits] == pytest.approx([maxsim(query, vectors[hit.id]) for hit in hits], abs=2e-3)
        given = {option: value for option, value in PRESETS[name].search[0].items() if option != "k"}
        assert hits == docs.search(vectors=query, **given)


@pytest.mark.parametrize("name", ["colbertv2", "plaid", "xtr", "colxtr"])
def test_presets_serve_every_search(collections: dict[str, pgretrieval.Collection], texts: Texts, name: str):
    """Restrictions, more hits than are listed, several queries, and words beside vectors."""
    docs, query = collections[name], texts.queries[0]
    among = [passage.id for passage in texts.passages[:40]]
    assert {hit.id for hit in docs.search(vectors=query, k=40, among=among)} == set(among)
    assert len(docs.search(vectors=query, k=PASSAGES + 5, **({} if "xtr" in name else {"probes": 1}))) == PASSAGES
    assert docs.search_many(vectors=texts.queries) == [docs.search(vectors=each) for each in texts.queries]
    assert len(docs.hybrid_search("socket", vectors=query)) == 10


def test_a_preset_searches_before_the_first_build(database: pgretrieval.RetrievalDatabase, texts: Texts):
    """Scores have the scale of later ones: the mean of the preset."""
    docs = database.create_collection("docs", preset="colxtr")
    docs.add(texts.passages[:20], vectors=texts.vectors[:20])
    query = texts.queries[0]
    exact = {
        passage.id: maxsim(query, rows) / len(query) for passage, rows in zip(texts.passages, texts.vectors[:20], strict=False)
    }
    assert_hits(docs.search(vectors=query), exact)


# ---- ANNCUR


@pytest.mark.parametrize("of_collection", [True, False])
def test_anncur_is_the_plain_factorisation(database: pgretrieval.RetrievalDatabase, texts: Texts, of_collection: bool):
    """Random anchors, U the plain pseudo-inverse; a search scores every anchor item and then the best by e_q U R."""
    model, anchor_items, budget = TableCrossEncoder(noise=0.1), 20, 60
    if of_collection:
        docs = database.create_collection("docs", preset="anncur")
        assert docs.settings.texts_alone
    else:
        docs = database.create_collection("docs", encoder="none")
    docs.add([{"id": str(number), "text": f"text {number}"} for number in range(PASSAGES)])
    anchor_queries = [f"query {number}" for number in range(60)]
    docs.factorize(model, anchor_queries, anchor_items, preset=None if of_collection else "anncur")
    with psycopg.connect(database.url) as connection:
        keys = connection.execute(
            "select key from pgretrieval.anchor_item join pgretrieval.passage using (bucket, passage_id)"
        ).fetchall()
    anchors = sorted(int(key) for (key,) in keys)
    rng = np.random.default_rng(0)
    assert anchors == sorted(rng.choice(PASSAGES, anchor_items, replace=False).tolist())
    scores = model.table[:60, :PASSAGES].astype(np.float32).astype(np.float64)
    item_embeddings = np.linalg.pinv(scores[:, anchors], rcond=1e-15) @ scores
    for number in range(60, 70):
        model.asked.clear()
        exact = model.table[number, :PASSAGES]
        estimates = exact[anchors] @ item_embeddings
        estimates[anchors] = -np.inf
        scored = [*anchors, *np.argsort(-estimates)[: budget - anchor_items].tolist()]
        hits = docs.search(f"query {number}", 10, scorer="cross_encoder", budget=budget)
        assert sorted(int(text.split()[-1]) for _, text in model.asked) == sorted(scored)
        assert_hits(hits, {str(place): float(exact[place]) for place in scored})
    found = docs.stats()["factorization"]
    assert (found["selection"], found["regularisation"], found["strength"]) == ("random", "truncation", 1e-15)
    again = docs.factorize(model, anchor_queries, anchor_items, preset="anncur")
    assert not again.solved
    assert docs.factorize(model, anchor_queries, anchor_items, preset="anncur", split="auto").solved
    assert docs.factorize(
        model, anchor_queries, anchor_items, "greedy", regularisation="auto", split="auto", preset="anncur"
    ).solved
    assert docs.stats()["factorization"]["selection"] == "greedy"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "colbertv2"}, "preset is 'colbertv2'; choose anncur"),
        ({"regularisation": "ridge"}, "regularisation is 'ridge'; choose auto or none"),
        ({"split": "half"}, "split is 'half'; choose auto or all"),
    ],
)
def test_factorisations_refuse_other_values(database: pgretrieval.RetrievalDatabase, options: dict[str, Any], message: str):
    """The error names the values."""
    docs = database.create_collection("docs", encoder="none")
    docs.add([{"id": "1", "text": "text 1"}])
    with pytest.raises(pgretrieval.ConfigError, match=message):
        docs.factorize(TableCrossEncoder(), [f"query {number}" for number in range(20)], **options)
