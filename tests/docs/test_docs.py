"""Links of the documentation resolve, and its examples compile or run."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "docker/**/*.md", "benchmarks/**/*.md", "tests/**/*.md")
    for page in ROOT.glob(pattern)
)
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@cache
def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    return FENCE.sub("", read(page))


def anchors(page: Path) -> set[str]:
    """GitHub's anchors of the headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in HEADING.findall(prose(page))}


def blocks(language: str) -> list[Any]:
    return [
        pytest.param(re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE), id=f"{page.name}:{number}")
        for page in PAGES
        for number, found in enumerate(FENCE.finditer(read(page)))
        if found[2] == language
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for target in LINK.findall(prose(page)):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        linked = (page.parent / path).resolve() if path else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            broken.append(target)
    assert broken == []


def test_readme_has_the_two_commands_and_the_makefile_has_them_too() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for target in ("demo", "test"):
        assert re.search(rf"^make {target}\b", read(ROOT / "README.md"), re.MULTILINE)
        assert target in targets


@pytest.mark.parametrize("source", blocks("python"))
def test_python_examples_compile(source: str) -> None:
    compile(source, "example", "exec")


@pytest.mark.parametrize("source", blocks("json"))
def test_json_examples_parse(source: str) -> None:
    decoder, rest = json.JSONDecoder(), source.strip()
    while rest:
        _, end = decoder.raw_decode(rest)
        rest = rest[end:].strip()


def test_compose_file_is_the_server_that_the_documentation_describes() -> None:
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))
    server = compose["services"]["postgres"]
    environment = server["environment"]
    assert server["image"] == "pgvector/pgvector:pg17"
    assert server["ports"] == ["127.0.0.1:5433:5432"]
    assert "--host=127.0.0.1" in server["healthcheck"]["test"]
    assert {volume.partition(":")[0] for volume in server["volumes"]} == set(compose["volumes"])
    url = f"postgresql://{environment['POSTGRES_USER']}:{environment['POSTGRES_PASSWORD']}@localhost:5433/{environment['POSTGRES_DB']}"
    assert url in read(ROOT / "docs" / "guides" / "your-postgres.md")
    assert url in read(ROOT / "docker" / "README.md")


def test_sql_examples_run(connection: Any) -> None:
    """All examples run in order of the page, in one session."""
    examples = [found[3] for found in FENCE.finditer(read(ROOT / "docs" / "reference" / "sql.md")) if found[2] == "sql"]
    assert len(examples) >= 18
    for source in examples:
        connection.execute(source)
