"""Every guide and the README run as they stand, block after block, and are as short as they promise."""

from __future__ import annotations

from pathlib import Path

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
    """A page says right above a block why the tests do not run it: a network, Docker or hours are needed."""
    run, left = 0, []
    for page in PAGES:
        blocks = [block for block in blocks_of(page) if block.language in RUN]
        left += [f"{page.name}:{block.line}: {block.not_run}" for block in blocks if block.not_run]
        run += sum(block.not_run is None for block in blocks)
    assert len(left) <= 12, left
    assert run > 6 * len(left)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page_is_short(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").split()) <= (700 if page == README else 800)
