"""Vetting of a model's files: refuse those that would run code, load other models or unpickle, and block terminal input."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pgretrieval.encode.sources import local_folder
from pgretrieval.errors import EncoderError

CLOSED: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
"""Options for loading every part of a model: from local files, without their code."""
CLOSED_WEIGHTS: dict[str, Any] = {**CLOSED, "weights_only": True}
"""Options for loading weights: a pickled file may contain only tensors."""

_LIBRARY, _PACKAGE = "sentence_transformers.", "pgretrieval."
_ACTIVATION = re.compile(r"torch\.nn\.(modules\.\w+\.)?[A-Z]\w*")
_ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
"""Allowed attention implementations; other names are kernels that would be downloaded and run."""
_MODULE_OPTIONS = ("model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args", "config_kwargs")
_TEXT_OPTIONS = ("dtype", "torch_dtype", "padding_side", "truncation_side")
_REFUSED_OPTIONS = ("weights_only", "use_kernels", "allow_all_kernels", "force_download")
_IGNORED_OPTIONS = ("trust_remote_code",)
"""Options that the library removes before it reads the others."""


def vetted_folder(source: str | Any) -> str:
    """Return the local folder of a vetted model. Raises EncoderError."""
    folder = local_folder(source)
    vet(folder)
    return str(folder)


def vet(folder: Path) -> None:
    """Raise EncoderError if files of a model request code, other models or unpickling."""
    for place in _module_folders(folder):
        if (place / "adapter_config.json").exists():
            _refuse(place / "adapter_config.json", "is an adapter of another model; merge it into that model and save the result")
        for name, check in _CHECKS.items():
            for file in place.glob(name):
                check(file, read_json(file))


def read_json(file: Path) -> Any:
    """Return the content of a JSON file, or None if it does not exist."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


@contextmanager
def without_stdin() -> Iterator[None]:
    """Make standard input empty for this thread during the block, so that no library can ask a question."""
    with _lock:
        held = sys.stdin
        sys.stdin = _EmptyForThread(held)
        try:
            yield
        finally:
            sys.stdin = held


_lock = threading.RLock()


class _EmptyForThread:
    """Standard input that has ended for one thread; other threads read it normally."""

    def __init__(self, held: Any) -> None:
        self._held = held
        self._thread = threading.get_ident()

    def __iter__(self) -> Iterator[str]:
        return iter(() if threading.get_ident() == self._thread else self._held)

    def __getattr__(self, name: str) -> Any:
        if threading.get_ident() != self._thread:
            return getattr(self._held, name)
        if name in ("read", "readline"):
            return lambda *_: ""
        raise OSError("standard input is not read while a model is loaded")


def _module_folders(folder: Path) -> list[Path]:
    """Return the folder and those of its modules."""
    listed = read_json(folder / "modules.json")
    places = {folder.resolve(): folder}
    waiting = [folder / str(module.get("path", "")) for module in listed or [] if isinstance(module, Mapping)]
    while waiting:
        place = waiting.pop()
        if place.resolve() in places or not place.is_dir():
            continue
        places[place.resolve()] = place
        for name in ("router_config.json", "config.json"):
            described = read_json(place / name)
            if isinstance(described, Mapping) and isinstance(described.get("types"), Mapping):
                waiting += [place / str(inner) for inner in described["types"]]
    return list(places.values())


def _check_modules(file: Path, content: Any) -> None:
    for module in content if isinstance(content, list) else []:
        _check_class(file, str(module.get("type", "")))


def _check_router(file: Path, content: Any) -> None:
    types = content.get("types") if isinstance(content, Mapping) else None
    for kind in types.values() if isinstance(types, Mapping) else []:
        _check_class(file, str(kind))


def _check_config(file: Path, content: Any) -> None:
    if not isinstance(content, Mapping):
        return
    _check_router(file, content)
    if "tokenizer_class" in content and str(content["tokenizer_class"]).startswith(_LIBRARY):
        _check_class(file, str(content["tokenizer_class"]))
    for key in ("attn_implementation", "_attn_implementation"):
        _check_attention(file, key, content.get(key))
    inner = content.get("sentence_transformers")
    activation = content.get("sbert_ce_default_activation_function") or content.get("activation_fn")
    activation = activation or (inner.get("activation_fn") if isinstance(inner, Mapping) else None)
    if activation is not None and not _ACTIVATION.fullmatch(str(activation)):
        _refuse(file, f"has the activation function {activation!r}, which is not one of torch.nn")
    if content.get("auto_map") and "model_type" in content:
        from transformers import CONFIG_MAPPING

        if content["model_type"] not in CONFIG_MAPPING:
            _refuse(file, f"is of the type {content['model_type']!r}, which needs code that comes with the model")


def _check_options(file: Path, content: Any) -> None:
    """Check options that the library passes to `from_pretrained`, which accepts dangerous ones."""
    if not isinstance(content, Mapping):
        return
    elsewhere = content.get("tokenizer_name_or_path")
    if elsewhere:
        _refuse(file, f"takes its tokenizer from {elsewhere!r}; save the tokenizer with the model")
    for group in _MODULE_OPTIONS:
        given = content.get(group) or {}
        for key, value in given.items() if isinstance(given, Mapping) else [(group, given)]:
            if key == "attn_implementation":
                _check_attention(file, key, value)
            elif key not in _IGNORED_OPTIONS and (
                key in _REFUSED_OPTIONS
                or not (isinstance(value, (bool, int, float, type(None))) or (key in _TEXT_OPTIONS and isinstance(value, str)))
            ):
                _refuse(file, f"sets {key} to {value!r}, which is not allowed in a model's files; remove it")


def _check_attention(file: Path, key: str, value: Any) -> None:
    if value is not None and value not in _ATTENTION:
        _refuse(file, f"has the {key} {value!r}, which is not one of {', '.join(_ATTENTION)}")


def _check_class(file: Path, name: str) -> None:
    from sentence_transformers.multi_vector_encoder.model import _CLASS_REF_ALIASES
    from sentence_transformers.util import import_from_string
    from torch import nn

    known = _CLASS_REF_ALIASES.get(name, name)
    if known.startswith(_PACKAGE):
        return  # `load_model` passes the allowed classes of this package, and the library imports no others
    if known.startswith(_LIBRARY):
        kind = import_from_string(known)
        if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__.startswith(_LIBRARY):
            return
    _refuse(file, f"has a module of the class {name!r}, which is not one of sentence-transformers")


def _refuse(file: Path, reason: str) -> None:
    msg = f"{str(file)!r} {reason}. Code from a model is never run"
    raise EncoderError(msg)


_CHECKS = {
    "modules.json": _check_modules,
    "router_config.json": _check_router,
    "config.json": _check_config,
    "config_sentence_transformers.json": _check_config,
    "wordembedding_config.json": _check_config,
    "sentence_*_config.json": _check_options,
}
