"""Refresh rounds: a collection of the current model mines the tuples of the next training (ColBERTv2, section 3.2)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from pgretrieval.encode import load_encoder
from pgretrieval.errors import ConfigError
from pgretrieval.rerank import load_cross_encoder
from pgretrieval.train.contents import digest, of_named
from pgretrieval.train.mining import Miner, MiningOptions, mine
from pgretrieval.train.models import is_bare_base, keeps_lengths, model_of_run
from pgretrieval.train.run import MODEL, FinishedRunError, check_same
from pgretrieval.train.tuples import SETTINGS_FILE, TrainingSet, read_training_set, write_training_set
from pgretrieval.types import Passage

Stage = Callable[[str, int, int], None]
Train = Callable[[TrainingSet, Path, str], object]
"""Function that trains on a set, in a folder, from a model, and writes `folder/model`; raises FinishedRunError if that exists,
as `train_retriever` does."""

ROUNDS_FILE = "rounds.json"
_PREFIX = "training_round_"
_TEXTS_ONLY = "none"
"""Encoder of a collection that is searched by words."""


class TrainingCollection(Miner, Protocol):
    """Interface of a `Collection` for rounds."""

    def add(self, passages: Iterable[Passage], *, on_conflict: Any = "error", progress: Callable[[int], None] | None = None) -> Any:
        """Store passages."""

    def build(self, *, stage: Stage | None = None) -> Any:
        """Build the index."""


class TrainingDatabase(Protocol):
    """Interface of a `RetrievalDatabase` for rounds."""

    def create_collection(self, name: str, *, encoder: str | object | None = None, **options: Any) -> TrainingCollection:
        """Create a collection."""

    def get_collection(self, name: str, *, encoder: str | object | None = None) -> TrainingCollection:
        """Open a collection."""

    def list_collections(self) -> list[str]:
        """Return the names of the collections."""

    def drop_collection(self, name: str) -> None:
        """Drop a collection."""


def train_in_rounds(
    database: TrainingDatabase,
    passages: Callable[[], Iterable[Passage]],
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]] | None,
    folder: str | os.PathLike[str],
    train: Train,
    *,
    rounds: int = 2,
    base: str = "minilm",
    teacher: Any = None,
    mining: MiningOptions | None = None,
    stage: Stage | None = None,
) -> list[Path]:
    """Train in rounds: index `passages` with the current model, mine, train; return the model folder of each round.

    With `mining.source` "words", or by default from a bare transformer, the first round mines by words and needs no model.
    A round's folder contains its tuples in `mined` and its training in `run`. Its collection, "training_round_N", is dropped after
    mining. If it is interrupted, call it again: it resumes after the last finished step. Raises ConfigError if the folder contains
    rounds of other passages, queries, judgements, options, teacher or base; file names may differ.
    """
    if rounds < 1:
        msg = f"rounds is {rounds}; give at least 1"
        raise ConfigError(msg)
    scorer = None if teacher is None else load_cross_encoder(teacher)
    settings = mining or MiningOptions()
    _claim(
        Path(folder),
        {
            "passages": digest(one.encoded_text + "\0" + one.id for one in passages()),
            "queries": digest(sorted(queries.items())),
            "qrels": None if qrels is None else digest(sorted((key, sorted(some.items())) for key, some in qrels.items())),
            "teacher": None if scorer is None else scorer.fingerprint,
            "base": of_named(model_of_run(base)),
            "mining": asdict(settings),
        },
    )
    model, models = model_of_run(base), []
    for number in range(1, rounds + 1):
        place = Path(folder) / f"round-{number}"
        if not (place / "mined" / SETTINGS_FILE).exists():
            name = f"{_PREFIX}{number}"
            by_words = number == 1 and (settings.source or ("words" if is_bare_base(model) else "tokens")) == "words"
            collection = _indexed(database, name, passages, _TEXTS_ONLY if by_words else model, stage)
            options = replace(settings, source="words" if by_words else "tokens")
            made = mine(collection, queries, qrels, teacher=scorer, options=options, stage=stage)
            write_training_set(place / "mined", made)
            database.drop_collection(name)
        with suppress(FinishedRunError):
            train(read_training_set(place / "mined"), place / "run", model)
        model = str(place / "run" / MODEL)
        models.append(Path(model))
    return models


def _claim(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the configuration of the rounds, or check that the folder has the same."""
    file = folder / ROUNDS_FILE
    check_same(file, config, "rounds")
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _indexed(
    database: TrainingDatabase, name: str, passages: Callable[[], Iterable[Passage]], model: str, stage: Stage | None
) -> TrainingCollection:
    options: dict[str, Any] = {}
    encoder: str | object = model
    if model != _TEXTS_ONLY and keeps_lengths(model):
        encoder, options = load_encoder(model, unit=False), {"scorer": "colxtr", "rerank": "maxsim"}
    if name in database.list_collections():
        collection = database.get_collection(name, encoder=None if model == _TEXTS_ONLY else encoder)
    else:
        collection = database.create_collection(name, encoder=encoder, **options)
    total = sum(1 for _ in passages())
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        if stage is not None:
            stage("encode", done, total)

    collection.add(passages(), on_conflict="skip", progress=report)
    if model != _TEXTS_ONLY:
        collection.build(stage=stage)
    return collection
