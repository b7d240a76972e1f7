"""`--preset` of commands: what it sets is printed, and given options come first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from pgretrieval import presets
from pgretrieval.cli.app import app
from pgretrieval.train.tuples import TrainingSet, TrainingTuple, read_training_set, write_training_set
from tests.fixtures.cli import Command
from tests.fixtures.models import WORDS


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.jsonl"
    file.write_text("".join(json.dumps({"id": f"p{n}", "text": f"number {n} of the rivers"}) + "\n" for n in range(30)))
    return file


def test_index_prints_what_a_preset_sets(command: Command, corpus: Path):
    """The options that are not given are printed and in force; another run with another preset is refused."""
    code, out, err = command("index", "docs", corpus, "--preset", "plaid", "--bits", "4")
    assert (code, out) == (0, "")
    assert "preset plaid, PLAID (Santhanam et al. 2022): levels quantile; searches up to 10 hits: generator centroid_pruning" in err
    _, out, _ = command("stats", "docs", "--json")
    stats = json.loads(out)
    assert (stats["preset"]["name"], stats["bits"], stats["levels"]) == ("plaid", 4, "quantile")
    code, out, _ = command("search", "docs", "rivers", "--centroid-threshold", "0.1", "--json")
    assert (code, len(out.splitlines())) == (0, 10)
    code, _, err = command("index", "docs", corpus, "--preset", "plaid")
    assert (code, "preset plaid," in err) == (0, False)  # the collection has its options
    code, _, err = command("index", "docs", corpus, "--preset", "xtr")
    assert (code, "was created with preset plaid, but --preset is xtr" in err) == (1, True)


def test_a_preset_decides_the_encoder(command: Command, corpus: Path):
    """A collection of ANNCUR has texts only, unless an encoder is given."""
    code, _, err = command("index", "docs", corpus, "--preset", "anncur")
    assert code == 0
    assert "preset anncur, ANNCUR (Yadav et al. 2022): encoder none; factorize: selection random" in err
    assert json.loads(command("stats", "docs", "--json")[1])["encoder"] == {"kind": "none"}
    code, _, err = command("index", "others", corpus, "--preset", "anncur", "--encoder", "minilm")
    assert (code, "encoder none" in err) == (0, False)
    assert json.loads(command("stats", "others", "--json")[1])["encoder"]["kind"] == "minilm"


@pytest.mark.parametrize("arguments", [("index", "docs", "corpus.jsonl"), ("index", "docs", "-")])
def test_an_unknown_preset_is_refused_with_the_names(command: Command, arguments: tuple[str, ...]):
    """Nothing is read or created."""
    code, _, err = command(*arguments, "--preset", "colbert")
    assert (code, "preset is 'colbert'; choose colbertv2, plaid" in err) == (1, True)


# ---- training


COMMANDS = typer.main.get_command(app).commands["train"].commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", presets.trained())
def test_a_preset_sets_options_of_its_command(name: str):
    """Each name is an option of the command that trains its model."""
    preset = presets.PRESETS[name]
    assert set(preset.train) <= {parameter.name for parameter in COMMANDS[preset.model].params}


@pytest.fixture
def tuples(tmp_path: Path) -> Path:
    """Tuples of two passages."""
    texts = {f"p{n}": f"the river {word}" for n, word in enumerate(WORDS)}
    made = tuple(TrainingTuple(f"q{n}", word, (f"p{n}", f"p{(n + 1) % len(WORDS)}")) for n, word in enumerate(WORDS))
    write_training_set(tmp_path / "tuples", TrainingSet(made, texts))
    return tmp_path / "tuples"


QUICK = ("--steps", "1", "--device", "cpu", "--batch", "3")


def config(folder: Path) -> dict[str, Any]:
    """The configuration of a run, without levels."""
    found = json.loads((folder / "config.json").read_text())
    return {**found["aim"], **(found["pooling"] or {}), **found["run"]}


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("colbertv2", ("--ways", "2"), {"learning_rate": 1e-5, "warmup": 0.05, "ways": 2, "batch": 3}),
        ("xtr", (), {"learning_rate": 1e-3, "k_train": 320, "ways": 2, "batch": 3}),
        ("colxtr", ("--learning-rate", "0.002"), {"learning_rate": 2e-3, "k_train": 320, "ways": 2}),
        ("constbert16", ("--ways", "2"), {"vectors": 16, "shape": "full", "learning_rate": 1e-5}),
    ],
)
def test_train_takes_the_options_of_a_preset(
    command: Command,
    library_folder: Path,
    tuples: Path,
    tmp_path: Path,
    name: str,
    given: tuple[str, ...],
    expected: dict[str, Any],
):
    """The preset decides the model; what it sets is printed and trains, and given options come first."""
    run = ("--data", tuples, "--base", library_folder, "--output", tmp_path / "run", *QUICK, *given)
    code, out, err = command("train", "--preset", name, *run)
    assert (code, out) == (0, ""), err
    found = config(tmp_path / "run")
    assert {option: found[option] for option in expected} == expected
    printed = next(line for line in err.splitlines() if line.startswith(f"preset {name}, "))
    options = presets.PRESETS[name].train
    words = {option for option in options if f" {option} " in printed}
    assert words == set(options) - {flag.removeprefix("--").replace("-", "_") for flag in (*QUICK, *given)}
    code, _, err = command("train", presets.PRESETS[name].model, f"--preset={name}", *run)
    assert (code, "other settings" in err) == (1, False)  # the same run, which is finished


def test_mine_takes_the_options_of_a_preset(command: Command, corpus: Path, tmp_path: Path):
    """Tuples of two passages, the negatives from BM25; a given depth comes first."""
    assert command("index", "docs", corpus)[0] == 0
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text("".join(json.dumps({"id": f"q{n}", "text": f"number {n}"}) + "\n" for n in range(5)))
    qrels.write_text("".join(f"q{n} 0 p{n} 1\n" for n in range(5)))
    mined = ("--queries", queries, "--qrels", qrels, "--output", tmp_path / "mined", "--preset", "colxtr", "--depth", "10")
    code, _, err = command("mine", "docs", *mined)
    assert code == 0, err
    assert "preset colxtr, ColXTR (Bhat and Sen 2025): ways 2, source words\n" in err
    made = read_training_set(tmp_path / "mined")
    assert (made.ways, made.settings["source"], made.settings["depth"]) == (2, "words", 10)


def test_a_preset_of_another_model_is_refused(command: Command, tmp_path: Path):
    """The error lists the presets of the model."""
    code, _, err = command("train", "xtr", "--preset", "colbertv2", "--output", tmp_path)
    assert (code, "preset is 'colbertv2'; choose xtr or colxtr" in err) == (1, True)
    code, _, err = command("train", "--preset", "plaid", "--output", tmp_path)
    assert (code, "preset is 'plaid'; choose colbertv2, xtr, colxtr" in err) == (1, True)
