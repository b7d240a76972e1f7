"""Datasets by name, without a network: names of folders are names of datasets, too."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import datasets
import pytest

from pgretrieval import InputError, MissingExtraError, Passage, read_passages


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset with two splits, and an empty cache, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    Path("recipes").mkdir()
    for split, ids in (("train", range(2_500)), ("test", range(3))):
        lines = [json.dumps({"id": number, "text": f"text {number}", "other": {"x": 1}}) for number in ids]
        Path("recipes", f"{split}.jsonl").write_text("\n".join(lines), "utf-8")
    return Path("recipes")


def error_of(name: str) -> str:
    with pytest.raises(InputError) as caught:
        list(read_passages(name))
    return str(caught.value)


def test_a_split_is_read(folder: Path):
    assert [passage.id for passage in read_passages("hf:recipes@train")] == [str(number) for number in range(2_500)]
    assert next(read_passages("hf:recipes:default@test")) == Passage("0", "text 0")


def test_the_only_split_needs_no_name(folder: Path):
    (folder / "train.jsonl").unlink()
    assert len(list(read_passages("hf:recipes"))) == 3


@pytest.mark.parametrize("name", ["hf:recipes", "hf:recipes@dev"])
def test_the_splits_are_listed(folder: Path, name: str):
    assert error_of(name) == f"{name}: name one of the splits: hf:recipes@train, hf:recipes@test"


def test_columns_are_checked(folder: Path):
    with pytest.raises(InputError, match=r"^hf:recipes@test: has no column 'body'; its columns are 'id', 'text', 'other'; name"):
        list(read_passages("hf:recipes@test", text="body"))


def test_errors_name_the_row(folder: Path):
    (folder / "test.jsonl").write_text('{"id": 1, "text": "x"}\n{"id": 2, "text": ""}\n', "utf-8")
    assert error_of("hf:recipes@test").startswith("hf:recipes@test: row 2 (id '2'): the text is empty or blank")


def test_an_unknown_name_is_an_error(folder: Path):
    message = error_of("hf:nobody/nothing")
    assert message.startswith("hf:nobody/nothing: cannot be loaded (")
    assert message.endswith("); check the name, and the network")


@pytest.mark.parametrize("name", ["hf:", "hf:a:b:c", "hf:a@b@c"])
def test_a_name_of_another_form_is_an_error(name: str):
    assert error_of(name).startswith(f"{name}: is not the name of a dataset; write hf:NAME")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"^hf:recipes: datasets by name need datasets; install it: pip install datasets$"):
        list(read_passages("hf:recipes"))
