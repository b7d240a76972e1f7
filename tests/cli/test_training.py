"""`mine` and `train`, from a corpus to models, with tiny ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import Field, asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgretrieval.cli import training
from pgretrieval.encode import load_encoder
from pgretrieval.errors import ConfigError
from pgretrieval.rerank import load_cross_encoder
from pgretrieval.train.cross_encoders import CrossAim
from pgretrieval.train.mining import MiningOptions
from pgretrieval.train.models import ColBert, ColXtr, Pooling
from pgretrieval.train.retrievers import Aim
from pgretrieval.train.run import RunOptions
from pgretrieval.train.tuples import TrainingSet, TrainingTuple, read_training_set
from tests.fixtures.cli import Command
from tests.fixtures.models import WORDS
from tests.support.pipes import piped

SCORED = TrainingSet((TrainingTuple("q", "a bank", ("a", "b")),), {"a": "a", "b": "b"})
QUICK = ["--steps", "2", "--batch", "4", "--device", "cpu", "--log-every", "1"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """40 passages, 8 queries with one word of each, and judgements."""
    random = np.random.default_rng(0)
    passages = {f"p{number}": " ".join(random.choice(WORDS, 6)) for number in range(40)}
    queries = {f"q{number}": " ".join(passages[f"p{number}"].split()[:3]) for number in range(8)}
    for name, records in (("corpus", passages), ("queries", queries)):
        lines = [json.dumps({"id": key, "text": text}) + "\n" for key, text in records.items()]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    (tmp_path / "qrels.tsv").write_text("".join(f"q{number} 0 p{number} 1\n" for number in range(8)))
    return {name: str(tmp_path / file) for name, file in
            (("corpus", "corpus.jsonl"), ("queries", "queries.jsonl"), ("qrels", "qrels.tsv"))}  # fmt: skip


def test_from_a_corpus_to_models(command: Command, files: dict[str, str], library_folder: Path, tiny_bert: Path, tmp_path: Path):
    """Each command reads the output of the one before, and models are usable."""
    judged = ["--queries", files["queries"], "--qrels", files["qrels"]]
    assert command("index", "words", files["corpus"], "--encoder", library_folder)[0] == 0
    code, out, err = command("mine", "words", *judged, "--ways", "4", "--depth", "12", "--output", tmp_path / "plain")
    assert (code, out) == (0, ""), err
    assert "8 tuples of 4 passages" in err
    data = ["--data", tmp_path / "plain"]
    cross = ["train", "cross-encoder", *data, "--base", tiny_bert, "--head", "emb", "--max-tokens", "24", *QUICK]
    code, out, err = command(*cross, "--output", tmp_path / "cross")
    assert (code, out) == (0, ""), err
    teacher = tmp_path / "cross" / "model"
    assert load_cross_encoder(teacher, "cpu").predict([("a bank", "the river")]).shape == (1,)
    scored = ["--ways", "4", "--depth", "12", "--cross-encoder", teacher, "--output", tmp_path / "scored"]
    assert command("mine", "words", *judged, *scored)[0] == 0
    assert read_training_set(tmp_path / "scored").scored
    for method, options, count in (("colbert", [], 5), ("xtr", ["--k-train", "6"], 5), ("constbert", ["--vectors", "3"], 3)):
        output = ["--base", library_folder, "--output", tmp_path / method, *QUICK, *options]
        code, out, err = command("train", method, "--data", tmp_path / "scored", *output)
        assert (code, out) == (0, ""), err
        assert "2 steps in" in err
        assert len(load_encoder(tmp_path / method / "model", "cpu").encode_document("the river flows")[0]) == count
    code, _, err = command("train", "colbert", *data, "--output", tmp_path / "colbert", *QUICK)
    assert code == 1
    assert "other settings" in err


def test_files_of_colbert_are_trained_on(command: Command, files: dict[str, str], tiny_bert: Path, tmp_path: Path):
    """ColBERT's triples train a ColBERT from a bare transformer; judgements name further relevant passages."""
    (tmp_path / "triples.jsonl").write_text("".join(f'["q{number}", "p{number}", "p{number + 9}"]\n' for number in range(8)))
    texts = ["--corpus", files["corpus"], "--queries", files["queries"], "--qrels", files["qrels"]]
    given = ["--examples", tmp_path / "triples.jsonl", *texts, "--base", tiny_bert, "--dim", "8"]
    code, out, err = command("train", "colbert", *given, "--output", tmp_path / "run", *QUICK)
    assert (code, out) == (0, ""), err
    assert load_encoder(tmp_path / "run" / "model", "cpu").encode_query("the river")[0].shape == (32, 8)
    data = json.loads((tmp_path / "run" / "config.json").read_text())["data"]
    assert (data["examples"], data["tuples"]) == ("triples.jsonl", 8)


def test_files_that_can_be_read_once(command: Command, files: dict[str, str], library_folder: Path, tmp_path: Path):
    """Rounds read a corpus from a pipe once."""
    pipes = {name: piped(Path(file)) for name, file in files.items()}
    given = ["--corpus", pipes["corpus"], "--queries", pipes["queries"], "--qrels", pipes["qrels"], "--base", library_folder]
    code, out, err = command("train", "colbert", *given, "--ways", "3", "--depth", "10", "--output", tmp_path / "out", *QUICK)
    assert (code, out) == (0, ""), err
    assert command("index", "words", files["corpus"], "--encoder", library_folder)[0] == 0
    asked = ["--queries", piped(Path(files["queries"]), 1), "--qrels", piped(Path(files["qrels"]), 1)]
    code, out, err = command("mine", "words", *asked, "--ways", "3", "--depth", "10", "--output", tmp_path / "mined")
    assert (code, out) == (0, ""), err
    assert [one.query_id for one in read_training_set(tmp_path / "mined").tuples] == [f"q{number}" for number in range(8)]


def test_rounds_mine_with_the_model_so_far(command: Command, files: dict[str, str], library_folder: Path, tmp_path: Path):
    """Each round starts from and mines with the latest model, and drops its collection."""
    given = ["--corpus", files["corpus"], "--queries", files["queries"], "--qrels", files["qrels"], "--rounds", "2"]
    options = ["--base", library_folder, "--ways", "3", "--depth", "10", "--output", tmp_path / "out", "--learning-rate", "0.01"]
    code, out, err = command("train", "colbert", *given, *options, *QUICK)
    assert (code, out) == (0, ""), err
    first, second = (tmp_path / "out" / f"round-{number}" for number in (1, 2))
    configs = [json.loads((folder / "run" / "config.json").read_text()) for folder in (first, second)]
    assert [config["base"] for config in configs] == [str(library_folder), str(first / "run" / "model")]
    one, other = (read_training_set(folder / "mined").tuples for folder in (first, second))
    assert [one.query_id for one in one] == [one.query_id for one in other]
    assert command("list")[1].strip() == ""
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.gz")}
    assert command("train", "colbert", *given, *options, *QUICK)[0] == 0  # nothing is left to do
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.gz")}
    for changed, named in (
        (["--depth", "12"], "(mining.depth)"),
        (["--margin", "1", "--depth", "10"], "(mining.margin)"),
        (["--base", "minilm"], "(base)"),
        (["--scale", "3"], "(aim.scale)"),
    ):
        code, _, err = command("train", "colbert", *given, *options, *QUICK, *changed)
        assert code == 1
        assert f"with other settings {named}" in " ".join(err.split())
    for name, line in (
        ("corpus", '{"id": "p39", "text": "a bank"}'),
        ("queries", '{"id": "q9", "text": "a bank"}'),
        ("qrels", "q7 0 p3 1"),
    ):
        with Path(files[name]).open("r+") as file:
            held = file.read()
            lines = held.splitlines()
            file.seek(0)
            file.truncate()
            file.write("\n".join([*lines[:-1], line]) + "\n")
        code, _, err = command("train", "colbert", *given, *options, *QUICK)
        assert code == 1
        assert "contains rounds with other settings (" + {"corpus": "passages"}.get(name, name) + ")" in " ".join(err.split())
        Path(files[name]).write_text(held)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["colbert"], "give mined tuples with --data; or --corpus and --queries"),
        (["colbert", "--rounds", "2", "--data", "x"], "give mined tuples with --data"),
        (["colbert", "--examples", "x"], "give mined tuples with --data"),
        (["colbert", "--examples", "x", "--corpus", "y", "--queries", "z", "--rounds", "2"], "in one round"),
        (["xtr", "--keep-lengths"], "give --bottleneck"),
        (["colbert", "--data", "nowhere"], "cannot be read"),
        (["colbert", "--data", "nowhere", "--batch", "0"], "batch is 0"),
    ],
)
def test_contradictory_options_are_refused(command: Command, tmp_path: Path, arguments: list[str], said: str):
    code, out, err = command("train", *arguments, "--output", tmp_path / "run")
    assert (code, out) == (1, "")
    assert said in " ".join(err.split())
    assert not (tmp_path / "run").exists()


def test_mined_tuples_are_not_written_over(command: Command, files: dict[str, str], tmp_path: Path):
    (tmp_path / "mined").mkdir()
    (tmp_path / "mined" / "tuples.jsonl.gz").write_bytes(b"")
    code, _, err = command("mine", "words", "--queries", files["queries"], "--output", tmp_path / "mined")
    assert code == 1
    assert "is not empty; name another folder" in " ".join(err.split())


OTHER: dict[str, object] = {
    "precision": "bf16",
    "device": "cpu",
    "objective": "xtr",
    "distil": False,
    "head": "emb",
    "labels": "teacher",
}
OTHER |= {"shape": "full", "end_token": "mean", "checkpointing": True, "normalize": False, "masked": False, "bias": True}
OTHER |= {"expand": False, "attend": False, "skip_punctuation": False, "normalize_tokens": True}
OTHER |= {"unlabelled": False, "source": "words"}
OTHER |= {"query_marker": "[Q]", "document_marker": "[D]"}
FLAGS = {"checkpointing": "--gradient-checkpointing", "normalize": "--keep-lengths"}


def other(one: Field[Any]) -> object:
    """A value of a field that is not its default."""
    if one.name in OTHER:
        return OTHER[one.name]
    return 7 if one.default is None else type(one.default)(0.5 if isinstance(one.default, float) else one.default + 7)


def arguments(options: Mapping[str, object], flags: Mapping[str, str]) -> list[str]:
    given: list[str] = []
    for name, value in options.items():
        flag = {**FLAGS, **flags}.get(name, "--" + name.replace("_", "-"))
        if isinstance(value, bool):
            given.append(flag if value or name in FLAGS else f"--no-{flag[2:]}")
        else:
            given += [flag, str(value)]
    return given


@pytest.mark.parametrize(
    ("name", "kinds", "fixed"),
    [
        ("colbert", [RunOptions, Aim, MiningOptions, ColBert], {"objective": "colbert", "k_train": None}),
        ("xtr", [RunOptions, Aim, MiningOptions, ColXtr], {"objective": "xtr"}),
        ("constbert", [RunOptions, Aim, MiningOptions, Pooling, ColBert], {}),
        ("cross-encoder", [RunOptions, CrossAim], {}),
        ("mine", [MiningOptions], {}),
    ],
)
def test_every_option_of_python_is_one_of_the_command_line(
    command: Command,
    files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kinds: list[Any],
    fixed: dict[str, object],
):
    """Every field of the options can be set by a command and arrives."""
    seen: list[Any] = []

    def keep(*given: Any, **options: Any) -> Any:
        seen.extend([*given, *options.values()])
        raise ConfigError("kept")

    def rounds(*given: Any, mining: MiningOptions, **_: Any) -> Any:
        seen.append(mining)
        return given[5](SCORED, tmp_path, "minilm")

    for replaced in ("train_retriever", "train_cross_encoder", "mine"):
        monkeypatch.setattr(training, replaced, keep)
    monkeypatch.setattr(training, "train_in_rounds", rounds)
    monkeypatch.setattr(training, "read_training_set", lambda _: SCORED)
    wanted = {one.name: other(one) for kind in kinds for one in fields(kind)} | fixed
    wanted |= {key: value for key, value in {"depth": 90, "ways": 9}.items() if key in wanted}
    flags = {"dim": "--bottleneck"} if name == "xtr" else {}
    given = arguments({key: value for key, value in wanted.items() if key not in fixed}, flags)
    if name == "mine":
        command("index", "words", files["corpus"], "--encoder", "none")
        start = ["mine", "words", "--queries", files["queries"]]
    elif name == "cross-encoder":
        start = ["train", name, "--data", "anywhere"]
    else:
        start = ["train", name, "--corpus", files["corpus"], "--queries", files["queries"]]
    code, _, err = command(*start, "--output", tmp_path / "out", *given)
    assert (code, "kept" in err) == (1, True), err
    for kind in kinds:
        [found] = [one for one in seen if isinstance(one, kind)]
        assert asdict(found) == {one.name: wanted[one.name] for one in fields(kind)}
