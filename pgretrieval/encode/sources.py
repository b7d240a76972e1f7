"""Sources of models: folders and names on the Hugging Face hub, optionally at a commit; which of them a database may name."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from pgretrieval.errors import EncoderError

FOLDERS_VARIABLE = "PGRETRIEVAL_MODEL_FOLDERS"
"""Folders, separated as in PATH, from which models named only by a database may be loaded."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_FILES = ("*.json", "*.txt", "*.model", "*.metadata", "*.jinja", "*.safetensors", "*/pytorch_model.bin")
"""Files of a model to download; no code."""
_WEIGHTS_WITHOUT_SAFETENSORS = "*.bin"

_named: set[Path] = set()
"""Folders named by the program itself."""


def spec_of(source: str | os.PathLike[str]) -> dict[str, str]:
    """Return the specification to store for a model named by the program: a folder, a hub name, or "name@commit".

    From then on a database may also name the folder. Raises EncoderError if a revision is not a commit.
    """
    text = os.fspath(source)
    found = existing(text)
    if found is not None:
        folder = found.resolve()  # a relative path would change with the working directory
        _named.add(folder)
        return {"kind": "model", "name": str(folder)}
    name, revision = _split_revision(text)
    return {"kind": "model", "name": name} | ({} if revision is None else {"revision": revision})


def existing(name: str) -> Path | None:
    """Return the path of an existing file or folder, else None, also for names that are too long or of unknown users."""
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError):
        return None


def state_of(spec: Mapping[str, Any]) -> Hashable:
    """Return what changes when the files of a model's folder change; None for a name on the hub."""
    folder = existing(str(spec["name"]))
    if folder is None or not folder.is_dir():
        return None
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return tuple((str(file), found.st_size, found.st_mtime_ns) for file in files if (found := file.stat()))


def source_of(spec: Mapping[str, Any]) -> str:
    """Return the model of a spec, in the form for `local_folder`."""
    return str(spec["name"]) + (f"@{spec['revision']}" if spec.get("revision") else "")


def check_named_by_database(spec: Mapping[str, Any], role: str, remedy: str) -> None:
    """Raise EncoderError if a database names a folder that the program has neither named nor allowed.

    The path is chosen by whoever can write to the database. `role` is its use, `remedy` another way to pass it.
    """
    name = str(spec["name"])
    found = existing(name)
    if found is None and not _looks_like_path(name):
        return
    folder = (found or Path(name)).resolve()
    allowed = [Path(part).expanduser().resolve() for part in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if part]
    if folder in _named or any(folder.is_relative_to(parent) for parent in allowed):
        return
    msg = (
        f"the database names the folder {str(folder)!r} as {role}, but folders named only by a database are not loaded: set "
        f"{FOLDERS_VARIABLE} to a folder that contains it, if you trust it, or {remedy}"
    )
    raise EncoderError(msg)


def local_folder(source: str | os.PathLike[str]) -> Path:
    """Return the folder of a model; one of the hub is downloaded to the hub's cache, at its commit, without code."""
    text = os.fspath(source)
    found = existing(text)
    if found is not None and found.is_dir():
        return found
    from huggingface_hub import snapshot_download

    name, revision = _split_revision(text)
    where: dict[str, Any] = {"revision": revision, "cache_dir": os.getenv("SENTENCE_TRANSFORMERS_HOME")}
    fetched = Path(snapshot_download(name, allow_patterns=list(_FILES), **where))
    if not any(fetched.glob("*.safetensors")):
        fetched = Path(snapshot_download(name, allow_patterns=[*_FILES, _WEIGHTS_WITHOUT_SAFETENSORS], **where))
    return fetched


def _split_revision(text: str) -> tuple[str, str | None]:
    """Split a hub name from the commit after @."""
    name, at, revision = text.partition("@")
    if at and not _COMMIT.fullmatch(revision):
        msg = f"the revision of {text!r} is not a commit; give all 40 hexadecimal digits of a commit after the @, or leave it out"
        raise EncoderError(msg)
    return name, revision or None


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "~")) or os.path.isabs(name) or name.count("/") > 1 or "\\" in name
