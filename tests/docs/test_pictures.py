"""The pictures show what is in the schema and in the results, and can be read on light and on dark pages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.svg"))
sys.path.insert(0, str(ROOT))

from benchmarks import diagrams, pictures  # noqa: E402


def test_picture_of_the_tables_names_each_table_of_the_schema_once(connection: Any) -> None:
    held = connection.execute(
        "select relname from pg_catalog.pg_class where relnamespace = 'pgretrieval'::regnamespace and relkind in ('r', 'p') "
        "and not relispartition order by relname"
    ).fetchall()
    drawn = [name for _, members in diagrams.TABLES for name, _ in members]
    assert sorted([*drawn, *diagrams.OTHER_TABLES]) == [name for (name,) in held]


@pytest.mark.parametrize(("name", "draw"), [("pipeline", pictures.pipeline), ("tables", diagrams.tables)])
def test_diagram_is_what_the_script_draws(name: str, draw: Any) -> None:
    kept = (ROOT / "docs" / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
    assert kept == draw(), "run python benchmarks/pictures.py"


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.stem)
def test_picture_has_a_white_ground(picture: Path) -> None:
    drawing = ElementTree.parse(picture).getroot()
    assert drawing.tag.endswith("svg")
    assert "fill='#ffffff'" in picture.read_text(encoding="utf-8") or "fill: #ffffff" in picture.read_text(encoding="utf-8")


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.stem)
def test_picture_is_shown_on_a_page(picture: Path) -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")]
    assert any(f"pictures/{picture.name})" in page.read_text(encoding="utf-8") for page in pages)
