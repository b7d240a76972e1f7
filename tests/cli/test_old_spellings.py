"""Options from before `generator` raise an error with the new name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fixtures.cli import Command


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    """A corpus file of one passage."""
    path = tmp_path / "corpus.jsonl"
    path.write_text(json.dumps({"id": "a", "text": "green tea"}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("options", "new"),
    [
        (("--candidates", "proxy"), "--generator proxy"),
        (("--candidates", "proxy:512"), "--generator proxy --candidates 512"),
        (("--candidates", "many"), "give a whole number of at least 1"),
        (("--scorer", "cross-encoder"), "choose maxsim, xtr, colxtr or cross_encoder"),
    ],
)
def test_a_search_names_the_new_option(command: Command, corpus_file: Path, options: tuple[str, str], new: str):
    """The command exits with 1 and prints the new option."""
    assert command("index", "docs", corpus_file, "--encoder", "none")[0] == 0
    code, _, told = command("search", "docs", "tea", *options)
    assert (code, f"{options[0].strip('-')} is '{options[1]}'" in told, new in told) == (1, True, True)


def test_an_index_names_the_new_option(command: Command, corpus_file: Path):
    """`index --candidates`, which selected a generator, names the new option."""
    code, _, told = command("index", "docs", corpus_file, "--candidates", "proxy")
    assert code == 1
    assert "--candidates is 'proxy'; use --generator instead: --generator proxy" in told
