"""Text files read line by line, with the position of each line for error messages."""

from __future__ import annotations

import codecs
import gzip
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pgretrieval import validate
from pgretrieval.errors import InputError

MAX_LINE_BYTES = 32 * 2**20
"""Limit of a line, because a compressed line can be a thousand times as long as its file."""
STANDARD_INPUT = Path("-")


class Held(NamedTuple):
    """File that can be read repeatedly, and its name in errors."""

    path: Path
    name: str


@contextmanager
def held(paths: Sequence[Path]) -> Iterator[list[Held]]:
    """Yield files as they are; pipes and standard input (`-`) are copied to temporary files."""
    if paths.count(STANDARD_INPUT) > 1:
        msg = f"- is given {paths.count(STANDARD_INPUT)} times, and standard input can be read once; give it once"
        raise InputError(msg)
    with tempfile.TemporaryDirectory(prefix="pgretrieval-") as folder:
        yield [_held(path, Path(folder, f"{number}{path.suffix}")) for number, path in enumerate(paths)]


def _held(path: Path, copy: Path) -> Held:
    try:
        if path == STANDARD_INPUT:
            name = "standard input"
            with copy.open("wb") as written:
                shutil.copyfileobj(sys.stdin.buffer, written)
        elif not path.exists() or path.is_file() or path.is_dir():
            return Held(path, str(path))
        else:
            name = str(path)
            with path.open("rb") as given, copy.open("wb") as written:
                shutil.copyfileobj(given, written)
    except (OSError, ValueError) as error:
        raise unreadable(str(path), error) from error
    return Held(copy, name)


def read_lines(path: str | os.PathLike[str], name: str | None = None) -> Iterator[tuple[str, str]]:
    """Yield ("FILE:LINE", text) for every line that is not blank, without its end; a name ending in .gz is decompressed.

    Only a line feed ends a line; a byte order mark before the first line and a carriage return at the end are dropped. `name` is
    the name of the file in errors. Raises InputError, also for a line of more than 32 MiB.
    """
    for where, line in whole_lines(path, name):
        if line.strip():
            yield where, line.rstrip("\r\n")


def whole_lines(path: str | os.PathLike[str], name: str | None = None) -> Iterator[tuple[str, str]]:
    """Yield ("FILE:LINE", text) for every line, blank ones too, with its end; otherwise like `read_lines`."""
    path = Path(validate.path("path", path))
    name = str(path) if name is None else name
    number = 0
    try:
        with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw as file:
            for number, line in enumerate(_lines(file, name), start=1):
                where = f"{name}:{number}"
                yield where, _decode(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line, where)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        reason = f"{name}:{number + 1}: the gzip data is damaged or cut short ({error}); fetch the file again"
        raise InputError(reason) from error
    except OSError as error:
        raise unreadable(name, error) from error


def unreadable(name: str, error: Exception) -> InputError:
    """Return the error for a file that the system does not let us read."""
    return InputError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error}); check the path")


def _lines(file: BinaryIO | gzip.GzipFile, name: str) -> Iterator[bytes]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            msg = f"{name}:{number}: the line has more than {MAX_LINE_BYTES:,} bytes; split the passage, or check that lines end"
            raise InputError(msg)
        yield line


def _decode(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"{where}: the byte 0x{line[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise InputError(reason) from error
