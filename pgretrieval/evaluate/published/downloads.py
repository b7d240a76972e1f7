"""Downloads of published files: over https with a checksum, unpacked into a folder, once."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import platformdirs

from pgretrieval.errors import InputError

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Given a name and its bytes, if known, returns a context manager of the function that counts bytes."""

_CHUNK = 2**20
_TIMEOUT = 60


@dataclass(frozen=True, slots=True)
class Download:
    """File to download, with its MD5 checksum if one is published; archives are unpacked."""

    url: str
    md5: str | None = None

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.url.rpartition("/")[2]

    @property
    def is_archive(self) -> bool:
        """True for .zip and .tar.gz."""
        return self.name.endswith((".zip", ".tar.gz"))


def cache_folder(benchmark: str) -> Path:
    """Return the folder of a benchmark's downloads, in the user's cache directory."""
    return Path(platformdirs.user_cache_dir("pgretrieval", appauthor=False)) / "benchmarks" / benchmark


def fetch(downloads: Sequence[Download], folder: Path, progress: Progress) -> Path:
    """Download what the folder does not have yet, and return the folder. Raises InputError with the remedy."""
    folder.mkdir(parents=True, exist_ok=True)
    for download in downloads:
        done = folder / (f"{download.name}.done" if download.is_archive else download.name)
        if not done.exists():
            _fetch_one(download, folder, done, progress)
    return folder


def _fetch_one(download: Download, folder: Path, done: Path, progress: Progress) -> None:
    part = folder / f"{download.name}.part"
    try:
        digest = _copy(download, part, progress)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        msg = (
            f"{download.url} cannot be downloaded ({reason}). Without a network, fetch this file elsewhere, unpack it if it is an "
            "archive, and give the folder with --folder"
        )
        raise InputError(msg) from error
    if download.md5 is not None and digest != download.md5:
        part.unlink()
        msg = f"{download.url} has the MD5 checksum {digest}, but {download.md5} is published; download it again"
        raise InputError(msg)
    if download.is_archive:
        _unpack(part, download, folder)
        part.unlink()
        done.touch()
    else:
        part.replace(done)


def _copy(download: Download, part: Path, progress: Progress) -> str:
    """Write the file and return its checksum."""
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(download.url, timeout=_TIMEOUT) as answer, part.open("wb") as written:
        size = answer.headers.get("Content-Length")
        received = 0
        with progress(download.name, int(size) if size else None) as advance:
            while chunk := answer.read(_CHUNK):
                digest.update(chunk)
                written.write(chunk)
                received += len(chunk)
                advance(len(chunk))
        if size and received < int(size):
            msg = f"the connection ended after {received:,} of {int(size):,} bytes"
            raise OSError(msg)
    return digest.hexdigest()


def _unpack(archive: Path, download: Download, folder: Path) -> None:
    try:
        if download.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(folder)
        else:
            with tarfile.open(archive) as packed_tar:
                options: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                packed_tar.extractall(folder, **options)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, shutil.ReadError) as error:
        msg = f"{download.url} is no archive that can be unpacked ({error}); download it again"
        raise InputError(msg) from error
