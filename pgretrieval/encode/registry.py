"""Creation of encoders from a caller's argument or a stored specification."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from pgretrieval.encode import library, minilm, multilingual, sources
from pgretrieval.encode.base import POOLED, CollectionEncoder
from pgretrieval.encode.projected import DIM
from pgretrieval.encode.shared import SharedModel, shared_model
from pgretrieval.errors import EncoderError

MINILM, MULTILINGUAL = minilm.NAME, multilingual.NAME
_BUNDLED = (MINILM, MULTILINGUAL)
_METHODS = ("encode_query", "encode_document")
_KEPT = {"lengths": "kept"}
"""Entry in the spec of an encoder whose token vectors are not scaled."""
_VERSION, _UNVERSIONED = "version", "1"
"""Key of the version in a spec of "minilm", and the version of specs without it."""


def load_encoder(
    source: str | os.PathLike[str] | object, device: str | None = None, *, unit: bool = True, token_pooling: int | None = None
) -> CollectionEncoder:
    """Load an encoder: "minilm", "multilingual", a model name or folder, a `MultiVectorEncoder`, or an object with its methods.

    "minilm" is the newest version, "minilm@1" the first; "multilingual" needs the extra of this name. A hub name can include a
    commit: name@commit. Models load at first use, on the torch device `device`; None means "cuda" if torch finds one, else "cpu".
    Objects stay on their own device. `unit` scales token vectors to unit length; False keeps the model's lengths (ColXTR).
    `token_pooling` divides the number of a document's vectors; None leaves it as it is.
    """
    if token_pooling is not None:
        return load_encoder(source, device, unit=unit).pooling_by(token_pooling)
    if isinstance(source, CollectionEncoder):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _from_name(os.fspath(source), device, unit)
    missing = [method for method in _METHODS if not callable(getattr(source, method, None))]
    if missing:
        raise EncoderError(
            f"an encoder of type {type(source).__qualname__} has no method {' and no '.join(missing)}; pass "
            f'"{MINILM}", "{MULTILINGUAL}", a model name, a folder, a MultiVectorEncoder, or an object with both methods'
        )
    return _from_object(source, unit)


def from_spec(spec: Mapping[str, Any], device: str | None = None) -> CollectionEncoder:
    """Return the encoder of a stored `spec`.

    Raises EncoderError for an object, which is not stored, and for a folder that this program has not allowed
    (`sources.check_named_by_database`).
    """
    if POOLED in spec:
        factor = spec[POOLED]
        if not (isinstance(factor, str) and re.fullmatch("[1-9][0-9]{0,3}", factor)):
            raise EncoderError(f"the stored encoder {dict(spec)} has no number of {POOLED}; pass encoder=… to get_collection")
        return from_spec(without_pooling(spec), device).pooling_by(int(factor))
    kind, name, unit = spec.get("kind"), spec.get("name"), spec.get("lengths") != _KEPT["lengths"]
    if kind == MINILM:
        version = spec.get(_VERSION, _UNVERSIONED)
        if version in minilm.VERSIONS:
            return _minilm(version, device, unit)
        raise EncoderError(f"this collection needs version {version} of minilm, which this package lacks; upgrade the package")
    if kind == MULTILINGUAL:
        return _multilingual(device, unit)
    if kind == "model" and isinstance(name, str) and name:
        sources.check_named_by_database(spec, "the encoder", "pass encoder=… to get_collection")
        return _from_model(spec, device, unit)
    if kind == "object":
        raise EncoderError(
            f"this collection was created with an encoder object of type {spec.get('type')}, which is not stored; "
            "pass encoder=… to get_collection"
        )
    raise EncoderError(
        f"the stored encoder {dict(spec)} has an unknown kind (known: minilm, multilingual, model, object); "
        "pass encoder=… to get_collection"
    )


def names(source: str, spec: Mapping[str, Any], *, unit: bool = True) -> bool:
    """Return whether a stored `spec` is that of the encoder `source`, apart from pooling; "minilm" matches any version."""
    given_spec, spec = load_encoder(source, unit=unit).spec, without_pooling(spec)
    return given_spec == spec or (source == MINILM and {**given_spec, _VERSION: None} == {**spec, _VERSION: None})


def name_of(spec: Mapping[str, Any]) -> str | None:
    """Return the name by which another process of this program can load the encoder of a `spec`; None for an object."""
    kind = spec.get("kind")
    if kind == MINILM:
        return f"{MINILM}@{spec.get(_VERSION, _UNVERSIONED)}"
    if kind == MULTILINGUAL:
        return MULTILINGUAL
    return sources.source_of(spec) if kind == "model" else None


def without_pooling(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of the same encoder without token pooling."""
    return {key: value for key, value in spec.items() if key != POOLED}


def _from_name(name: str, device: str | None, unit: bool) -> CollectionEncoder:
    if not name.strip():
        raise EncoderError(f'the encoder name is empty ({name!r}); pass "{MINILM}", "{MULTILINGUAL}", a model name or a folder')
    version = minilm.version_named(name)
    if version is not None:
        return _minilm(version, device, unit)
    if name == MULTILINGUAL:
        return _multilingual(device, unit)
    return _from_model(sources.spec_of(name), device, unit)


def _minilm(version: str, device: str | None, unit: bool) -> CollectionEncoder:
    spec = {"kind": MINILM} | ({} if version == _UNVERSIONED else {_VERSION: version})
    model = shared_model((MINILM, version, device), partial(minilm.load_minilm, device, version))
    return _encoder(model, spec, unit, DIM)


def _multilingual(device: str | None, unit: bool) -> CollectionEncoder:
    model = shared_model((MULTILINGUAL, device), partial(multilingual.load_multilingual, device))
    return _encoder(model, {"kind": MULTILINGUAL}, unit, DIM)


def _from_model(spec: Mapping[str, Any], device: str | None, unit: bool) -> CollectionEncoder:
    kept = {key: spec[key] for key in ("kind", "name", "revision") if key in spec}
    source = sources.source_of(spec)
    model = shared_model((source, sources.state_of(spec), device), partial(library.load_named, source, device))
    return _encoder(model, kept, unit)


def _from_object(source: object, unit: bool) -> CollectionEncoder:
    kind = type(source)
    spec = {"kind": "object", "type": f"{kind.__module__}.{kind.__qualname__}"}
    inner = library.LibraryEncoder(source) if library.is_library_model(source) else source
    return _encoder(SharedModel(lambda: inner), spec, unit)


def _encoder(model: SharedModel, spec: dict[str, str], unit: bool, dim: int | None = None) -> CollectionEncoder:
    return CollectionEncoder(model, spec if unit else {**spec, **_KEPT}, dim=dim, unit=unit, plain=spec["kind"] in _BUNDLED)
