"""Text of PDF files, by PDFium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pgretrieval import importing
from pgretrieval.corpus.lines import unreadable
from pgretrieval.errors import InputError

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_HYPHEN = re.compile("[\x02\ufffe]\n?")
"""What PDFium returns for a hyphen at the end of a line, which belongs to no word."""


def read_pdf(path: Path, name: str) -> Iterator[tuple[str | None, str]]:
    """Yield the document's title and a page's text, for each page. Characters without a meaning become U+FFFD."""
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
        title = _plain(document.get_metadata_value("Title")).strip() or None
        for number in range(len(document)):
            try:
                text = document[number].get_textpage().get_text_bounded()
            except pypdfium2.PdfiumError as error:
                msg = f"{name}: page {number + 1}: cannot be read ({error}); repair the file, or print it to a new one"
                raise InputError(msg) from error
            yield title, _plain(text)
    finally:
        document.close()


def _plain(text: str) -> str:
    return _NO_TEXT.sub("\ufffd", _HYPHEN.sub("", text.replace("\r\n", "\n")))


def _reason(error: Exception) -> str:
    if "password" in str(error).lower():
        return "is encrypted; save it without a password"
    return f"not a whole PDF file ({error}); fetch the file again"
