"""Spellings from before `generator`: each is an error that names the new one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fixtures.cli import Command


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    """One passage."""
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
    """The command ends with exit code 1 and says what to write instead."""
    assert command("index", "docs", corpus_file, "--encoder", "none")[0] == 0
    code, _, told = command("search", "docs", "tea", *options)
    assert (code, f"{options[0].strip('-')} is '{options[1]}'" in told, new in told) == (1, True, True)


def test_an_index_names_the_new_option(command: Command, corpus_file: Path):
    """`index --candidates` made a collection with a generator."""
    code, _, told = command("index", "docs", corpus_file, "--candidates", "proxy")
    assert code == 1
    assert "--candidates is 'proxy'; use --generator instead: --generator proxy" in told
