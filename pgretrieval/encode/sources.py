"""Where a model is: a folder, or a name on the Hugging Face hub, perhaps at one commit. What a database may name of them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pgretrieval.errors import EncoderError

FOLDERS_VARIABLE = "PGRETRIEVAL_MODEL_FOLDERS"
"""Folders, separated as in PATH, from which models are loaded that only a database names."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_FILES = ("*.json", "*.txt", "*.model", "*.metadata", "*.jinja", "*.safetensors", "*/pytorch_model.bin")
"""What is fetched of a model: never a file of code."""
_WEIGHTS_WITHOUT_SAFETENSORS = "*.bin"

_named: set[Path] = set()
"""Folders that the program has named itself."""


def spec_of(source: str | os.PathLike[str]) -> dict[str, str]:
    """What a database keeps of a model that the program names: a folder, a hub name, or "name@commit".

    A folder may then be named by a database, too. Raises EncoderError where a revision is no commit.
    """
    text = os.fspath(source)
    found = existing(text)
    if found is not None:
        folder = found.resolve()  # a stored relative path would be another one from another working directory
        _named.add(folder)
        return {"kind": "model", "name": str(folder)}
    name, revision = _divided(text)
    return {"kind": "model", "name": name} | ({} if revision is None else {"revision": revision})


def existing(name: str) -> Path | None:
    """The file or folder of a name; None where there is none, as where it is too long, or the home of an unknown user."""
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError):
        return None


def source_of(spec: Mapping[str, Any]) -> str:
    """The model that a spec names, as `local_folder` takes it."""
    return str(spec["name"]) + (f"@{spec['revision']}" if spec.get("revision") else "")


def check_named_by_database(spec: Mapping[str, Any], role: str, remedy: str) -> None:
    """Raise EncoderError where a database names a folder that the program has neither named itself nor allowed.

    Whoever may write into the database chooses the path. `role` is what it is named as, `remedy` the other way to give it.
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
        f"the database names the folder {str(folder)!r} as {role}, and folders that only a database names are not loaded: set "
        f"{FOLDERS_VARIABLE} to a folder that holds it, if you trust it, or {remedy}"
    )
    raise EncoderError(msg)


def local_folder(source: str | os.PathLike[str]) -> Path:
    """The folder of a model; one of the hub is fetched into the hub's cache, as it is at its commit, without any code."""
    text = os.fspath(source)
    found = existing(text)
    if found is not None and found.is_dir():
        return found
    from huggingface_hub import snapshot_download

    name, revision = _divided(text)
    where: dict[str, Any] = {"revision": revision, "cache_dir": os.getenv("SENTENCE_TRANSFORMERS_HOME")}
    fetched = Path(snapshot_download(name, allow_patterns=list(_FILES), **where))
    if not any(fetched.glob("*.safetensors")):
        fetched = Path(snapshot_download(name, allow_patterns=[*_FILES, _WEIGHTS_WITHOUT_SAFETENSORS], **where))
    return fetched


def _divided(text: str) -> tuple[str, str | None]:
    """A hub name, and the commit after its @."""
    name, at, revision = text.partition("@")
    if at and not _COMMIT.fullmatch(revision):
        msg = f"the revision of {text!r} is no commit; give all 40 hexadecimal digits of one after the @, or leave it out"
        raise EncoderError(msg)
    return name, revision or None


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "~")) or os.path.isabs(name) or name.count("/") > 1 or "\\" in name
