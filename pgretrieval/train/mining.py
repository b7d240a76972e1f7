"""Mining of hard negatives and teacher scores: passages that a collection ranks high and that are not judged relevant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np

from pgretrieval.errors import ConfigError, InputError
from pgretrieval.rerank import PairScorer, load_cross_encoder
from pgretrieval.train.options import option
from pgretrieval.train.tuples import TrainingSet, TrainingTuple
from pgretrieval.types import Hit, Passage

QUERIES_AT_ONCE = 64
MAX_WAYS = 64

Source = Literal["tokens", "words"]
"""Ranking that passages are drawn from: the collection's search by token vectors, or its search by words (BM25)."""


class Miner(Protocol):
    """Interface of a `Collection` for mining."""

    @property
    def name(self) -> str:
        """Name of the collection."""

    def search_many(self, queries: Sequence[str] | None = None, k: int = 10) -> list[list[Hit]]:
        """Return the k best passages of each query."""

    def text_search(self, query: str, k: int = 10) -> list[Hit]:
        """Return the k best passages for the words of a query."""

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Return passages by id."""


@dataclass(frozen=True, slots=True)
class MiningOptions:
    """Settings of mining.

    Negatives are drawn at random from the `depth` best passages of a query, without the first `skip`, until there are `ways`
    passages with the positive. `margin` excludes passages whose teacher score is less than that much below the positive's, because
    they may be relevant. With a margin, or without judgements, the teacher scores all `depth` passages, otherwise only those drawn.
    `unlabelled` also mines queries without judgements among judged ones, as ColBERTv2 does; None means if there is a teacher.
    `source` is the ranking; None means "tokens", and "words" in the first of several rounds from a bare transformer.
    """

    ways: int = option(64, "Passages of each tuple, 2 to 64: the positive and its negatives.")
    depth: int = option(500, "Number of best passages to draw negatives from.")
    skip: int = option(0, "Number of best passages to exclude.")
    margin: float | None = option(None, "Exclude negatives whose teacher score is less than this below the positive's.")
    unlabelled: bool | None = option(
        None, "Also mine queries without judgements, with the teacher's best passage as positive.", shown="with a teacher"
    )
    source: Source | None = option(
        None,
        "Ranking to draw from: tokens (late interaction) or words (BM25).",
        shown="tokens; words in the first round from a bare transformer",
    )
    seed: int = option(0, "Seed of random choices.")

    def __post_init__(self) -> None:
        if not 2 <= self.ways <= MAX_WAYS:
            msg = f"ways is {self.ways}; give 2 to {MAX_WAYS}"
            raise ConfigError(msg)
        if self.skip < 0 or self.depth - self.skip < self.ways:
            least = self.ways + max(self.skip, 0)
            msg = f"depth is {self.depth} and skip {self.skip}; {self.ways} ways need a depth of at least {least}"
            raise ConfigError(msg)
        if self.source not in (None, "tokens", "words"):
            msg = f'source is {self.source!r}; give "tokens" or "words"'
            raise ConfigError(msg)


def mine(
    collection: Miner,
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]] | None = None,
    *,
    teacher: Any = None,
    options: MiningOptions | None = None,
    stage: Callable[[str, int, int], None] | None = None,
) -> TrainingSet:
    """Mine a tuple for each relevant passage of each judged query, and one for each query without judgements.

    `teacher` is a cross-encoder in a form of `load_cross_encoder`; without judgements its best passage is the positive. `stage` is
    called with name, done and total of searching ("mine") and scoring ("score"). The same arguments give the same tuples. A query
    with too few negatives for `ways` is filled with passages of other queries.
    """
    options = options or MiningOptions()
    scorer = None if teacher is None else load_cross_encoder(teacher)
    if scorer is None and (qrels is None or options.margin is not None or options.unlabelled):
        msg = (
            "positives without qrels, margin, and unlabelled queries need a teacher; give teacher=, or qrels without these options"
        )
        raise ConfigError(msg)
    unlabelled = scorer is not None and options.unlabelled is not False
    relevant_by_query = _relevant_by_query(queries, qrels, unlabelled=unlabelled)
    relevant: dict[str, set[str]] = {}
    for key, passages in relevant_by_query.items():
        relevant.setdefault(queries[key], set()).update(passages)
    work = _Mining(collection, scorer, options, relevant, len(queries) - len(relevant_by_query))
    keys = list(relevant_by_query)
    for start in range(0, len(keys), QUERIES_AT_ONCE):
        some = keys[start : start + QUERIES_AT_ONCE]
        work.take({key: (queries[key], relevant_by_query[key]) for key in some})
        if stage is not None:
            stage("mine", start + len(some), len(keys))
    return work.finish(stage)


def _relevant_by_query(
    queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]] | None, *, unlabelled: bool
) -> dict[str, list[str]]:
    """Return relevant passages by query id; empty lists without judgements, or `unlabelled`, for queries without any.

    A query whose text has judgements under another id is not unlabelled.
    """
    if qrels is None:
        return {key: [] for key in queries}
    judged = {key: [passage for passage, grade in qrels.get(key, {}).items() if grade > 0] for key in queries}
    known = {queries[key] for key, found in judged.items() if found}
    if not known:
        msg = f"none of the {len(queries)} queries has a relevant passage in the qrels; check that their ids match"
        raise InputError(msg)
    return {key: found for key, found in judged.items() if found or (unlabelled and queries[key] not in known)}


class _Mining:
    """One call of `mine`: candidates are retrieved and scored for a group of queries at a time."""

    def __init__(
        self,
        collection: Miner,
        scorer: PairScorer | None,
        options: MiningOptions,
        relevant: Mapping[str, set[str]],
        dropped: int,
    ) -> None:
        self._collection = collection
        self._relevant = relevant
        self._scorer = scorer
        self._options = options
        self._random = np.random.default_rng(options.seed)
        self._texts: dict[str, str] = {}
        self._drawn: list[TrainingTuple] = []
        self._missing: set[str] = set()
        self._dropped = dropped
        self._unlabelled = 0

    def take(self, relevant_by_query: Mapping[str, tuple[str, list[str]]]) -> None:
        """Mine tuples of queries; `relevant_by_query` maps query ids to text and relevant passages."""
        rankings = self._rankings([text for text, _ in relevant_by_query.values()])
        self._texts.update((hit.id, hit.encoded_text) for hits in rankings for hit in hits)
        self._fetch({key for _, relevant in relevant_by_query.values() for key in relevant})
        for (query_id, (query, relevant)), hits in zip(relevant_by_query.items(), rankings, strict=True):
            found = [hit.id for hit in hits]
            if relevant:
                positives = [key for key in relevant if key in self._texts]
                negatives = self._not_relevant(query, found[self._options.skip :])
            else:
                positives, negatives = self._split_by_teacher(query, found)
                self._unlabelled += len(positives)
            for positive in positives:
                passages = (positive, *self._draw(query, positive, negatives))
                self._drawn.append(TrainingTuple(query_id, query, passages, relevant=tuple(positives)))

    def _rankings(self, texts: list[str]) -> list[list[Hit]]:
        """Return the best passages of queries."""
        if self._options.source == "words":
            return [self._collection.text_search(text, self._options.depth) for text in texts]
        return self._collection.search_many(texts, self._options.depth)

    def finish(self, stage: Callable[[str, int, int], None] | None) -> TrainingSet:
        """Return all tuples, of equal length and with the teacher's scores, and the texts that they need."""
        if not self._drawn:
            msg = f"collection {self._collection.name!r} contains no relevant passage; check that it is the corpus of these qrels"
            raise InputError(msg)
        full = self._scored([self._filled(one) for one in self._drawn], stage)
        used = {key: self._texts[key] for one in full for key in one.passages}
        settings = {
            "collection": self._collection.name,
            **asdict(self._options),
            "teacher": None if self._scorer is None else self._scorer.spec,
            "tuples": len(full),
            "passages": len(used),
            "relevant_not_held": len(self._missing),
            "positives_by_teacher": self._unlabelled,
            "queries_without_judgements": self._dropped,
        }
        return TrainingSet(tuple(full), used, settings)

    def _fetch(self, keys: set[str]) -> None:
        """Read the texts of relevant passages that the search did not return."""
        wanted = sorted(keys - self._texts.keys())
        stored = self._collection.get(wanted) if wanted else {}
        self._texts.update((key, passage.encoded_text) for key, passage in stored.items())
        self._missing.update(set(wanted) - stored.keys())

    def _split_by_teacher(self, query: str, found: list[str]) -> tuple[list[str], list[str]]:
        """Return the teacher's best passage, and the others."""
        if not found or self._scorer is None:
            return [], []
        scores = self._scorer.predict([(query, self._texts[key]) for key in found])
        best = found[int(np.argmax(scores))]
        return [best], [key for key in found[self._options.skip :] if self._texts[key] != self._texts[best]]

    def _not_relevant(self, query: str, keys: Iterable[str]) -> list[str]:
        """Return the passages that are not judged relevant for a query text, under any id of the query or of a copy."""
        relevant = self._relevant.get(query, set())
        texts = {self._texts[key] for key in relevant if key in self._texts}
        return [key for key in keys if key not in relevant and self._texts[key] not in texts]

    def _draw(self, query: str, positive: str, negatives: list[str]) -> list[str]:
        margin, wanted = self._options.margin, self._options.ways - 1
        if margin is not None and negatives and self._scorer is not None:
            keys = [positive, *negatives]
            scores = self._scorer.predict([(query, self._texts[key]) for key in keys])
            negatives = [key for key, score in zip(negatives, scores[1:], strict=True) if score <= scores[0] - margin]
        chosen = self._random.permutation(len(negatives))[:wanted]
        return [negatives[place] for place in chosen]

    def _filled(self, one: TrainingTuple) -> TrainingTuple:
        """Fill a tuple with passages of other queries, never one relevant to the query."""
        missing = self._options.ways - len(one.passages)
        if missing <= 0:
            return one
        own = {self._texts[one.passages[0]], *(self._texts[key] for key in one.relevant)}
        others = [key for key in self._texts if key not in one.passages and self._texts[key] not in own]
        pool = self._not_relevant(one.query, others)
        if len(pool) < missing:
            msg = f"{len(self._texts)} passages are too few for {self._options.ways} ways; use fewer ways"
            raise InputError(msg)
        more = self._random.choice(len(pool), missing, replace=False)
        return replace(one, passages=(*one.passages, *(pool[place] for place in more)))

    def _scored(self, drawn: list[TrainingTuple], stage: Callable[[str, int, int], None] | None) -> list[TrainingTuple]:
        if self._scorer is None:
            return drawn
        pairs = [(one.query, self._texts[key]) for one in drawn for key in one.passages]
        done = 0

        def report(count: int) -> None:
            nonlocal done
            done += count
            if stage is not None:
                stage("score", done, len(pairs))

        scores = self._scorer.predict(pairs, report).reshape(len(drawn), -1).tolist()
        return [replace(one, scores=tuple(row)) for one, row in zip(drawn, scores, strict=True)]
