"""Every guide and the README run block by block, and keep their length limits."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.support.pages import RUN, SHOWN, blocks_of, running

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
PAGES = [README, *GUIDES]


def name_of(page: Path) -> str:
    return page.stem


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_run_in_order(page: Path, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGRETRIEVAL_DATABASE_URL", database_url)
    with running(page, database_url, tmp_path) as runner:
        for block in blocks_of(page):
            if block.language in RUN and block.not_run is None:
                runner.run(block)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_say_their_language(page: Path) -> None:
    assert {block.language for block in blocks_of(page)} <= {*RUN, *SHOWN}


def test_few_blocks_are_not_run() -> None:
    """Blocks that are not run state the reason above: network, Docker or hours."""
    run, left = 0, []
    for page in PAGES:
        blocks = [block for block in blocks_of(page) if block.language in RUN]
        left += [f"{page.name}:{block.line}: {block.not_run}" for block in blocks if block.not_run]
        run += sum(block.not_run is None for block in blocks)
    assert len(left) <= 15, left
    assert run > 6 * len(left)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page_is_short(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").split()) <= (700 if page == README else 800)


@pytest.mark.parametrize(
    ("language", "source", "shown"),
    [
        ("python", "print(1 + 1)", "3"),
        ("python", "print(1)\nprint(2)", "1"),
        ("sql", "select 1 + 1", "3"),
        ("sh", "echo one; echo two", "two\none"),
        ("sh", "false", ""),
        ("python", "raise ValueError", ""),
        ("sql", "select nothing", ""),
    ],
)
def test_failing_blocks_and_other_outputs_are_errors(
    database_url: str, tmp_path: Path, language: str, source: str, shown: str
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n```{language}\n{source}\n```\n\n```text\n{shown}\n```\n", encoding="utf-8")
    with running(page, database_url, tmp_path) as runner, pytest.raises((AssertionError, ValueError, psycopg.Error)):
        runner.run(blocks_of(page)[0])


def test_only_a_block_with_a_reason_right_above_it_is_left_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "*Not run by the tests: it needs a network.*\n\n```sh\nfalse\n```\n\nProse.\n\n```sh\ntrue\n```\n", encoding="utf-8"
    )
    assert [block.not_run for block in blocks_of(page)] == ["it needs a network", None]
