"""Mining training tuples with a collection on a real server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgretrieval
from pgretrieval.errors import ConfigError, InputError
from pgretrieval.train.mining import MiningOptions, mine
from pgretrieval.train.tuples import TrainingSet, read_training_set, write_training_set
from pgretrieval.types import Hit, Passage
from tests.support.encoder import HashedEncoder

WORDS = [f"w{number}" for number in range(40)]


class Overlap:
    """Scores a pair by the number of common words."""

    def __init__(self) -> None:
        self.pairs = 0

    def predict(self, pairs: list[tuple[str, str]]) -> list[float]:
        self.pairs += len(pairs)
        return [float(len(set(query.split()) & set(passage.split()))) for query, passage in pairs]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    random = np.random.default_rng(0)
    return {f"p{number}": " ".join(random.choice(WORDS, 8)) for number in range(120)}


@pytest.fixture(scope="module")
def collection(module_database: pgretrieval.RetrievalDatabase, texts: dict[str, str]) -> pgretrieval.Collection:
    made = module_database.create_collection("mined", encoder=HashedEncoder(64))
    made.add({"id": key, "text": text, "title": "w0" if key == "p5" else None} for key, text in texts.items())
    made.build()
    return made


@pytest.fixture(scope="module")
def queries(texts: dict[str, str]) -> dict[str, str]:
    """Queries made of words of their passages."""
    return {f"q{number}": " ".join(texts[f"p{number}"].split()[:3]) for number in range(8)}


QRELS = {f"q{number}": {f"p{number}": 1, f"p{number + 50}": 1, "p100": 0} for number in range(6)}


def test_tuples_have_the_positive_first_and_no_relevant_negative(
    collection: pgretrieval.Collection, queries: dict[str, str], texts: dict[str, str]
):
    """The positive is first, negatives are near and not relevant, and scores match their pairs."""
    made = mine(collection, queries, QRELS, teacher=Overlap(), options=MiningOptions(ways=8, depth=30, unlabelled=False))
    assert {(one.query_id, one.passages[0]) for one in made.tuples} == {
        (query, passage) for query, grades in QRELS.items() for passage, grade in grades.items() if grade
    }
    found = {
        key: [hit.id for hit in hits] for key, hits in zip(queries, collection.search_many(list(queries.values()), 30), strict=True)
    }
    for one in made.tuples:
        assert len(set(one.passages)) == 8
        assert {f"p{one.query_id[1:]}", f"p{int(one.query_id[1:]) + 50}"} & set(one.passages[1:]) == set()
        assert set(one.passages[1:]) <= set(found[one.query_id])
        assert list(one.scores or ()) == Overlap().predict([(one.query, made.passages[key]) for key in one.passages])
    assert made.passages["p5"] == f"w0 {texts['p5']}"
    assert made.settings["teacher"]["type"].endswith("Overlap")


def test_copies_of_relevant_passages_are_no_negatives(
    module_database: pgretrieval.RetrievalDatabase, texts: dict[str, str], queries: dict[str, str]
):
    """Copies of relevant passages, under another passage or query id, are no negatives."""
    collection = module_database.create_collection("copies", encoder=HashedEncoder(64))
    copies = {f"copy{number}": texts[f"p{number}"] for number in range(8)}
    collection.add({"id": key, "text": text} for key, text in {**texts, **copies}.items())
    twice = {**queries, "again": queries["q1"]}
    qrels = {**QRELS, "again": {"p90": 1}}
    for options in (MiningOptions(60, 60, unlabelled=False), MiningOptions(60, 100, margin=3.0, unlabelled=False)):
        made = mine(collection, twice, qrels, teacher=Overlap(), options=options)
        for one in made.tuples:
            numbers = {key for key, query in twice.items() if query == one.query}
            relevant = {texts[key] for number in numbers for key, grade in qrels[number].items() if grade}
            assert {made.passages[key] for key in one.passages[1:]} & relevant == set()
            assert set(one.relevant) == {key for key, grade in qrels[one.query_id].items() if grade}


def test_a_run_can_be_repeated(collection: pgretrieval.Collection, queries: dict[str, str], tmp_path: Path):
    """The same arguments give the same tuples, and files contain them."""
    sets: list[TrainingSet] = []
    for number, seed in enumerate((0, 0, 1)):
        made = mine(collection, queries, QRELS, options=MiningOptions(ways=6, depth=40, seed=seed))
        write_training_set(tmp_path / str(number), made)
        sets.append(made)
        assert read_training_set(tmp_path / str(number)) == made
    for file in ("tuples.jsonl.gz", "passages.jsonl.gz", "mining.json"):
        assert (tmp_path / "0" / file).read_bytes() == (tmp_path / "1" / file).read_bytes()
    assert sets[0].tuples != sets[2].tuples
    assert not sets[0].scored


def test_a_margin_leaves_likely_positives_out(collection: pgretrieval.Collection, queries: dict[str, str]):
    """A margin excludes negatives scored like the positive; without one only sampled passages are scored."""
    teacher = Overlap()
    options = MiningOptions(ways=4, depth=60, margin=2.0)
    made = mine(collection, {"q1": queries["q1"]}, QRELS, teacher=teacher, options=options)
    [one] = [one for one in made.tuples if one.passages[0] == "p1"]
    assert one.scores is not None
    assert max(one.scores[1:]) <= one.scores[0] - 2
    assert teacher.pairs > 100
    teacher.pairs = 0
    mine(collection, {"q1": queries["q1"]}, QRELS, teacher=teacher, options=MiningOptions(ways=4, depth=60))
    assert teacher.pairs == 2 * 4


def test_without_judgements_the_teacher_chooses(collection: pgretrieval.Collection, queries: dict[str, str]):
    """Without judgements the positive is the teacher's best."""

    class Backwards(Overlap):
        def predict(self, pairs: list[tuple[str, str]]) -> list[float]:
            return [-score for score in super().predict(pairs)]

    made = mine(collection, queries, teacher=Backwards(), options=MiningOptions(ways=5, depth=30))
    assert len(made.tuples) == len(queries)
    for one in made.tuples:
        scores = list(one.scores or ())
        assert scores[0] == max(scores)
    first = collection.search(queries["q0"], k=1)[0].id
    assert made.tuples[0].passages[0] != first


def test_the_teacher_chooses_for_queries_without_judgements(collection: pgretrieval.Collection, queries: dict[str, str]):
    """Among judged queries, those without judgements have the teacher's best passage as positive, unless they are left out."""
    texts = {**queries, "copy": queries["q1"]}  # the text of a judged query under another id
    options = MiningOptions(ways=5, depth=30)
    made = mine(collection, texts, QRELS, teacher=Overlap(), options=options)
    chosen = {one.query_id: one for one in made.tuples if one.query_id not in QRELS}
    assert set(chosen) == {"q6", "q7"}
    for one in chosen.values():
        found = [hit.text for hit in collection.search(one.query, k=30)]
        best = max(Overlap().predict([(one.query, text) for text in found]))
        assert (one.scores or ())[0] == best
        assert one.relevant == (one.passages[0],)
        assert set(one.passages[1:]) <= {hit.id for hit in collection.search(one.query, k=30)}
    assert (made.settings["positives_by_teacher"], made.settings["queries_without_judgements"]) == (2, 1)
    for left_out in (
        mine(collection, texts, QRELS, teacher=Overlap(), options=MiningOptions(ways=5, depth=30, unlabelled=False)),
        mine(collection, texts, QRELS, options=options),
    ):
        assert {one.query_id for one in left_out.tuples} == set(QRELS)
        assert (left_out.settings["positives_by_teacher"], left_out.settings["queries_without_judgements"]) == (0, 3)


def test_negatives_are_drawn_from_the_search_by_words(collection: pgretrieval.Collection, queries: dict[str, str]):
    """`source` "words" draws from BM25's best passages, others from those of the token vectors."""
    drawn: dict[str, dict[str, set[str]]] = {"words": {}, "tokens": {}}
    for source, found in drawn.items():
        for seed in range(6):
            options = MiningOptions(ways=4, depth=9, skip=1, source=source, seed=seed)  # type: ignore[arg-type]
            for one in mine(collection, queries, QRELS, options=options).tuples:
                found.setdefault(one.query_id, set()).update(one.passages[1:])
    differ = 0
    for key in QRELS:
        words = [hit.id for hit in collection.text_search(queries[key], k=9)]
        tokens = [hit.id for hit in collection.search(queries[key], k=9)]
        assert len(words) == 9
        assert drawn["words"][key] == set(words[1:]) - {f"p{key[1:]}", f"p{int(key[1:]) + 50}"}
        assert drawn["tokens"][key] == set(tokens[1:]) - {f"p{key[1:]}", f"p{int(key[1:]) + 50}"}
        differ += drawn["words"][key] != drawn["tokens"][key]
    assert differ > 0


class Watched:
    """The collection, recording its calls."""

    def __init__(self, collection: pgretrieval.Collection) -> None:
        self._collection = collection
        self.name = collection.name
        self.asked: list[tuple[int, int]] = []

    def search_many(self, queries: Sequence[str] | None = None, k: int = 10) -> list[list[Hit]]:
        self.asked.append((len(queries or ()), k))
        return self._collection.search_many(queries, k)

    def text_search(self, query: str, k: int = 10) -> list[Hit]:
        return self._collection.text_search(query, k)

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        return self._collection.get(ids)


def test_by_default_64_ways_are_drawn_from_the_500_best(collection: pgretrieval.Collection, queries: dict[str, str]):
    """The documented defaults, 64 ways of the 500 best, are used."""
    watched = Watched(collection)
    made = mine(watched, queries, QRELS)
    assert watched.asked == [(6, 500)]
    assert {len(set(one.passages)) for one in made.tuples} == {64}
    assert (made.settings["skip"], made.settings["margin"], made.settings["teacher"]) == (0, None, None)


@pytest.mark.parametrize("judged", [True, False])
def test_the_first_passages_are_skipped(collection: pgretrieval.Collection, queries: dict[str, str], judged: bool):
    """`skip` excludes exactly the first passages."""
    drawn: dict[tuple[str, str], set[str]] = {}
    for seed in range(8):
        options = MiningOptions(ways=4, depth=12, skip=8, seed=seed)
        teacher = None if judged else Overlap()
        for one in mine(collection, queries, QRELS if judged else None, teacher=teacher, options=options).tuples:
            drawn.setdefault((one.query, one.passages[0]), set()).update(one.passages[1:])
    for (query, positive), negatives in drawn.items():
        found = [hit.id for hit in collection.search(query, k=12)]
        relevant = {f"p{number + more}" for number in range(6) for more in (0, 50) if queries[f"q{number}"] == query and judged}
        left = set(found[8:]) - relevant - {positive}
        assert negatives == left if len(left) > 2 else negatives > left  # filled with passages of other queries


def test_a_negative_at_the_margin_is_one(collection: pgretrieval.Collection, queries: dict[str, str]):
    """The margin is inclusive: a negative exactly at it is kept."""
    [query] = [queries["q1"]]
    passages = {hit.id: hit.text for hit in collection.search(query, k=120)}
    scores = dict(zip(passages, Overlap().predict([(query, text) for text in passages.values()]), strict=True))
    left = {key for key, score in scores.items() if score <= scores["p1"] - 2} - {"p51"}
    at, beyond = ({key for key in left if (scores[key] == scores["p1"] - 2) == level} for level in (True, False))
    assert at
    assert beyond
    options = MiningOptions(ways=64, depth=120, margin=2.0)
    made = mine(collection, {"q1": query}, QRELS, teacher=Overlap(), options=options)
    [one] = [one for one in made.tuples if one.passages[0] == "p1"]
    assert set(one.passages[1:]) <= left
    assert set(one.passages[1:]) & at
    assert len(left) >= 63


def test_progress_is_reported_to_the_end(collection: pgretrieval.Collection, texts: dict[str, str]):
    """Queries are searched in batches, and progress is reported to the end."""
    queries = {f"q{number}": " ".join(texts[f"p{number}"].split()[:3]) for number in range(70)}
    told: list[tuple[str, int, int]] = []
    watched = Watched(collection)
    made = mine(
        watched,
        queries,
        {key: {f"p{key[1:]}": 1} for key in queries},
        teacher=Overlap(),
        options=MiningOptions(ways=40, depth=50),
        stage=lambda *step: told.append(step),
    )
    assert watched.asked == [(64, 50), (6, 50)]
    assert [one.query_id for one in made.tuples] == list(queries)
    assert told[:2] == [("mine", 64, 70), ("mine", 70, 70)]
    assert told[2:] == [("score", 2048, 2800), ("score", 2800, 2800)]


def test_too_few_passages_are_named(module_database: pgretrieval.RetrievalDatabase, texts: dict[str, str]):
    """Too few passages raise an error; just enough do not."""
    few = module_database.create_collection("few", encoder=HashedEncoder(64))
    few.add({"id": f"p{number}", "text": texts[f"p{number}"]} for number in range(6))
    few.build()
    query = {"q": " ".join(texts["p0"].split()[:3])}
    made = mine(few, query, {"q": {"p0": 1, "p1": 1}}, options=MiningOptions(ways=5, depth=9, skip=4))
    assert [set(one.passages) for one in made.tuples] == [{"p0", "p2", "p3", "p4", "p5"}, {"p1", "p2", "p3", "p4", "p5"}]
    with pytest.raises(InputError, match=r"6 passages are too few for 6 ways; use fewer ways"):
        mine(few, query, {"q": {"p0": 1, "p1": 1}}, options=MiningOptions(ways=6, depth=9))


def test_small_collections_fill_their_tuples(collection: pgretrieval.Collection, queries: dict[str, str]):
    """All tuples have the same length in small collections."""
    options = MiningOptions(ways=40, depth=118, margin=0.5, skip=2, unlabelled=False)
    made = mine(collection, queries, QRELS, teacher=Overlap(), options=options)
    assert {len(set(one.passages)) for one in made.tuples} == {40}
    for one in made.tuples:
        relevant = {key for key, grade in QRELS[one.query_id].items() if grade}
        assert relevant & set(one.passages[1:]) == set()


def test_missing_relevant_passages_are_counted(collection: pgretrieval.Collection, queries: dict[str, str]):
    qrels = {"q0": {"p0": 1, "gone": 1}}
    made = mine(collection, queries, qrels, options=MiningOptions(ways=3, depth=10))
    assert [one.passages[0] for one in made.tuples] == ["p0"]
    assert made.settings["relevant_not_held"] == 1


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({}, ConfigError, "positives without qrels"),
        ({"qrels": QRELS, "options": MiningOptions(ways=4, depth=9, unlabelled=True)}, ConfigError, "need a teacher"),
        ({"qrels": QRELS, "options": MiningOptions(ways=4, depth=9, margin=1)}, ConfigError, "need a teacher"),
        ({"qrels": {"q9": {"p1": 1}}}, InputError, "none of the 8 queries has a relevant passage"),
        ({"qrels": {"q1": {"gone": 1}}}, InputError, "contains no relevant passage"),
    ],
)
def test_invalid_arguments_are_refused(
    collection: pgretrieval.Collection, queries: dict[str, str], arguments: dict[str, Any], kind: type[Exception], message: str
):
    with pytest.raises(kind, match=message):
        mine(collection, queries, **arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": 1}, "ways is 1; give 2 to 64"),
        ({"ways": 65}, "give 2 to 64"),
        ({"depth": 65, "skip": 2}, "at least 66"),
        ({"ways": 5, "depth": 4}, "depth is 4 and skip 0; 5 ways need a depth of at least 5"),
        ({"ways": 5, "skip": -1}, "skip -1; 5 ways need a depth of at least 5"),
        ({"source": "bm25"}, 'source is \'bm25\'; give "tokens" or "words"'),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        MiningOptions(**options)


@pytest.mark.parametrize("options", [{"ways": 2, "depth": 2}, {"ways": 64, "depth": 64}, {"ways": 5, "depth": 7, "skip": 2}])
def test_options_at_their_limits(options: dict[str, int]):
    """Options at the limits named in the errors are accepted."""
    assert MiningOptions(**options).ways == options["ways"]  # type: ignore[arg-type]
