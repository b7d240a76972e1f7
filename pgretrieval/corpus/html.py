"""Text of HTML files, by the parser of the standard library."""

from __future__ import annotations

import codecs
import re
from html.parser import HTMLParser
from pathlib import Path

from pgretrieval.corpus.lines import unreadable
from pgretrieval.errors import InputError

_HIDDEN = {"script", "style", "template", "noscript", "svg"}
_BREAKS = {"br", "li", "tr", "dt", "dd", "option"}
_BLOCKS = {
    *("address", "article", "aside", "blockquote", "body", "div", "dl", "fieldset", "figure", "footer", "form", "h1", "h2", "h3"),
    *("h4", "h5", "h6", "header", "hr", "main", "nav", "ol", "p", "pre", "section", "table", "ul"),
}
_CELLS = {"td", "th"}
_DECLARED = re.compile(rb"""<meta[^>]+charset\s*=\s*["']?\s*([\w:.-]+)""", re.IGNORECASE)
_DECLARED_WITHIN = 1_024
"""Bytes at the start of a file in which the standard looks for the declared encoding."""


def read_html(path: Path, name: str) -> tuple[str | None, str]:
    """Return the title and the visible text of a file: a line for each row or item, an empty line between blocks.

    The file is UTF-8, or in the encoding that it declares.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(name, error) from error
    reader = _Reader()
    reader.feed(_decoded(content, name))
    reader.close()
    return " ".join("".join(reader.title).split()) or None, reader.text()


def _decoded(content: bytes, name: str) -> str:
    declared = _DECLARED.search(content[:_DECLARED_WITHIN])
    encoding = "utf-8" if declared is None or content.startswith(codecs.BOM_UTF8) else declared[1].decode("ascii")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode(encoding)
    except LookupError as error:
        raise InputError(f"{name}: declares the unknown encoding {encoding!r}; save the file as UTF-8") from error
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
        raise InputError(f"{name}:{line}: the byte 0x{byte:02x} is not {encoding.upper()}; save the file as UTF-8") from error


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.title: list[str] = []
        self._parts: list[str] = []
        self._open: list[str] = []

    def text(self) -> str:
        """Return the visible text so far."""
        lines = re.sub(r"[ \t]+\n", "\n", "".join(self._parts))
        return re.sub(r"\n{3,}", "\n\n", lines).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HIDDEN or tag in ("title", "pre"):
            self._open.append(tag)
        self._separate(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            del self._open[len(self._open) - 1 - self._open[::-1].index(tag) :]
        if tag not in _BREAKS:
            self._separate(tag)

    def handle_data(self, data: str) -> None:
        if "title" in self._open and "svg" not in self._open:
            self.title.append(data)
        elif not _HIDDEN.isdisjoint(self._open):
            return
        elif "pre" in self._open:
            self._parts.append(data)
        else:
            text = re.sub(r"\s+", " ", data)
            self._parts.append(text.lstrip(" ") if self._is_separated() else text)

    def _separate(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._parts.append("\n\n")
        elif tag in _BREAKS:
            self._parts.append("\n")
        elif tag in _CELLS and not self._is_separated():
            self._parts.append(" ")

    def _is_separated(self) -> bool:
        return not self._parts or self._parts[-1].endswith((" ", "\n"))
