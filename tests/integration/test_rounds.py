"""Rounds of indexing, mining and training on a real server; training returns a copy of the model."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgretrieval
from pgretrieval.encode import load_encoder
from pgretrieval.errors import ConfigError
from pgretrieval.train.mining import MiningOptions
from pgretrieval.train.models import ColBert, keeps_lengths, start_model
from pgretrieval.train.rounds import train_in_rounds
from pgretrieval.train.run import FinishedRunError
from pgretrieval.train.tuples import TrainingSet, read_training_set
from pgretrieval.types import Passage
from tests.fixtures.models import WORDS

COUNT = 300
TEXTS = {f"p{number}": " ".join(np.random.default_rng(number).choice(WORDS, 6)) for number in range(COUNT)}
QUERIES = {f"q{number}": " ".join(TEXTS[f"p{number}"].split()[:3]) for number in range(6)}
QRELS = {f"q{number}": {f"p{number}": 1} for number in range(6)}
FEW = MiningOptions(ways=3, depth=10)


def passages() -> Iterable[Passage]:
    return (Passage(key, text) for key, text in TEXTS.items())


class Copying:
    """Returns a copy of the model as the trained one."""

    def __init__(self) -> None:
        self.trained: list[tuple[int, str, str]] = []

    def __call__(self, made: TrainingSet, folder: Path, model: str) -> None:
        if (folder / "model").exists():
            raise FinishedRunError("done")
        self.trained.append((made.ways, str(folder), model))
        shutil.copytree(model, folder / "model")


@pytest.fixture
def go(database: pgretrieval.RetrievalDatabase, library_folder: Path, tmp_path: Path) -> Callable[..., list[Path]]:
    """Run rounds in tmp_path/out with changed arguments."""

    def run(train: Any, **changed: Any) -> list[Path]:
        given = {"base": str(library_folder), "mining": FEW, **changed}
        return train_in_rounds(database, passages, QUERIES, QRELS, tmp_path / "out", train, **given)

    return run


def test_each_round_trains_the_model_of_the_one_before(
    database: pgretrieval.RetrievalDatabase, go: Callable[..., list[Path]], library_folder: Path, tmp_path: Path
):
    """Each round trains the model of the previous one; the default is two rounds."""
    train = Copying()
    models = go(train)
    folders = [tmp_path / "out" / f"round-{number}" for number in (1, 2)]
    assert models == [folder / "run" / "model" for folder in folders]
    assert train.trained == [
        (3, str(folder / "run"), model) for folder, model in zip(folders, [str(library_folder), str(models[0])], strict=True)
    ]
    assert all(len(read_training_set(folder / "mined").tuples) == 6 for folder in folders)
    assert database.list_collections() == []
    assert go(train, rounds=3)[:2] == models
    assert len(train.trained) == 3  # finished work is reused


def test_progress_of_long_stages_is_reported(go: Callable[..., list[Path]]):
    """Progress of encoding, building and mining is reported."""
    told: list[tuple[str, int, int]] = []
    go(Copying(), rounds=1, stage=lambda *step: told.append(step))
    encoded = [step for step in told if step[0] == "encode"]
    assert [total for _, _, total in encoded] == [COUNT] * len(encoded)
    assert (len(encoded), encoded[-1][1]) == (2, COUNT)
    assert [done for _, done, _ in encoded] == sorted({done for _, done, _ in encoded})
    assert told[-1] == ("mine", 6, 6)
    assert {"code", "postings", "index"} <= set(Counter(name for name, _, _ in told))


def test_an_interrupted_round_resumes(database: pgretrieval.RetrievalDatabase, go: Callable[..., list[Path]], tmp_path: Path):
    """An interrupted round reuses its collection and tuples."""

    def stop(name: str, done: int, _: int) -> None:
        if name == "mine":
            raise KeyboardInterrupt

    train = Copying()
    with pytest.raises(KeyboardInterrupt):
        go(train, rounds=1, stage=stop)
    assert database.list_collections() == ["training_round_1"]
    assert not train.trained
    told: list[tuple[str, int, int]] = []
    go(train, rounds=1, stage=lambda *step: told.append(step))
    assert len(train.trained) == 1
    assert not [step for step in told if step[0] == "code"]
    assert database.list_collections() == []


def test_a_teacher_scores_the_tuples_of_every_round(go: Callable[..., list[Path]], tmp_path: Path):
    """The teacher scores the tuples of every round, and another teacher is refused in a resumed run."""

    class Longest:
        fingerprint = "longest"

        def predict(self, pairs: list[tuple[str, str]]) -> list[float]:
            return [float(len(passage)) for _, passage in pairs]

    go(Copying(), teacher=Longest())
    for number in (1, 2):
        made = read_training_set(tmp_path / "out" / f"round-{number}" / "mined")
        for one in made.tuples:
            assert one.scores == tuple(float(len(TEXTS[key])) for key in one.passages)
    with pytest.raises(ConfigError, match=r"other settings \(teacher\)"):
        go(Copying())


def test_no_rounds_are_refused(go: Callable[..., list[Path]], tmp_path: Path):
    with pytest.raises(ConfigError, match="rounds is 0; give at least 1"):
        go(Copying(), rounds=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("base", ["bare", "its own choice"])
def test_the_first_round_can_mine_by_words(
    database: pgretrieval.RetrievalDatabase,
    go: Callable[..., list[Path]],
    tiny_bert: Path,
    library_folder: Path,
    tmp_path: Path,
    base: str,
):
    """From a bare transformer, or if asked to, the first round mines by words, and later ones with the model so far."""
    indexed: list[str | None] = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(database, name)

        def create_collection(self, name: str, *, encoder: Any = None) -> Any:
            indexed.append(encoder)
            return database.create_collection(name, encoder=encoder)

    def train(made: TrainingSet, folder: Path, model: str) -> None:
        start_model(model, "cpu", layout=ColBert()).save(str(folder / "model"), create_model_card=False)

    given = {"base": str(tiny_bert)} if base == "bare" else {"base": str(library_folder), "mining": replace(FEW, source="words")}
    models = train_in_rounds(Watched(), passages, QUERIES, QRELS, tmp_path / "out", train, **{"mining": FEW, **given})
    assert indexed == ["none", str(models[0])]
    sources = [read_training_set(tmp_path / "out" / f"round-{number}" / "mined").settings["source"] for number in (1, 2)]
    assert sources == ["words", "tokens"]
    with pytest.raises(ConfigError, match=r"other settings \(mining.source\)"):
        train_in_rounds(
            database, passages, QUERIES, QRELS, tmp_path / "out", train, **{**given, "mining": replace(FEW, source="tokens")}
        )


def test_models_that_keep_lengths_mine_with_them(
    database: pgretrieval.RetrievalDatabase, go: Callable[..., list[Path]], tiny_bert: Path, tmp_path: Path
):
    """The collection of a model that keeps lengths keeps them, and ranks by MaxSim, also after an interruption."""
    base = tmp_path / "long"
    start_model(tiny_bert, "cpu", layout=ColBert(dim=64, normalize=False)).save(str(base), create_model_card=False)
    assert (keeps_lengths(str(base)), keeps_lengths("minilm")) == (True, False)

    def stop(name: str, done: int, _: int) -> None:
        if name == "mine":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(Copying(), rounds=1, base=str(base), stage=stop)
    collection = database.get_collection("training_round_1", encoder=load_encoder(base, unit=False))
    assert (collection.settings.unit_vectors, collection.stats()["rerank"]) == (False, "maxsim")
    found = [[hit.id for hit in hits] for hits in collection.search_many(list(QUERIES.values()), 10)]
    go(Copying(), rounds=1, base=str(base))
    mined = read_training_set(tmp_path / "out" / "round-1" / "mined")
    for one, best in zip(mined.tuples, found, strict=True):
        assert set(one.passages[1:]) <= set(best)


def test_rounds_go_on_from_a_run(go: Callable[..., list[Path]], library_folder: Path, tmp_path: Path):
    """The folder of a finished run is a base, indexed and trained by its model."""
    shutil.copytree(library_folder, tmp_path / "earlier" / "model")
    (tmp_path / "earlier" / "report.json").write_text("{}")
    train = Copying()
    go(train, rounds=1, base=str(tmp_path / "earlier"))
    assert [model for _, _, model in train.trained] == [str(tmp_path / "earlier" / "model")]
