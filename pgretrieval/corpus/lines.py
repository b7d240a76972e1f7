"""Text files read line by line, with the place of every line for error messages."""

from __future__ import annotations

import codecs
import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from pgretrieval.errors import InputError


def read_lines(path: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """Yield ("FILE:LINE", text) for every line that is not blank; a name ending in .gz is decompressed.

    Only a line feed ends a line; a byte order mark before the first line and a carriage return at the end are dropped.
    """
    path = Path(path)
    number = 0
    try:
        with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw as file:
            for number, line in enumerate(file, start=1):
                where = f"{path}:{number}"
                text = _decode(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line, where)
                if text.strip():
                    yield where, text.rstrip("\r\n")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        reason = f"{path}:{number + 1}: the gzip data is damaged or cut short ({error}); fetch the file again"
        raise InputError(reason) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


def _decode(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"{where}: the byte 0x{line[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise InputError(reason) from error
