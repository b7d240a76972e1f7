"""Collect the pages of the site in build/site-pages and build it: `make docs`.

Links in pages point to files as they lie in the repository, also outside docs/. The site has one folder of pages, so docs/ is
copied to its top, linked files are copied beside it, and the links are rewritten.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)(#[^)\s]*)?\)|(src=\")([^\"]+)(\")")
FENCE = re.compile(r"^( *)(```+).*?^\1\2`*$", re.MULTILINE | re.DOTALL)


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without running its tags."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def navigation() -> list[str]:
    """The pages that mkdocs.yml lists, as paths in the site."""
    found: list[str] = []

    def walk(entry: object) -> None:
        if isinstance(entry, str):
            found.append(entry)
        for inner in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
            walk(inner)

    walk(yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)["nav"])
    return found


def place(file: Path) -> Path:
    """The place of a repository file in the site: docs/ at the top, the rest as in the repository."""
    return file.relative_to(DOCS) if file.is_relative_to(DOCS) else file.relative_to(ROOT)


def gather(pages: Path) -> None:
    """Copy docs/, the pages of the navigation, and every file that one of them links to."""
    shutil.rmtree(pages, ignore_errors=True)
    waiting = [path for path in DOCS.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    waiting += [ROOT / name for name in navigation() if not (DOCS / name).exists()]
    seen: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        copy = pages / place(file)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".md":
            text, linked = rewrite(file)
            copy.write_text(text, encoding="utf-8")
            waiting += linked
        else:
            shutil.copyfile(file, copy)


def rewrite(page: Path) -> tuple[str, list[Path]]:
    """The page with the site's links, and the files that it links to."""
    linked: list[Path] = []

    def relink(found: re.Match[str]) -> str:
        before, target, after = (found[1], found[2], f"{found[3] or ''})") if found[1] else (found[4], found[5], found[6])
        file = (page.parent / target).resolve()
        if re.match(r"[a-z]+:", target) or not file.is_relative_to(ROOT) or not file.exists():
            return found[0]
        if file.is_dir():
            file = file / "README.md"
            if not file.exists():
                raise SystemExit(
                    f"{page.relative_to(ROOT)} links to the folder {target}, which has no README.md; link to a file in it"
                )
        linked.append(file)
        return before + os.path.relpath(place(file), place(page).parent) + after

    text, done, out = page.read_text(encoding="utf-8"), 0, []
    for fence in FENCE.finditer(text):
        out += [LINK.sub(relink, text[done : fence.start()]), fence[0]]
        done = fence.end()
    return "".join([*out, LINK.sub(relink, text[done:])]), linked


def main() -> int:
    """Build the site; a warning is an error."""
    gather(ROOT / "build" / "site-pages")
    shutil.rmtree(ROOT / "build" / "site", ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "--config-file", str(ROOT / "mkdocs.yml")]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
