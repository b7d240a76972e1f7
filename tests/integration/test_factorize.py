"""Factorisation of a collection, and search by the cross-encoder within a budget."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pgretrieval
from pgretrieval.errors import ConfigError, EncoderError, IndexNotBuiltError, InputError, PgRetrievalWarning
from tests.fixtures.collections import Corpus
from tests.support.cross_encoder import TableCrossEncoder, queries

TRAIN = queries(range(60))


def ids(hits: Any) -> list[int]:
    return [int(hit.id[1:]) for hit in hits]


@pytest.fixture(scope="module")
def scores() -> TableCrossEncoder:
    return TableCrossEncoder()


@pytest.fixture(scope="module")
def shared(module_database: pgretrieval.RetrievalDatabase, corpus: Corpus, scores: TableCrossEncoder) -> pgretrieval.Collection:
    """300 passages, factorised and never built; tests must not change them."""
    collection = module_database.create_collection("shared")
    collection.add(corpus.passages, vectors=corpus.vectors)
    report = collection.factorize(cross_encoder=scores, anchor_queries=TRAIN, anchor_items=30)
    assert report.calls >= 60 * 300
    assert (report.embedded, report.solved, report.anchor_queries, report.anchor_items) == (300, True, 60, 30)
    return collection


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase, corpus: Corpus, scores: TableCrossEncoder) -> pgretrieval.Collection:
    """The same for a single test."""
    collection = database.create_collection("docs")
    collection.add(corpus.passages, vectors=corpus.vectors)
    collection.factorize(cross_encoder=scores, anchor_queries=TRAIN, anchor_items=30)
    return collection


def recall(collection: pgretrieval.Collection, scores: TableCrossEncoder, k: int = 10, **how: Any) -> float:
    found = [
        np.isin(scores.best(number, k), ids(collection.search(f"query {number}", k, scorer="cross_encoder", **how))).mean()
        for number in range(60, 75)
    ]
    return float(np.mean(found))


def test_a_budget_finds_the_best_with_their_exact_scores(shared: pgretrieval.Collection, scores: TableCrossEncoder):
    """Hits have exact scores and are ordered by them."""
    assert recall(shared, scores, budget=100) > 0.97
    hits = shared.search("query 70", 20, scorer="cross_encoder", budget=100)
    assert [hit.rank for hit in hits] == list(range(1, 21))
    assert [hit.score for hit in hits] == pytest.approx(scores.table[70, ids(hits)].tolist(), abs=1e-5)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert hits[0].text == f"text of passage {hits[0].id[1:]}"


@pytest.mark.parametrize("budget", [3, 29, 60, 300, 2000])
@pytest.mark.parametrize("rounds", [None, 2, 7])
def test_budgets_are_kept_and_reported(shared: pgretrieval.Collection, scores: TableCrossEncoder, budget: int, rounds: int | None):
    """A search reports its calls, spends at most the budget, and scores no pair twice."""
    scores.asked.clear()
    explained = shared.explain("query 61", 3, scorer="cross_encoder", budget=budget, rounds=rounds)
    assert len(scores.asked) == explained.cross_encoder_calls == min(budget, 300)
    assert len(set(scores.asked)) == len(scores.asked)
    assert len(explained.hits) == 3


def test_less_than_all_anchors_are_of_use(shared: pgretrieval.Collection, scores: TableCrossEncoder):
    """A budget below the number of anchor items finds the best passage more often than not, a larger one at least as often."""
    assert recall(shared, scores, k=1, budget=25) > 0.5
    assert recall(shared, scores, k=1, budget=25) <= recall(shared, scores, k=1, budget=100)


def test_rounds_learn_from_scores(shared: pgretrieval.Collection, scores: TableCrossEncoder):
    """Later rounds use the scores of earlier ones."""
    assert recall(shared, scores, budget=60, rounds=4) > 0.9
    assert recall(shared, scores, budget=60, rounds=4) >= recall(shared, scores, budget=60) - 0.05


def test_filters_restrict_what_is_found(shared: pgretrieval.Collection, scores: TableCrossEncoder):
    """Only matching passages are hits, and few matches among many are found."""
    for limit, rounds in ((150, None), (20, None), (150, 3), (20, 3)):
        found = ids(
            shared.search("query 62", 10, scorer="cross_encoder", budget=80, rounds=rounds, where={"number": {"$lt": limit}})
        )
        best = scores.best(62, 10, range(limit))
        assert max(found) < limit
        assert len(found) == 10
        assert np.isin(best, found).mean() >= 0.9
    among = [f"p{number}" for number in range(0, 60, 2)]
    found = ids(shared.search("query 62", 5, scorer="cross_encoder", budget=80, among=among))
    assert found == scores.best(62, 5, range(0, 60, 2))
    assert shared.search("query 62", 5, scorer="cross_encoder", budget=80, where={"number": -1}) == []


@pytest.mark.parametrize("rounds", [None, 3])
def test_all_that_match_come_where_the_budget_pays_for_them(
    shared: pgretrieval.Collection, scores: TableCrossEncoder, rounds: int | None
):
    """All matching passages are returned if the budget suffices."""
    few = shared.search("query 68", 25, scorer="cross_encoder", budget=25, rounds=rounds, where={"number": {"$lt": 20}})
    assert ids(few) == scores.best(68, 20, range(20))
    full = shared.search("query 68", 30, scorer="cross_encoder", budget=30, rounds=rounds, where={"number": {"$lt": 100}})
    assert len(full) == 30


def test_every_call_of_rounds_goes_to_a_candidate(shared: pgretrieval.Collection, scores: TableCrossEncoder):
    """Rounds spend no calls on anchors that a filter excludes."""
    scores.asked.clear()
    shared.search("query 62", 5, scorer="cross_encoder", budget=40, rounds=4, where={"number": {"$lt": 100}})
    assert len(scores.asked) == 40
    assert all(int(text.split()[-1]) < 100 for _, text in scores.asked)


@pytest.mark.parametrize("generator", ["text", "postings"])
def test_another_generator_begins(shared: pgretrieval.Collection, scores: TableCrossEncoder, corpus: Corpus, generator: str):
    """Results of the other generator are scored first, once each."""
    scores.asked.clear()
    extra = {"vectors": corpus.queries[0]} if generator == "postings" else {}
    if generator == "text":
        first = [hit.id for hit in shared.text_search("passage 63", 8)]
    else:
        first = [hit.id for hit in shared.search(vectors=corpus.queries[0], k=8)]
    shared.search("passage 63", 5, scorer="cross_encoder", budget=40, rounds=5, generator=generator, **extra)
    assert [f"p{text.split()[-1]}" for _, text in scores.asked][:8] == first
    assert len(set(scores.asked)) == 40


def test_one_round_scores_only_the_generators_passages(shared: pgretrieval.Collection, scores: TableCrossEncoder):
    """rounds=1 scores exactly the generator's passages."""
    for among in (["p3", "p4", "p9"], []):
        scores.asked.clear()
        options = {"budget": 40, "rounds": 1, "generator": "text", "among": among}
        explained = shared.explain("passage 63", 3, scorer="cross_encoder", **options)
        assert explained.cross_encoder_calls == len(scores.asked) == len(among)
        assert {hit.id for hit in explained.hits} == set(among)
    scores.asked.clear()
    reranked = shared.text_search("passage 63", 12)
    hits = shared.search("passage 63", 5, scorer="cross_encoder", budget=12, rounds=1, generator="text")
    assert [f"p{text.split()[-1]}" for _, text in scores.asked] == [hit.id for hit in reranked]
    assert [int(hit.id[1:]) for hit in hits] == scores.best(63, 5, [int(hit.id[1:]) for hit in reranked])


def test_new_passages_are_found_by_another_generator(docs: pgretrieval.Collection, scores: TableCrossEncoder, corpus: Corpus):
    """Passages added since are found by another generator and reported as not scored."""
    docs.add([{"id": "p300", "text": "unheard of passage 300"}], vectors=corpus.vectors[:1])
    assert docs.stats()["factorization"]["not_scored"] == 1
    scores.table[64, 300] = 99
    assert ids(docs.search("query 64", 5, scorer="cross_encoder", budget=300)) == scores.best(64, 5)
    for rounds in (1, 3):
        hits = docs.search("unheard of 64", 5, scorer="cross_encoder", budget=30, rounds=rounds, generator="text")
        assert hits[0].id == "p300"
    scores.asked.clear()
    report = docs.factorize(cross_encoder=scores, anchor_queries=TRAIN, anchor_items=30)
    assert (report.embedded, report.solved) == (1, False)
    assert {text for _, text in scores.asked} == {"unheard of passage 300"}
    assert len(set(scores.asked)) == 60
    assert docs.stats()["factorization"]["not_scored"] == 0
    assert not docs.check()


def test_deleted_and_updated_passages_go_at_commit(docs: pgretrieval.Collection, scores: TableCrossEncoder, corpus: Corpus):
    """Deleted and updated passages disappear with their embeddings and scores at commit; missing anchors do not stop a search."""
    gone = scores.best(65, 3)
    docs.delete([f"p{number}" for number in gone])
    left = [number for number in range(300) if number not in gone]
    assert ids(docs.search("query 65", 5, scorer="cross_encoder", budget=150)) == scores.best(65, 5, left)
    changed = scores.best(65, 1, left)[0]
    docs.update([{"id": f"p{changed}", "text": f"changed passage {changed}"}], vectors=corpus.vectors[:1])
    assert docs.stats()["factorization"]["not_scored"] == 1
    docs.delete([f"p{number}" for number in range(0, 300, 2) if f"p{number}" not in gone])
    assert docs.stats()["factorization"]["anchor_items_gone"] > 5
    odd = [number for number in left if number % 2 and number != changed]
    found = ids(docs.search("query 65", 5, scorer="cross_encoder", budget=60))
    assert np.isin(scores.best(65, 5, odd), found).mean() >= 0.8
    assert not docs.check()


def test_other_anchors_need_no_scores(docs: pgretrieval.Collection, scores: TableCrossEncoder, corpus: Corpus):
    """Other anchor items reuse the scores, and searches use the new ones."""
    docs.build()
    scores.asked.clear()
    for selection in ("random", "kmeans", "top"):
        report = docs.factorize(cross_encoder=scores, anchor_queries=TRAIN, anchor_items=25, selection=selection)
        assert (report.calls, report.solved, report.anchor_items) == (0, True, 25)
        assert docs.stats()["factorization"]["selection"] == selection
        assert recall(docs, scores, budget=100) > 0.9
        assert not docs.check()
    assert docs.factorize(cross_encoder=scores, anchor_queries=TRAIN, anchor_items=25, selection="top").solved is False


@pytest.mark.parametrize(("popularity", "selection"), [(0, "greedy"), (30, "top")])
def test_anchor_items_are_chosen_by_held_out_queries(
    database: pgretrieval.RetrievalDatabase, corpus: Corpus, popularity: float, selection: str
):
    """Without a selection, it is the one with which searches find more; the same call again changes nothing, a named one does."""
    model = TableCrossEncoder()
    model.table += popularity * np.random.default_rng(1).standard_normal(model.table.shape[1])
    collection = database.create_collection("docs")
    collection.add(corpus.passages, vectors=corpus.vectors)
    assert collection.factorize(model, TRAIN, 15).solved
    assert collection.stats()["factorization"]["selection"] == selection
    assert collection.factorize(model, TRAIN, 15, "auto").solved is False
    assert collection.factorize(model, TRAIN, 15, selection).solved is True


def test_an_interrupted_run_resumes(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """An interrupted run keeps its scores, and searches never use an unfinished factorisation."""
    collection = database.create_collection("docs")
    collection.add(corpus.passages, vectors=corpus.vectors)
    model = TableCrossEncoder()

    class StopError(Exception):
        pass

    def after_three_blocks(name: str, done: int, _total: int) -> None:
        if name == "score" and done > 10_000:
            raise StopError

    with pytest.raises(StopError):
        collection.factorize(model, TRAIN, 30, stage=after_three_blocks)
    assert collection.stats()["factorization"] is None
    with pytest.raises(IndexNotBuiltError, match="no factorisation"):
        collection.search("query 61", scorer="cross_encoder", budget=50)
    first = set(model.asked)
    model.asked.clear()

    def while_embedding(name: str, done: int, total: int) -> None:
        if name == "embed" and done == total:
            raise StopError

    with pytest.raises(StopError):
        collection.factorize(model, TRAIN, 30, stage=while_embedding)
    assert 60 * 300 - len(first) <= len(model.asked) <= 60 * 300 - len(first) + 128
    assert collection.stats()["factorization"] is None
    model.asked.clear()
    collection.factorize(model, TRAIN, 30)
    assert model.asked == []
    assert recall(collection, model, budget=100) > 0.95
    assert not collection.check()


def test_costs_are_reported_before_scoring(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """`costs` is called before scoring starts and can stop it."""
    collection = database.create_collection("docs")
    collection.add(corpus.passages, vectors=corpus.vectors)
    model = TableCrossEncoder()
    told = []

    def decline(costs: Any) -> None:
        told.append(costs)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collection.factorize(model, TRAIN, 30, costs=decline)
    assert told[0].pairs == 300 * 60
    assert told[0].seconds > 0
    assert told[0].bytes == 300 * (60 * 2 + 30 * 8) + 30 * (60 * 12 + 30 * 4)
    assert len(model.asked) <= 65


def test_a_new_factorisation_replaces_the_old(docs: pgretrieval.Collection, scores: TableCrossEncoder, connection: Any):
    """The replaced factorisation is dropped."""
    docs.factorize(scores, TRAIN[:50], 20)
    for parent in ("anchor_score", "item_embedding"):
        found = connection.execute(
            f"select count(*) from pg_inherits where inhparent = 'pgretrieval.{parent}'::regclass"
        ).fetchone()
        assert found == (1,)
    assert connection.execute("select count(*) from pgretrieval.anchor_query").fetchone() == (50,)
    assert docs.stats()["bytes"]["item_embedding"] > 0
    assert docs.stats()["bytes"]["factorization"] >= 20 * (50 * 12 + 20 * 4)
    assert docs.stats()["bytes"]["anchor_score"] > 0


def test_a_dropped_collection_leaves_nothing(
    docs: pgretrieval.Collection, database: pgretrieval.RetrievalDatabase, connection: Any
):
    """Dropping a collection removes partitions and rows of its factorisation."""
    database.drop_collection(docs.name)
    left = "select count(*) from pg_inherits join pg_class on oid = inhrelid where relkind = 'r'"
    assert connection.execute(left).fetchone() == (0,)
    for table in ("score_matrix", "factorization", "anchor_item", "anchor_query"):
        assert connection.execute(f"select count(*) from pgretrieval.{table}").fetchone() == (0,)


def test_a_factorisation_outlives_a_rebuild_and_a_compaction(
    database: pgretrieval.RetrievalDatabase, scores: TableCrossEncoder, corpus: Corpus
):
    """Rebuilds and compactions keep the embeddings."""
    collection = database.create_collection("kept", keep_vectors=True)
    collection.add(corpus.passages, vectors=corpus.vectors)
    collection.factorize(scores, TRAIN, 30)
    collection.build()
    collection.add([{"id": "new", "text": "passage 301"}], vectors=corpus.vectors[:1])
    collection.delete(["new"])
    collection.compact()
    collection.rebuild()
    assert ids(collection.search("query 66", 5, scorer="cross_encoder", budget=100)) == scores.best(66, 5)
    assert not collection.check()


def test_half_precision(docs: pgretrieval.Collection, scores: TableCrossEncoder, connection: Any):
    """`element="halfvec"` has an index of that type, which searches use."""
    docs.factorize(scores, TRAIN, 30, element="halfvec")
    definition = connection.execute("select indexdef from pg_indexes where indexname ~ '^item_embedding_.*_hnsw$'").fetchone()
    assert "halfvec(30)" in definition[0]
    assert recall(docs, scores, budget=100) > 0.97


def test_a_handle_follows_another_factorisation(docs: pgretrieval.Collection, scores: TableCrossEncoder, database: Any):
    """An open handle uses a new factorisation."""
    other = database.get_collection("docs", cross_encoder=scores)
    assert recall(other, scores, budget=100) > 0.97
    docs.factorize(scores, TRAIN, 20)
    assert recall(other, scores, budget=100) > 0.9


def test_a_factorisation_that_is_replaced_during_a_search(docs: pgretrieval.Collection, database: Any, scores: TableCrossEncoder):
    """A factorisation replaced during a search loses no hits and costs no extra calls."""

    class Replacing(TableCrossEncoder):
        replaced = False

        def predict(self, pairs: Any) -> Any:
            if not self.replaced and len(pairs) > 1:
                self.replaced = True
                docs.factorize(scores, TRAIN, 20, selection="random")
            return super().predict(pairs)

    model = Replacing()
    searching = database.get_collection("docs", cross_encoder=model)
    explained = searching.explain("query 67", 5, scorer="cross_encoder", budget=80)
    assert model.replaced
    assert explained.cross_encoder_calls == len(model.asked) == 80
    assert np.isin(model.best(67, 5), ids(explained.hits)).mean() >= 0.8


def test_rerank_of_any_search(database: pgretrieval.RetrievalDatabase, corpus: Corpus, scores: TableCrossEncoder):
    """Reranked hits have new ranks and scores, and only the requested number is scored."""
    collection = database.create_collection("plain")
    collection.add(corpus.passages, vectors=corpus.vectors)
    found = ids(collection.search(vectors=corpus.queries[0], k=20))
    scores.asked.clear()
    explained = collection.explain("query 5", 4, vectors=corpus.queries[0], rerank=scores, rerank_depth=20)
    assert ids(explained.hits) == scores.best(5, 4, found)
    assert explained.cross_encoder_calls == len(scores.asked) == 20
    assert [hit.rank for hit in explained.hits] == [1, 2, 3, 4]
    words = collection.search("passage 7", 1, generator="text", rerank=scores, rerank_depth=5)
    assert words[0].score == pytest.approx(scores.table[7, int(words[0].id[1:])])


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"anchor_queries": TRAIN[:9]}, InputError, "9 distinct anchor queries"),
        ({"anchor_queries": TRAIN[:9] * 5}, InputError, "9 distinct anchor queries"),
        ({"anchor_queries": [*TRAIN, " "]}, InputError, "' '"),
        ({"anchor_queries": "query 1"}, InputError, "a list of texts"),
        ({"anchor_items": 0}, ConfigError, "anchor_items is 0"),
        ({"anchor_items": 2001}, ConfigError, '2,000 dimensions of vector.*element="halfvec"'),
        ({"anchor_items": 4001, "element": "halfvec"}, ConfigError, "4,000 dimensions of halfvec"),
        ({"element": "bit"}, ConfigError, "element is 'bit'"),
        ({"selection": "best"}, ConfigError, "selection is 'best'"),
        ({"cross_encoder": object()}, EncoderError, "no method predict"),
    ],
)
def test_invalid_arguments_are_refused_before_scoring(
    shared: pgretrieval.Collection, scores: TableCrossEncoder, arguments: dict[str, Any], error: type[Exception], said: str
):
    """Invalid arguments are refused before scoring."""
    scores.asked.clear()
    with pytest.raises(error, match=said):
        shared.factorize(**{"cross_encoder": scores, "anchor_queries": TRAIN, **arguments})
    assert scores.asked == []


def test_repeated_queries_are_skipped_and_reported(docs: pgretrieval.Collection, scores: TableCrossEncoder):
    """Repeated queries are skipped and reported, as they would make the matrix singular."""
    with pytest.warns(PgRetrievalWarning, match="7 of 67 anchor queries"):
        report = docs.factorize(scores, TRAIN + TRAIN[:7], 30)
    assert (report.anchor_queries, report.calls) == (60, 0)


def test_constant_scores(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Constant rows do not affect the factorisation; only constant rows raise an error."""
    collection = database.create_collection("docs")
    collection.add(corpus.passages, vectors=corpus.vectors)
    model = TableCrossEncoder()
    model.table[[3, 8]] = 1e5
    report = collection.factorize(model, TRAIN, 30)
    assert report.constant_queries == 2
    assert recall(collection, model, budget=100) > 0.95
    assert recall(collection, model, budget=60, rounds=4) > 0.9
    model.table[:55] = 7.5
    model.fingerprint = "another"
    with pytest.raises(InputError, match="55 of 60 anchor queries have the same score"):
        collection.factorize(model, TRAIN, 30)


def test_scores_that_are_no_numbers(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """A score that is not finite raises an error, and earlier scores are kept."""
    collection = database.create_collection("docs")
    collection.add(corpus.passages, vectors=corpus.vectors)
    model = TableCrossEncoder()
    model.table[41, 250] = np.nan
    with pytest.raises(EncoderError, match=r"no finite score for query 'query 41'.*passage 250"):
        collection.factorize(model, TRAIN, 30)
    model.table[41, 250] = 0
    model.asked.clear()
    assert collection.factorize(model, TRAIN, 30).embedded == 300
    assert len(model.asked) < 60 * 120


@pytest.mark.parametrize(
    "options",
    [
        {"scorer": "cross_encoder", "budget": 40},
        {"scorer": "cross_encoder", "budget": 40, "generator": "text"},
        {"rerank": TableCrossEncoder(), "generator": "text", "rerank_depth": 12},
        {"rerank": TableCrossEncoder(), "rerank_depth": 12},
    ],
    ids=["budget", "begun by words", "words reranked", "reranked"],
)
def test_search_many_takes_a_cross_encoder(shared: pgretrieval.Collection, corpus: Corpus, options: dict[str, Any]):
    """Each query of search_many has its own starting ranking and budget."""
    texts, vectors = ["passage 63", "passage 70"], corpus.queries[:2]
    alone = [shared.search(text, 5, vectors=rows, **options) for text, rows in zip(texts, vectors, strict=True)]
    assert shared.search_many(texts, 5, vectors=vectors, **options) == alone
    with pytest.raises(ConfigError, match="2 query texts and 1 arrays"):
        shared.search_many(texts, 5, vectors=vectors[:1], **options)
    assert shared.search_many([], 5, vectors=[], **options) == []


def test_an_empty_collection(database: pgretrieval.RetrievalDatabase, scores: TableCrossEncoder):
    """An empty collection raises an error."""
    with pytest.raises(IndexNotBuiltError, match="'none' is empty"):
        database.create_collection("none").factorize(scores, TRAIN)


def test_more_anchors_than_passages(database: pgretrieval.RetrievalDatabase, scores: TableCrossEncoder, corpus: Corpus):
    """With fewer passages than the default of anchor items, all become anchors."""
    collection = database.create_collection("small")
    collection.add(corpus.passages[:20], vectors=corpus.vectors[:20])
    assert collection.factorize(scores, TRAIN).anchor_items == 20
    hits = collection.search("query 61", 5, scorer="cross_encoder", budget=20)
    assert ids(hits) == scores.best(61, 5, range(20))


def test_a_changed_cross_encoder_is_refused(docs: pgretrieval.Collection, database: Any, scores: TableCrossEncoder):
    """A changed cross-encoder is refused."""
    with pytest.raises(ConfigError, match=r"not the one that collection.*or factorize with this one"):
        database.get_collection("docs", cross_encoder=TableCrossEncoder(seed=1)).search(
            "query 61", scorer="cross_encoder", budget=50
        )
    with pytest.raises(EncoderError, match="use_cross_encoder"):
        database.get_collection("docs").search("query 61", scorer="cross_encoder", budget=50)
    assert docs.search("query 61", 1, scorer="cross_encoder", budget=50)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"budget": 0}, "budget is 0"),
        ({"budget": 4}, "budget is 4, less than k, 5"),
        ({"budget": 2.5}, "budget is 2.5"),
        ({"rounds": 1}, "rounds is 1"),
        ({"rounds": 0, "generator": "text"}, "rounds is 0"),
        ({"scorer": "cross-encoder"}, "scorer is 'cross-encoder'"),
        ({"scorer": None}, "budget and rounds need"),
        ({"rerank": TableCrossEncoder()}, "leave rerank= out"),
        ({"scorer": None, "budget": None, "rerank": TableCrossEncoder(), "rerank_depth": 3}, "rerank_depth is 3"),
        ({"k": 0}, "k is 0"),
        ({"query": " "}, "a cross-encoder reads texts"),
    ],
)
def test_bad_arguments_of_a_search(shared: pgretrieval.Collection, arguments: dict[str, Any], said: str):
    """Invalid arguments of a search are refused."""
    given = {"query": "query 61", "k": 5, "scorer": "cross_encoder", "budget": 50, **arguments}
    with pytest.raises((ConfigError, InputError), match=said):
        shared.search(**given)
