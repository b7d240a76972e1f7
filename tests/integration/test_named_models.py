"""Model folders named in the database are loaded only if the client allows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg.types.json import Jsonb

import pgretrieval
from pgretrieval.encode import sources
from pgretrieval.errors import EncoderError
from pgretrieval.rerank.markers import new_cross_encoder
from tests.fixtures.cli import Command
from tests.fixtures.models import WORDS

PASSAGES = [{"id": number, "text": f"the river flows to bank {number}"} for number in range(40)]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make this process like another one, which has named no folder."""
    return lambda: monkeypatch.setattr(sources, "_named", set())


def test_an_encoder_that_the_database_names(
    database: pgretrieval.RetrievalDatabase,
    connection: psycopg.Connection[Any],
    library_folder: Path,
    elsewhere: Any,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
):
    """An encoder folder named in the table is refused unless allowed."""
    made = database.create_collection("docs", encoder=str(library_folder))
    made.add(PASSAGES)
    made.build()
    assert database.get_collection("docs").search("the river", k=1)  # this process has named it
    elsewhere()
    with pytest.raises(EncoderError, match=r"names the folder .* as the encoder.*PGRETRIEVAL_MODEL_FOLDERS.*get_collection"):
        database.get_collection("docs").search("the river", k=1)
    code, out, err = command("search", "docs", "the river")
    assert (code, out) == (1, "")
    assert "PGRETRIEVAL_MODEL_FOLDERS" in err
    assert database.get_collection("docs").stats()["passages"] == 40  # nothing is loaded for this
    monkeypatch.setenv("PGRETRIEVAL_MODEL_FOLDERS", str(library_folder.parent))
    assert command("search", "docs", "the river")[0] == 0
    monkeypatch.delenv("PGRETRIEVAL_MODEL_FOLDERS")
    assert database.get_collection("docs", encoder=str(library_folder)).search("the river", k=1)
    connection.execute("update pgretrieval.collection set encoder = %s", [Jsonb({"kind": "model", "name": "/etc"})])
    connection.commit()
    with pytest.raises(EncoderError, match="names the folder '/etc'"):
        database.get_collection("docs").search("the river", k=1)


def test_a_cross_encoder_that_the_database_names(
    database: pgretrieval.RetrievalDatabase, tiny_bert: Path, tmp_path: Path, elsewhere: Any, monkeypatch: pytest.MonkeyPatch
):
    """A cross-encoder folder named in the table is refused unless allowed."""
    folder = tmp_path / "cross"
    new_cross_encoder(tiny_bert, "emb", max_length=24, device="cpu").save(str(folder), create_model_card=False)
    items = database.create_collection("items", encoder="none")
    random = np.random.default_rng(0)
    items.add([{"id": number, "text": " ".join(random.choice(WORDS, 6))} for number in range(40)])
    queries = [" ".join(random.choice(WORDS, 4)) for _ in range(14)]
    items.factorize(str(folder), queries, 10, selection="random")
    search: dict[str, Any] = {"k": 2, "scorer": "cross_encoder", "budget": 20}
    assert len(database.get_collection("items").search("a bank", **search)) == 2
    elsewhere()
    with pytest.raises(EncoderError, match=r"names the folder .* as the cross-encoder.*use_cross_encoder"):
        database.get_collection("items").search("a bank", **search)
    assert len(database.get_collection("items", cross_encoder=str(folder)).search("a bank", **search)) == 2
    elsewhere()
    monkeypatch.setenv("PGRETRIEVAL_MODEL_FOLDERS", str(folder))
    assert len(database.get_collection("items").search("a bank", **search)) == 2
