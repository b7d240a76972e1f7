"""Mentions of ZESHEL in their contexts, and malformed rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pgretrieval.errors import InputError
from pgretrieval.evaluate.published.zeshel import read_zeshel
from tests.support.published import write_zeshel


def mention(**changed: Any) -> dict[str, Any]:
    """A mention in the middle of its context."""
    row = {"mention_id": "new", "context_document_id": "long", "corpus": "yugioh", "start_index": 3, "end_index": 4, "text": "d e"}
    return {**row, **changed}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four entities, and one with a long text."""
    write_zeshel(tmp_path, ["river", "bank"])
    with (tmp_path / "documents" / "yugioh.json").open("a") as file:
        file.write(json.dumps({"document_id": "long", "title": "letters", "text": "a b c d e f g h"}) + "\n")
    return tmp_path


def add(folder: Path, row: dict[str, Any]) -> None:
    with (folder / "mentions" / "val.json").open("a") as file:
        file.write(json.dumps(row) + "\n")


@pytest.mark.parametrize(
    ("context", "text"),
    [(0, "[START] d e [END]"), (2, "b c [START] d e [END] f g"), (32, "a b c [START] d e [END] f g h")],
)
def test_a_mention_has_words_of_its_context_on_each_side(folder: Path, context: int, text: str):
    add(folder, mention())
    world = read_zeshel(folder, "yugioh", context)
    assert world.mentions["new"] == text
    assert len(world.mentions) == 5
    assert [entity.id for entity in world.entities()] == ["E0", "E1", "E2", "E3", "long"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (mention(text="d f"), r"val\.json:3: the words 3 to 4 of the context document are not 'd f'"),
        (mention(context_document_id="gone"), r"val\.json:3: the context document 'gone' is not in yugioh\.json"),
        (mention(mention_id="M0"), r"val\.json:3: the id 'M0' occurs on an earlier line"),
        (mention(start_index="3"), r"val\.json:3: 'start_index' is str; the layout has int"),
    ],
)
def test_malformed_mentions_are_named(folder: Path, row: dict[str, Any], said: str):
    add(folder, row)
    with pytest.raises(InputError, match=said):
        read_zeshel(folder, "yugioh", 8)


def test_a_world_without_mentions_is_an_error(folder: Path):
    (folder / "documents" / "military.json").write_text((folder / "documents" / "yugioh.json").read_text())
    with pytest.raises(InputError, match="none of the world 'military'"):
        read_zeshel(folder, "military", 8)


def test_a_split_is_disjoint_and_of_distinct_texts(folder: Path):
    add(folder, mention())
    add(folder, mention(mention_id="copy"))
    world = read_zeshel(folder, "yugioh", 8)
    anchors, tested = world.split(3, 2, seed=0)
    assert len({world.mentions[key] for key in [*anchors, *tested]}) == 5
    assert world.split(3, 2, seed=0) == (anchors, tested)
    assert any(world.split(3, 2, seed=seed) != (anchors, tested) for seed in range(1, 5))
    with pytest.raises(InputError, match="3 anchor queries and 3 test queries are asked for, but the world has 5"):
        world.split(3, 3, seed=0)
