"""The site builds without warnings and lists every page, and its internal links resolve."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "site"


class Page(HTMLParser):
    """Ids and links of a built page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.ids.add(value)
            elif (name in ("href", "src") and tag in ("a", "img", "script", "source")) and value:
                self.links.append(value)


@pytest.fixture(scope="module")
def built() -> str:
    """Build the site as `make docs` does; returns the output."""
    command = [sys.executable, "tools/build_site.py"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return re.sub(r"\x1b\[[\d;]*m", "", done.stdout)


@pytest.fixture(scope="module")
def pages(built: str) -> dict[Path, Page]:
    """Every page of the built site."""
    return {path: Page(path) for path in SITE.rglob("*.html")}


def test_site_builds_without_a_warning(built: str) -> None:
    assert "No issues found" in built
    assert "warning" not in built.lower()


def test_internal_links_resolve(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            there = target.is_file() and (not parts.fragment or target not in pages or unquote(parts.fragment) in pages[target].ids)
            if not there and parts.fragment != "__skip":
                broken.append(f"{path.relative_to(SITE)}: {link}")
    assert broken == []


def test_references_to_names_of_the_interface_are_resolved(pages: dict[Path, Page]) -> None:
    assert [str(path.relative_to(SITE)) for path, page in pages.items() if "autoref" in page.tags] == []


def test_every_page_is_in_the_navigation_once() -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from build_site import navigation
    finally:
        sys.path.remove(str(ROOT / "tools"))
    listed = navigation()
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    pages |= {str(page.relative_to(ROOT)) for page in (ROOT / "benchmarks").rglob("*.md")}
    assert sorted(pages - set(listed)) == []
    assert len(listed) == len(set(listed))
