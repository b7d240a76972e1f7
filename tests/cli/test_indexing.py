"""`index` of files as people have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

import pgretrieval
from pgretrieval.encode.minilm import MiniLMEncoder
from tests.fixtures.cli import Command
from tests.support.pdf import pdf


def texts(database_url: str, query: str) -> list[tuple[str, str, dict[str, Any]]]:
    """The hits of a search by words, by id."""
    with pgretrieval.connect(database_url) as database:
        hits = database.get_collection("kitchen").text_search(query)
    return sorted((hit.id, hit.text, hit.metadata) for hit in hits)


def test_tables_are_indexed_and_a_second_run_adds_nothing(command: Command, database_url: str, tmp_path: Path):
    """Several kinds in one call, with named columns; numbers of a CSV are numbers."""
    (tmp_path / "a.csv").write_text("doc;body;year\n1;green tea;2020\n2;black tea;2021\n", "utf-8")
    parquet.write_table(pa.table({"doc": [3], "body": ["white tea"], "year": [2022]}), tmp_path / "b.parquet")
    files = [tmp_path / "a.csv", tmp_path / "b.parquet"]
    index = [
        "index",
        "kitchen",
        *files,
        "--encoder",
        "none",
        "--id",
        "doc",
        "--text",
        "body",
        "--metadata",
        "year",
        "--title",
        "body",
    ]
    code, _, err = command(*index)
    assert (code, "3 passages added, 0 already stored" in err) == (0, True), err
    assert texts(database_url, "tea") == [
        ("1", "green tea", {"year": 2020}),
        ("2", "black tea", {"year": 2021}),
        ("3", "white tea", {"year": 2022}),
    ]
    code, _, err = command(*index)
    assert (code, "0 passages added, 3 already stored" in err) == (0, True), err


def test_blank_texts_are_reported(command: Command, database_url: str, tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("id,title,text\n1,Tea,green\n2,Titles alone,\n3,,\n", "utf-8")
    code, _, err = command("index", "kitchen", path, "--encoder", "none")
    assert code == 1
    assert f"{path}:3 (id '2'): the text is empty or blank; leave it out, or give" in err
    code, _, err = command("index", "kitchen", path, "--encoder", "none", "--blank", "title")
    assert code == 0, err
    assert f"{path}: 1 passages without text were left out\n{path}: 1 passages without text have their title as text\n" in err
    assert texts(database_url, "titles") == [("2", "Titles alone", {})]


def test_a_broken_file_stores_nothing(command: Command, tmp_path: Path):
    """The files before it neither: all are checked first."""
    (tmp_path / "a.jsonl").write_text('{"id": "1", "text": "tea"}\n', "utf-8")
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    code, _, err = command("index", "kitchen", tmp_path / "a.jsonl", tmp_path / "b.parquet", "--encoder", "none")
    assert code == 1
    assert f"{tmp_path / 'b.parquet'}: not a whole Parquet file" in err
    assert "kitchen" not in command("list")[1]


def test_folders_of_documents_are_indexed_and_a_second_run_adds_nothing(command: Command, database_url: str, tmp_path: Path):
    """Words are counted where the collection has no encoder; options that do not fit are refused before anything is stored."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Tea\n\nGreen tea is picked early in the spring.\n", "utf-8")
    (tmp_path / "docs" / "b.pdf").write_bytes(pdf("Black tea is fermented"))
    (tmp_path / "docs" / "c.png").write_bytes(b"")
    index = ["index", "kitchen", tmp_path / "docs", "--encoder", "none"]
    code, _, err = command(*index, "--chunk", "2", "--overlap", "2")
    assert (code, "overlap is 2 and chunk 2; give an overlap of fewer tokens" in err) == (1, True), err
    code, _, err = command(*index, "--chunk", "8")
    assert (code, "3 passages added, 0 already stored" in err) == (0, True), err
    assert f"{tmp_path / 'docs'}: files of other kinds were not read: 1 .png\n" in err
    assert texts(database_url, "fermented") == [
        (f"{tmp_path}/docs/b.pdf#1", "Black tea is fermented", {"path": f"{tmp_path}/docs/b.pdf", "page": 1, "start": 0, "end": 22})
    ]
    code, _, err = command(*index, "--chunk", "8")
    assert (code, "0 passages added, 3 already stored" in err) == (0, True), err


@pytest.mark.parametrize("existing", [False, True])
def test_tokens_are_those_of_the_collection_s_encoder(
    command: Command, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
):
    """Of the one that is named before the collection exists, and of the stored one afterwards."""
    monkeypatch.setattr(MiniLMEncoder, "count_tokens", lambda self, text: 5 * len(text.split()))
    if existing:
        with pgretrieval.connect(database_url) as database:
            database.create_collection("kitchen", encoder="minilm")
    (tmp_path / "a.txt").write_text("one two three four five six\n", "utf-8")
    code, _, err = command("index", "kitchen", tmp_path / "a.txt", "--chunk", "10")
    assert (code, "3 passages added" in err) == (0, True), err


def test_texts_that_the_encoder_truncates_are_reported_with_the_remedy(command: Command, tmp_path: Path):
    (tmp_path / "a.txt").write_text("word " * 300, "utf-8")
    code, _, err = command("index", "kitchen", tmp_path / "a.txt")
    assert (code, "1 texts were longer than the model's limit and were truncated; --chunk cuts them" in err) == (0, True), err
