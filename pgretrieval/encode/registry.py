"""From what a caller names, or a database has stored, to an encoder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pgretrieval.encode import library, minilm
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.errors import EncoderError

MINILM = "minilm"
_METHODS = ("encode_query", "encode_document")


def load_encoder(source: str | os.PathLike[str] | object, device: str | None = None) -> CollectionEncoder:
    """An encoder from "minilm", a model name or folder, a `MultiVectorEncoder`, or an object with both encode methods.

    Models load at first use. `device` is a torch device for the models loaded here; None takes "cuda" where torch sees
    one, else "cpu". Objects stay on the device they are on.
    """
    if isinstance(source, CollectionEncoder):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _from_name(os.fspath(source), device)
    missing = [method for method in _METHODS if not callable(getattr(source, method, None))]
    if missing:
        raise EncoderError(
            f"an encoder of type {type(source).__qualname__} has no method {' and no '.join(missing)}; pass "
            f'"{MINILM}", a model name, a folder, a MultiVectorEncoder, or an object with both methods'
        )
    return _from_object(source)


def from_spec(spec: Mapping[str, Any], device: str | None = None) -> CollectionEncoder:
    """The encoder that a stored `spec` describes; objects cannot be found again and raise."""
    kind, name = spec.get("kind"), spec.get("name")
    if kind == MINILM:
        return _from_name(MINILM, device)
    if kind == "model" and isinstance(name, str) and name:
        return _from_model(name, device)
    if kind == "object":
        raise EncoderError(
            f"this collection was made with an encoder object of type {spec.get('type')}, which is not stored; "
            "pass encoder=… to get_collection"
        )
    raise EncoderError(
        f"the stored encoder {dict(spec)} is of no known kind (minilm, model, object); pass encoder=… to get_collection"
    )


def _from_name(name: str, device: str | None) -> CollectionEncoder:
    if not name.strip():
        raise EncoderError(f'the encoder name is empty ({name!r}); pass "{MINILM}", a model name or a folder')
    if name == MINILM:
        return CollectionEncoder(partial(minilm.load_minilm, device), {"kind": MINILM}, dim=minilm.DIM)
    folder = Path(name).expanduser()
    # A stored relative path would be another one from another working directory.
    return _from_model(str(folder.resolve()) if folder.exists() else name, device)


def _from_model(name: str, device: str | None) -> CollectionEncoder:
    return CollectionEncoder(partial(library.load_named, name, device), {"kind": "model", "name": name})


def _from_object(source: object) -> CollectionEncoder:
    kind = type(source)
    spec = {"kind": "object", "type": f"{kind.__module__}.{kind.__qualname__}"}
    inner = library.LibraryEncoder(source) if library.is_library_model(source) else source
    return CollectionEncoder(lambda: inner, spec)
