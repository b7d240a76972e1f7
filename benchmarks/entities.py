"""Entities and mentions for benchmarks/anchors.py: tuples, cross-encoders with both heads, and scores of all pairs.

All results are stored in a folder and reused; scores are stored in blocks, so that an interrupted run resumes.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quick import AllPairs
from benchmarks.training import mine_into, once, sample_passages
from benchmarks.vectors import data_folder
from pgretrieval.corpus.jsonl import read_queries
from pgretrieval.evaluate.qrels import read_qrels
from pgretrieval.rerank import load_cross_encoder
from pgretrieval.train.cross_encoders import CrossAim, train_cross_encoder
from pgretrieval.train.mining import MiningOptions
from pgretrieval.train.run import MODEL, RunOptions
from pgretrieval.train.tuples import TrainingSet, TrainingTuple, read_training_set
from pgretrieval.types import Passage

HEADS = ("cls", "emb")
_ITEMS_AT_ONCE = 128
_TEST_SHARE = 0.2
_COMPARED = 1_000
_MINED = 3
_SEED = 0
_SPECTRUM = np.exp(-np.arange(60) / 20)


@dataclass(frozen=True)
class Entities:
    """Items, and queries by text with their relevant items, split into training and test queries."""

    items: list[Passage]
    training: dict[str, frozenset[str]]
    tested: dict[str, frozenset[str]]

    def queries(self, anchors: int, tested: int) -> list[str]:
        """Texts of anchor queries, then of test queries, drawn by seed."""
        rng = np.random.default_rng(_SEED)
        parts = [(sorted(self.training), anchors), (sorted(self.tested), tested)]
        return [texts[place] for texts, count in parts for place in rng.permutation(len(texts))[:count].tolist()]


def read_entities(name: str, at_most: int | None) -> Entities:
    """A collection of the data folder; of more than `at_most` items, the relevant ones and others drawn by seed.

    Queries are bare mentions if the collection has them, each text once. Without training judgements a fifth of the queries is
    used for tests.
    """
    folder = data_folder() / name
    mentions = folder / "queries.mention.jsonl.gz"
    texts = dict(read_queries(mentions if mentions.exists() else folder / "queries.jsonl.gz"))
    tested = _by_text(texts, read_qrels(folder / "qrels.tsv"))
    training_file = folder / "qrels.train.tsv"
    if training_file.exists():
        training = _by_text(texts, read_qrels(training_file))
        tested = {text: keys for text, keys in tested.items() if text not in training}
    else:
        order = np.random.default_rng(_SEED).permutation(len(tested))
        chosen = {text for text, place in zip(sorted(tested), order.tolist(), strict=True) if place < _TEST_SHARE * len(tested)}
        training = {text: keys for text, keys in tested.items() if text not in chosen}
        tested = {text: tested[text] for text in sorted(chosen)}
    kept: dict[str, Passage] = {}  # items with equal text are one item
    same = {item.id: kept.setdefault(item.encoded_text, item).id for item in _items(folder / "corpus.jsonl.gz")}
    training, tested = (
        {text: frozenset(same[key] for key in keys if key in same) for text, keys in part.items()} for part in (training, tested)
    )
    wanted = frozenset().union(*training.values(), *tested.values())
    items = sample_passages(list(kept.values()), wanted, len(kept) if at_most is None else at_most)
    return Entities(items, training, tested)


def mined(work: Path, data: Entities, ways: int) -> TrainingSet:
    """Tuples of the training queries, mined by late interaction of the default encoder."""
    if not (work / "mined").exists():
        judgements = {text: dict.fromkeys(sorted(keys), 1) for text, keys in data.training.items()}
        options = MiningOptions(ways, 4 * ways, seed=_SEED)
        mine_into(work / "mined", "minilm", data.items, {text: text for text in judgements}, judgements, options)
    return read_training_set(work / "mined")


def mixed(made: TrainingSet) -> TrainingSet:
    """Several different tuples of each: the positive, some of the mined passages, and as many drawn from all.

    A cross-encoder trained on near passages only gives arbitrary scores to far ones, which are most of the items.
    """
    rng = np.random.default_rng(_SEED)
    keys = list(made.passages)
    tuples = []
    for one in made.tuples:
        for start in range(1, made.ways - _MINED + 1, _MINED):
            drawn = [keys[place] for place in rng.integers(0, len(keys), _MINED + 1).tolist()]
            others = [key for key in drawn if key != one.passages[0]][:_MINED]
            passages = (one.passages[0], *one.passages[start : start + _MINED], *others)
            tuples.append(TrainingTuple(one.query_id, one.query, passages))
    return TrainingSet(tuple(tuples), made.passages, {**made.settings, "drawn": _MINED})


def base_of(work: Path, layers: int) -> str:
    """MiniLM, or a folder with its first layers only."""
    from pgretrieval.encode.minilm import model_folder

    folder = work / f"minilm-{layers}-layers"
    if not folder.exists():
        from transformers import AutoModel, AutoTokenizer

        model = AutoModel.from_pretrained(model_folder(), local_files_only=True)
        if layers >= len(model.encoder.layer):
            return "minilm"
        model.encoder.layer = model.encoder.layer[:layers]
        model.config.num_hidden_layers = layers
        AutoTokenizer.from_pretrained(model_folder(), local_files_only=True).save_pretrained(folder)
        model.save_pretrained(folder)
    return str(folder)


def trained(work: Path, made: TrainingSet, head: Any, base: str, options: RunOptions, max_tokens: int) -> Path:
    """The model folder of a cross-encoder with one head."""
    aim = CrossAim(head=head, max_tokens=max_tokens)
    once(work / head, partial(train_cross_encoder, [made], base=base, aim=aim, options=options))
    return work / head / MODEL


@dataclass(frozen=True)
class Matrix:
    """Exact scores (queries, items); a factorisation may use the first `anchors` queries.

    `retrieved` are the vectors of queries and of items of a made-up retriever.
    """

    items: list[Passage]
    queries: list[str]
    anchors: int
    scores: NDArray[np.float32]
    retrieved: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    @property
    def tested(self) -> range:
        """The test queries."""
        return range(self.anchors, len(self.queries))


def scored(work: Path, data: Entities, model: Path, anchors: int, tested: int) -> tuple[Matrix, float, float]:
    """Scores of all pairs, the seconds per pair, and the error of the quick scores relative to their deviation.

    Finished blocks of items are stored with all queries requested so far; only missing queries are scored.
    """
    queries = data.queries(anchors, tested)
    anchors = min(anchors, len(data.training))
    folder = work / f"scores-{model.parent.name}-{len(data.items)}"
    folder.mkdir(parents=True, exist_ok=True)
    quick, texts = AllPairs(model), [item.encoded_text for item in data.items]

    def score(start: int) -> _Block:
        path, part = folder / f"{start:06d}.npz", texts[start : start + _ITEMS_AT_ONCE]
        kept = _Block.read(path) if path.exists() else _Block([], np.empty((0, len(part)), dtype=np.float32), 0.0)
        known = set(kept.queries)
        if new := [text for text in queries if text not in known]:
            began = time.perf_counter()
            scores = quick.scores(new, part)
            seconds = (time.perf_counter() - began) / workers
            print(f"items from {start:,} of {len(texts):,}, {scores.size / seconds:,.0f} pairs/s", file=sys.stderr)
            kept = kept.joined(_Block(new, scores, seconds))
            kept.write(path)
        return kept.of(queries)

    workers = torch.get_num_threads()
    torch.set_num_threads(1)  # parallel blocks use the cores better than parallel products
    with ThreadPoolExecutor(workers) as pool:
        blocks = list(pool.map(score, range(0, len(texts), _ITEMS_AT_ONCE)))
    torch.set_num_threads(workers)
    scores = np.concatenate([block.scores for block in blocks], axis=1)
    each = sum(block.seconds for block in blocks) / scores.size
    return Matrix(data.items, queries, anchors, scores), each, _error(queries, data.items, scores, model)


@dataclass(frozen=True)
class _Block:
    """Scores (queries, items) of some items, and their duration in seconds."""

    queries: list[str]
    scores: NDArray[np.float32]
    seconds: float

    @classmethod
    def read(cls, path: Path) -> _Block:
        with np.load(path) as kept:
            return cls(kept["queries"].tolist(), kept["scores"], float(kept["seconds"]))

    def write(self, path: Path) -> None:
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, queries=self.queries, scores=self.scores, seconds=self.seconds)
        partial.replace(path)  # a block is written atomically

    def joined(self, other: _Block) -> _Block:
        return _Block([*self.queries, *other.queries], np.concatenate([self.scores, other.scores]), self.seconds + other.seconds)

    def of(self, queries: Sequence[str]) -> _Block:
        """Scores of these queries in order, and their share of the duration."""
        rows = {text: row for row, text in enumerate(self.queries)}
        scores = self.scores[[rows[text] for text in queries]]
        return _Block(list(queries), scores, self.seconds * scores.size / self.scores.size)


def _error(queries: Sequence[str], items: Sequence[Passage], scores: NDArray[np.float32], model: Path) -> float:
    """Root mean square difference from the package's scores for some pairs, over the deviation of the scores."""
    rng = np.random.default_rng(_SEED)
    rows, columns = (rng.integers(0, count, _COMPARED) for count in scores.shape)
    pairs = [(queries[row], items[column].encoded_text) for row, column in zip(rows.tolist(), columns.tolist(), strict=True)]
    wrong = scores[rows, columns] - load_cross_encoder(model).predict(pairs)
    return float(np.sqrt(np.mean(np.square(wrong))) / scores.std())


def synthetic(anchors: int, tested: int, items: int) -> Matrix:
    """60 decaying directions, 15 % noise and an offset, like a cross-encoder's scores; the texts are meaningless.

    The retriever's vectors have the same directions, with noise of half their length.
    """
    rng = np.random.default_rng(0)
    asked, found = _directions(rng, anchors + tested, items)
    signal = asked @ found
    scores = signal + 0.15 * signal.std() * rng.standard_normal(signal.shape) - 5
    passages = [Passage(f"i{number}", f"item {number}") for number in range(items)]
    retrieved = tuple(_disturbed(vectors, rng) for vectors in (asked, found.T))
    queries = [f"query {number}" for number in range(anchors + tested)]
    return Matrix(passages, queries, anchors, scores.astype(np.float32), (retrieved[0], retrieved[1]))


def synthetic_items(anchors: int, tested: int, items: int, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Scores (chosen, items) of the same matrix for some of its items as queries: their directions with the spectrum of queries."""
    _, found = _directions(np.random.default_rng(0), anchors + tested, items)
    signal = (found.T[chosen] * _SPECTRUM) @ found
    return signal + 0.15 * signal.std() * np.random.default_rng(1).standard_normal(signal.shape) - 5


def _directions(rng: np.random.Generator, queries: int, items: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return rng.standard_normal((queries, len(_SPECTRUM))) * _SPECTRUM, rng.standard_normal((len(_SPECTRUM), items))


def _disturbed(vectors: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Unit vectors of 128 dimensions, near the directions of the vectors (rows, 60)."""
    padded = np.hstack([vectors, np.zeros((len(vectors), 68))])
    noise = rng.standard_normal(padded.shape)
    padded += 0.5 * np.linalg.norm(padded, axis=1, keepdims=True) * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    units: NDArray[np.float32] = (padded / np.linalg.norm(padded, axis=1, keepdims=True)).astype(np.float32)
    return units


class KnownRetriever:
    """An encoder of one token for each text, which looks up the made-up retriever's vectors."""

    def __init__(self, known: Matrix) -> None:
        queries, items = known.retrieved or (np.empty((0, 0)), np.empty((0, 0)))
        self._queries = dict(zip(known.queries, queries, strict=True))
        self._items = dict(zip((item.encoded_text for item in known.items), items, strict=True))
        self._unknown = np.eye(1, items.shape[1], dtype=np.float32)[0]

    def encode_query(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Look up the queries' vectors."""
        return [self._queries.get(text, self._unknown)[None] for text in texts]

    def encode_document(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Look up the items' vectors."""
        return [self._items.get(text, self._unknown)[None] for text in texts]


class KnownScores:
    """A cross-encoder that looks up scores in the matrix."""

    fingerprint = "known scores"

    def __init__(self, known: Matrix) -> None:
        self._known = known
        self._queries = {text: row for row, text in enumerate(known.queries)}
        self._items = {item.encoded_text: column for column, item in enumerate(known.items)}

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Look up the pairs' scores."""
        rows, columns = zip(*((self._queries[query], self._items[text]) for query, text in pairs), strict=True)
        return self._known.scores[list(rows), list(columns)]


def _items(path: Path) -> Iterator[Passage]:
    """Passages; the title is used as text if there is no text."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            alone = not record["text"].strip()
            yield Passage(record["id"], record["title"] if alone else record["text"], None if alone else record["title"])


def _by_text(texts: dict[str, str], qrels: dict[str, dict[str, int]]) -> dict[str, frozenset[str]]:
    """Relevant items by the query's text: mentions with equal text are one query."""
    found: dict[str, set[str]] = {}
    for query, grades in qrels.items():
        found.setdefault(texts[query], set()).update(key for key, grade in grades.items() if grade > 0)
    return {text: frozenset(keys) for text, keys in found.items() if keys}
