"""Documents: files of text, Markdown, HTML and PDF, and the folders that contain them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pgretrieval.corpus.html import read_html
from pgretrieval.corpus.lines import unreadable, whole_lines
from pgretrieval.corpus.pdf import read_pdf
from pgretrieval.errors import InputError


class Page(NamedTuple):
    """A text to cut: all of a document, or a page of a PDF, which has a number."""

    where: str
    text: str
    title: str | None
    number: int | None = None


class Document(NamedTuple):
    """A document's path, and its pages as they are read."""

    path: str
    pages: Iterator[Page]


def read_documents(path: Path, name: str, others: Counter[str]) -> Iterator[Document]:
    """Yield a document, or those of a folder and the folders in it, by name; `others` counts the endings of files that are none.

    Hidden files and folders are passed over, links are followed. Raises InputError for links in a circle and links to nothing.
    """
    if not path.is_dir():
        yield _document(path, name)
        return
    found = False
    for file in files_of(path):
        if is_document(file):
            found = True
            yield _document(file, file.as_posix())
        else:
            others[file.suffix.lower()] += 1
    if not found:
        msg = f"{name}: contains no file ending in {', '.join(DOCUMENTS)}; name files of other kinds one by one"
        raise InputError(msg)


def endings_listed(counts: Counter[str]) -> str:
    """Return the numbers of files by ending, the most first."""
    return ", ".join(f"{count:,} {ending or 'without an ending'}" for ending, count in counts.most_common())


def is_document(path: Path) -> bool:
    """Return whether a file's name ends like a document's."""
    return path.suffix.lower() in _READERS


def _document(path: Path, name: str) -> Document:
    return Document(name, _READERS[path.suffix.lower()](path, name))


def files_of(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, by name."""
    waiting = [(folder, {_identity(folder): folder})]
    while waiting:
        path, above = waiting.pop()
        if not path.is_dir():
            if not path.exists():
                raise InputError(f"{path}: is a link to nothing; remove or mend it")
            yield path
            continue
        try:
            inside = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        except OSError as error:
            raise unreadable(str(path), error) from error
        for entry in reversed(inside):
            if not entry.is_dir():
                waiting.append((entry, above))
                continue
            identity = _identity(entry)
            if identity in above:
                raise InputError(f"{entry}: is a link to {above[identity]}, which contains it; remove the link")
            waiting.append((entry, {**above, identity: entry}))


def _identity(folder: Path) -> tuple[int, int]:
    try:
        stat = os.stat(folder)
    except OSError as error:
        raise unreadable(str(folder), error) from error
    return stat.st_dev, stat.st_ino


def _read_text(path: Path, name: str) -> Iterator[Page]:
    yield Page(name, "".join(line for _, line in whole_lines(path, name)), None)


def _read_markdown(path: Path, name: str) -> Iterator[Page]:
    """Yield the text of a file as it is; a heading at its start is the title."""
    for page in _read_text(path, name):
        heading = _HEADING.match(page.text)
        yield page._replace(title=heading[1] if heading else None)


def _read_html(path: Path, name: str) -> Iterator[Page]:
    title, text = read_html(path, name)
    yield Page(name, text, title)


def _read_pdf(path: Path, name: str) -> Iterator[Page]:
    for number, (title, text) in enumerate(read_pdf(path, name), start=1):
        alone = not text.strip()  # the title says nothing of a page without text, such as a scanned one
        yield Page(f"{name}: page {number}", text, None if alone else title, number)


_HEADING = re.compile(r"\s*# +(.+?)(?: +#+)? *(?:\r?\n|$)")
_READERS: dict[str, Callable[[Path, str], Iterator[Page]]] = {
    ".txt": _read_text,
    **dict.fromkeys((".md", ".markdown"), _read_markdown),
    **dict.fromkeys((".html", ".htm"), _read_html),
    ".pdf": _read_pdf,
}
DOCUMENTS = tuple(_READERS)
"""Endings of documents."""
