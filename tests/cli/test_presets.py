"""`--preset` of commands: what it sets is printed, and given options come first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fixtures.cli import Command


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
