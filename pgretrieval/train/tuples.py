"""Training sets: queries with w passages each, the first relevant, and optionally a teacher's scores; stored in a folder."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from pgretrieval.corpus.lines import read_lines
from pgretrieval.errors import ConfigError, InputError

TUPLES_FILE, PASSAGES_FILE, SETTINGS_FILE = "tuples.jsonl.gz", "passages.jsonl.gz", "mining.json"


@dataclass(frozen=True, slots=True)
class TrainingTuple:
    """Query and the ids of its passages, the positive first; `scores` are a teacher's, `relevant` all judged relevant."""

    query_id: str
    query: str
    passages: tuple[str, ...]
    scores: tuple[float, ...] | None = None
    relevant: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Tuples, and the texts of their passages by id; `settings` describe their mining."""

    tuples: tuple[TrainingTuple, ...]
    passages: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ways(self) -> int:
        """Number of passages that every tuple has."""
        return min(len(one.passages) for one in self.tuples)

    @property
    def scored(self) -> bool:
        """True if all tuples have a teacher's scores."""
        return all(one.scores is not None for one in self.tuples)


def write_training_set(folder: str | os.PathLike[str], made: TrainingSet) -> None:
    """Write the files of a set, deterministically."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_lines(folder / TUPLES_FILE, ({**asdict(one), "relevant": one.relevant or None} for one in made.tuples))
    _write_lines(folder / PASSAGES_FILE, ({"id": key, "text": text} for key, text in made.passages.items()))
    (folder / SETTINGS_FILE).write_text(json.dumps(dict(made.settings), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_training_set(folder: str | os.PathLike[str]) -> TrainingSet:
    """Read a folder written by `write_training_set`. Raises InputError for other contents."""
    folder = Path(folder)
    passages = {str(record["id"]): str(record["text"]) for _, record in _records(folder / PASSAGES_FILE, ("id", "text"))}
    tuples = tuple(
        _tuple(where, record, passages) for where, record in _records(folder / TUPLES_FILE, ("query_id", "query", "passages"))
    )
    if not tuples:
        msg = f"{folder / TUPLES_FILE}: the file has no tuples; mine some with `pgretrieval mine`"
        raise InputError(msg)
    settings = folder / SETTINGS_FILE
    return TrainingSet(tuples, passages, json.loads(settings.read_text(encoding="utf-8")) if settings.exists() else {})


def joined(sets: Sequence[TrainingSet]) -> TrainingSet:
    """Join several sets; ids are prefixed with the number of their set."""
    if len(sets) == 1:
        return sets[0]

    def numbered(number: int, keys: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"{number}:{key}" for key in keys)

    tuples = [
        replace(
            one,
            query_id=f"{number}:{one.query_id}",
            passages=numbered(number, one.passages),
            relevant=numbered(number, one.relevant),
        )
        for number, some in enumerate(sets)
        for one in some.tuples
    ]
    passages = {f"{number}:{key}": text for number, some in enumerate(sets) for key, text in some.passages.items()}
    return TrainingSet(tuple(tuples), passages, {"joined": [dict(some.settings) for some in sets]})


def judged_texts(made: TrainingSet) -> dict[str, frozenset[str]]:
    """Return relevant texts by query text: positives and passages judged relevant, in any tuple of the query."""
    judged: dict[str, set[str]] = {}
    for one in made.tuples:
        keys = (one.passages[0], *one.relevant)
        judged.setdefault(one.query, set()).update(made.passages[key] for key in keys if key in made.passages)
    return {query: frozenset(texts) for query, texts in judged.items()}


def checked_ways(made: TrainingSet, ways: int | None) -> int:
    """Return the number of passages to use of each tuple: by default all that every tuple has."""
    if ways is None:
        return made.ways
    if not 2 <= ways <= made.ways:
        msg = f"ways is {ways}; give 2 to {made.ways}, which every tuple has, or mine more"
        raise ConfigError(msg)
    return ways


def as_columns(made: TrainingSet, ways: int, *, scored: bool) -> Any:
    """Return a `datasets.Dataset` with columns query, positive, negative_1, … and label; texts are resolved by batch."""

    def resolve(batch: _Batch) -> _Batch:
        columns = {"query": batch["query"]}
        for place in range(ways):
            columns[column_of(place)] = [made.passages[keys[place]] for keys in batch["passages"]]
        return columns | ({"label": batch["label"]} if scored else {})

    return _dataset(_rows(made, ways, scored), resolve)


def column_of(place: int) -> str:
    """Return the name of the column of a tuple's passages at a place."""
    return f"negative_{place}" if place else "positive"


def as_lists(made: TrainingSet, ways: int, labels: Sequence[Sequence[float]]) -> Any:
    """Return a `datasets.Dataset` with columns query, passages (a list of texts) and labels (a list of numbers)."""

    def resolve(batch: _Batch) -> _Batch:
        texts = [[made.passages[key] for key in keys] for keys in batch["passages"]]
        return {"query": batch["query"], "passages": texts, "labels": batch["labels"]}

    return _dataset({**_rows(made, ways, False), "labels": [list(some) for some in labels]}, resolve)


_Batch: TypeAlias = dict[str, list[Any]]


class _Transform:
    """Function of a batch that is pickled without its state; `datasets` would pickle all passages to name a dataset."""

    def __init__(self, apply: Callable[[_Batch], _Batch]) -> None:
        self._apply = apply

    def __call__(self, batch: _Batch) -> _Batch:
        return self._apply(batch)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _dataset(rows: _Batch, resolve: Callable[[_Batch], _Batch]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict(rows).with_transform(_Transform(resolve))


def _rows(made: TrainingSet, ways: int, scored: bool) -> _Batch:
    rows: _Batch = {
        "query": [one.query for one in made.tuples],
        "passages": [list(one.passages[:ways]) for one in made.tuples],
    }
    if scored:
        rows["label"] = [list((one.scores or ())[:ways]) for one in made.tuples]
    return rows


def _tuple(where: str, record: Mapping[str, Any], passages: Mapping[str, str]) -> TrainingTuple:
    keys = tuple(map(str, record["passages"]))
    unknown = next((key for key in keys if key not in passages), None)
    if unknown is not None or len(keys) < 2:
        reason = f"the passage {unknown!r} is not in {PASSAGES_FILE}" if unknown is not None else "it has fewer than two passages"
        msg = f"{where}: {reason}; mine the tuples again"
        raise InputError(msg)
    scores = record.get("scores")
    if scores is not None and len(scores) != len(keys):
        msg = f"{where}: {len(keys)} passages but {len(scores)} scores; give each passage one, or leave scores out"
        raise InputError(msg)
    return TrainingTuple(
        str(record["query_id"]),
        str(record["query"]),
        keys,
        None if scores is None else tuple(map(float, scores)),
        tuple(map(str, record.get("relevant") or ())),
    )


def _records(path: Path, keys: Sequence[str]) -> Iterable[tuple[str, dict[str, Any]]]:
    for where, line in read_lines(path):
        try:
            record = json.loads(line)
        except ValueError as error:
            msg = f"{where}: not valid JSON ({error}); mine the tuples again"
            raise InputError(msg) from error
        if not isinstance(record, dict) or not all(key in record for key in keys):
            msg = f"{where}: expected an object with {', '.join(keys)}; mine the tuples again"
            raise InputError(msg)
        yield where, record


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file,
    ):  # without name and time, for deterministic bytes
        for record in records:
            kept = {key: value for key, value in record.items() if value is not None}
            file.write((json.dumps(kept, ensure_ascii=False) + "\n").encode())
