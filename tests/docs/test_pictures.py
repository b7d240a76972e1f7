"""Pictures match the schema and the results, and are readable on light and dark pages."""

from __future__ import annotations

import re
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


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all pictures as the script draws them from the current results."""
    folder = tmp_path_factory.mktemp("pictures")
    pictures.main(folder)
    return folder


def test_script_draws_each_picture_and_no_other(drawn: Path) -> None:
    assert sorted(path.name for path in drawn.glob("*.svg")) == [path.name for path in PICTURES]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.stem)
def test_picture_is_what_the_script_draws_from_the_results(picture: Path, drawn: Path) -> None:
    kept, anew = (path.read_text(encoding="utf-8") for path in (picture, drawn / picture.name))
    if maker(kept) == maker(anew):
        assert kept == anew, "run python benchmarks/pictures.py"
    else:
        assert_alike(shapes(kept), shapes(anew))


def test_pictures_of_two_versions_are_alike_only_if_they_show_the_same(drawn: Path) -> None:
    text = (drawn / "growth.svg").read_text(encoding="utf-8")
    other = text.replace(maker(text), "Matplotlib v0.0.1")
    assert_alike(shapes(text), shapes(re.sub(r"(\d\.\d{3})\d*", r"\1", other)))
    label = re.search(r">(20,000)</text>", text)
    point = re.search(r'<use xlink:href="#\w+" x="(\d+)', text)
    assert label
    assert point
    for found, wrong in ((label, "30,000"), (point, "7")):
        with pytest.raises(AssertionError):
            assert_alike(shapes(text), shapes(text[: found.start(1)] + wrong + text[found.end(1) :]))


def maker(svg: str) -> str:
    """The library and version that drew a picture; empty for pictures drawn without one."""
    found = re.search(r"Matplotlib v[\w.+-]+", svg)
    return found[0] if found else ""


def shapes(svg: str) -> list[tuple[str, str, list[float]]]:
    """Tag, text and coordinates of each visible element, in order."""
    seen = []
    for element in ElementTree.fromstring(svg).iter():
        tag = element.tag.rpartition("}")[2]
        if tag in ("path", "use", "text", "rect"):
            places = " ".join(element.get(name, "") for name in ("d", "x", "y", "transform", "width", "height"))
            seen.append((tag, (element.text or "").strip(), [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", places)]))
    return seen


def assert_alike(kept: list[tuple[str, str, list[float]]], anew: list[tuple[str, str, list[float]]]) -> None:
    """Pictures of two library versions may differ by a few points."""
    assert [shape[:2] for shape in kept] == [shape[:2] for shape in anew], "run python benchmarks/pictures.py"
    for (tag, text, held), (_, _, made) in zip(kept, anew, strict=True):
        assert made == pytest.approx(held, abs=4), f"{tag} {text}: run python benchmarks/pictures.py"


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.stem)
def test_picture_has_a_white_ground(picture: Path) -> None:
    drawing = ElementTree.parse(picture).getroot()
    assert drawing.tag.endswith("svg")
    assert "fill='#ffffff'" in picture.read_text(encoding="utf-8") or "fill: #ffffff" in picture.read_text(encoding="utf-8")


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.stem)
def test_picture_is_shown_on_a_page(picture: Path) -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")]
    assert any(f"pictures/{picture.name})" in page.read_text(encoding="utf-8") for page in pages)
