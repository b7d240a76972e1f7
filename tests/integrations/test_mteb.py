"""MTEB evaluates collections on a task that needs no network."""

from __future__ import annotations

from typing import Any

import mteb
import pytest
from datasets import Dataset
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import SearchProtocol

import pgretrieval
from pgretrieval.errors import ConfigError, IndexNotBuiltError, InputError, PgRetrievalWarning
from pgretrieval.evaluate.metrics import mean_metrics, parse_metrics, run_from_ranking
from pgretrieval.integrations.mteb import PgRetrievalSearch
from tests.support.encoder import HashedEncoder

CORPUS = [
    {
        "id": f"d{number}",
        "title": f"word{number % 5}",
        "text": f"word{number} word{number % 7} common word{number % 11}{f' own{number}' * (number + 1)}",
    }
    for number in range(60)
]
"""Of different lengths and with words of their own, so that no two have the same score, whose order metrics choose differently."""
QUERIES = [
    {"id": f"q{number}", "text": " ".join([f"word{number} word{number % 7}", *(f"other{number}of{each}" for each in range(12))])}
    for number in range(12)
]
QRELS = {f"q{number}": {f"d{number}": 2, f"d{number + 35}": 1} for number in range(12)}


class Words(AbsTaskRetrieval):
    """Sixty documents, twelve queries."""

    metadata = TaskMetadata(
        name="Words",
        description="Made for a test.",
        reference=None,
        dataset={"path": "nobody/words", "revision": "1"},
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation="",
    )
    top_ranked: Any = None

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        given = {"corpus": CORPUS, "queries": QUERIES}
        split = {name: Dataset.from_list(rows) for name, rows in given.items()}
        self.dataset = {"default": {"test": {**split, "relevant_docs": QRELS, "top_ranked": self.top_ranked}}}
        self.data_loaded = True


def evaluated(model: PgRetrievalSearch, task: AbsTaskRetrieval) -> dict[str, Any]:
    """The scores of MTEB."""
    result = mteb.evaluate(model, [task], cache=None, co2_tracker=False, show_progress_bar=False)
    return result.task_results[0].scores["test"][0]


@pytest.mark.parametrize("mode", [None, "late", "words"])
def test_mteb_measures_what_we_measure(database_url: str, mode: Any):
    """nDCG@10 by `mteb.evaluate` is that of our own metrics over the collection's own searches."""
    model = PgRetrievalSearch("run", url=database_url, encoder=HashedEncoder(), mode=mode)
    assert isinstance(model, SearchProtocol)
    scores = evaluated(model, Words())
    docs = model.collection
    assert docs.name == "run Words default test"
    search = {None: docs.hybrid_search, "late": docs.search, "words": docs.text_search}[mode]
    runs = {query["id"]: run_from_ranking([hit.id for hit in search(query["text"], k=10)]) for query in QUERIES}
    ours = mean_metrics(parse_metrics("nDCG@10"), QRELS, {10: runs})
    assert scores["ndcg_at_10"] == pytest.approx(ours["nDCG@10"], abs=1e-5)
    assert 0.3 < scores["ndcg_at_10"] < 1
    model.close()


def test_a_second_run_encodes_nothing(database_url: str):
    """Its collections stay, and are completed."""
    first, second = HashedEncoder(), HashedEncoder()
    for encoder in (first, second):
        model = PgRetrievalSearch("run", url=database_url, encoder=encoder)
        evaluated(model, Words())
        model.close()
    assert first.encoded - second.encoded == len(CORPUS)  # an encoder is tried when it is loaded


def test_a_reranking_task_ranks_its_candidates(database: pgretrieval.RetrievalDatabase):
    """In a collection that was given, instead of one by name."""
    model = PgRetrievalSearch(database.create_collection("words", encoder=HashedEncoder()))
    found: dict[str, Any] = {}
    task = Words()
    task.top_ranked = {query["id"]: ["d1", "d2", f"d{number}"] for number, query in enumerate(QUERIES)}
    search = model.search

    def watched(*args: Any, **kwargs: Any) -> Any:
        found.update(search(*args, **kwargs))
        return found

    model.search = watched  # type: ignore[method-assign]
    evaluated(model, task)
    assert set(found["q7"]) == {"d1", "d2", "d7"}
    assert max(found["q7"], key=found["q7"].get) == "d7"


def given() -> dict[str, Any]:
    """The arguments of `index` and `search` that concern the task."""
    return {"task_metadata": Words.metadata, "hf_split": "test", "hf_subset": "default", "encode_kwargs": {}, "num_proc": None}


def test_blank_documents_and_titles_alone(database: pgretrieval.RetrievalDatabase):
    """A title alone is a passage; a document without both is left out, with a warning."""
    model = PgRetrievalSearch(database.create_collection("words", encoder=HashedEncoder()))
    rows = [{"id": "1", "title": "Tea", "text": " "}, {"id": "2", "title": "", "text": ""}, {"id": "3", "title": None, "text": "a"}]
    with pytest.warns(PgRetrievalWarning, match="1 documents have neither title nor text"):
        model.index(Dataset.from_list(rows), **given())
    passages = model.collection.get(where={})
    assert [(passage.title, passage.text) for passage in passages.values()] == [(None, "Tea"), (None, "a")]
    queries = Dataset.from_list([{"id": "q", "text": "a", "instruction": "tea"}])
    assert set(model.search(queries, top_k=2, **given())["q"]) == {"1", "3"}


def test_other_passages_and_other_tasks_are_refused(database: pgretrieval.RetrievalDatabase, database_url: str):
    docs = database.create_collection("words", encoder=HashedEncoder())
    docs.add([{"id": "other", "text": "other"}])
    model = PgRetrievalSearch(docs)
    with pytest.raises(ConfigError, match="contains 61 passages, but the corpus 60; give an empty collection, or a name"):
        model.index(Dataset.from_list(CORPUS), **given())
    with pytest.raises(ConfigError, match="the corpus of Words has no column 'text', only id, image"):
        model.index(Dataset.from_list([{"id": "1", "image": "x"}]), **given())
    with pytest.raises(InputError, match="query 'q' of Words is"):
        model.search(Dataset.from_list([{"id": "q", "text": ["turn"]}]), top_k=2, **given())
    with pytest.raises(IndexNotBuiltError, match="no corpus was indexed"):
        PgRetrievalSearch("nobody", url=database_url).search(Dataset.from_list(QUERIES), top_k=1, **given())
    with pytest.raises(ConfigError, match="mode is 'fast'; choose hybrid"):
        PgRetrievalSearch("nobody", mode="fast")


def test_the_name_of_results_tells_encoder_mode_and_options(database: pgretrieval.RetrievalDatabase):
    """So that MTEB does not take a result of other options for one of these."""
    meta = PgRetrievalSearch("run", mode="late", bits=2).mteb_model_meta
    assert (meta.name, meta.experiment_kwargs) == ("pgretrieval/minilm", {"mode": "late", "bits": "2"})
    assert PgRetrievalSearch("run", encoder=HashedEncoder()).mteb_model_meta.name == "pgretrieval/HashedEncoder"
    own = database.create_collection("own", encoder=HashedEncoder())
    assert PgRetrievalSearch(own).mteb_model_meta.name == "pgretrieval/HashedEncoder"
    plain = database.create_collection("plain", encoder="minilm")
    assert PgRetrievalSearch(plain).mteb_model_meta.name == "pgretrieval/minilm"
