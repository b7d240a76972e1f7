"""Text and images of the pages of PDF files, by PDFium."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pgretrieval import importing
from pgretrieval.corpus.lines import unreadable
from pgretrieval.errors import InputError

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_HYPHEN = re.compile("[\x02\ufffe]\n?")
"""PDFium's character for a hyphen at the end of a line, which belongs to no word."""

_DPI = 150
_POINTS_PER_INCH = 72
_MOST_PIXELS = 4_000
"""Longer side of an image at most, whatever the size of the page."""


def read_pdf(path: Path, name: str) -> Iterator[tuple[str | None, str]]:
    """Yield the document's title and a page's text, for each page. Characters without a meaning become U+FFFD."""
    with _opened(path, name) as document:
        title = _plain(document.get_metadata_value("Title")).strip() or None
        for number in range(len(document)):
            with _page_named(name, number):
                text = _text(document[number])
            yield title, text


def render_pdf(path: Path, name: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the text of each page, and a function that returns the page as an image of Pillow."""
    with _opened(path, name) as document:
        for number in range(len(document)):
            with _page_named(name, number):
                page = document[number]
                text = _text(page)
            yield text, partial(_render, page, name, number)


@contextmanager
def _opened(path: Path, name: str) -> Iterator[Any]:
    with importing.extra(f"{name}: PDF", "files"):
        import pypdfium2
    try:
        path.open("rb").close()  # PDFium has one error for files that are missing, not readable and not PDF
        document = pypdfium2.PdfDocument(path)
    except OSError as error:
        raise unreadable(name, error) from error
    except pypdfium2.PdfiumError as error:
        raise InputError(f"{name}: {_reason(error)}") from error
    try:
        yield document
    finally:
        document.close()


@contextmanager
def _page_named(name: str, number: int) -> Iterator[None]:
    """Name the page in errors of PDFium."""
    import pypdfium2

    try:
        yield
    except pypdfium2.PdfiumError as error:
        msg = f"{name}: page {number + 1}: cannot be read ({error}); repair the file, or print it to a new one"
        raise InputError(msg) from error


def _text(page: Any) -> str:
    return _plain(page.get_textpage().get_text_bounded())


def _render(page: Any, name: str, number: int) -> Any:
    scale = min(_DPI / _POINTS_PER_INCH, _MOST_PIXELS / max(page.get_size()))
    with _page_named(name, number):
        return page.render(scale=scale).to_pil()


def _plain(text: str) -> str:
    return _NO_TEXT.sub("\ufffd", _HYPHEN.sub("", text.replace("\r\n", "\n")))


def _reason(error: Exception) -> str:
    if "password" in str(error).lower():
        return "is encrypted; save it without a password"
    return f"not a whole PDF file ({error}); fetch the file again"
