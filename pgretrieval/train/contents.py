"""Digests of the contents of a training, independent of file locations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pgretrieval.encode import minilm
from pgretrieval.train.tuples import TrainingSet

_DIGITS = 32
_SUFFIXES = (".safetensors", ".bin", ".json", ".txt", ".model")


def of_set(made: TrainingSet) -> dict[str, str]:
    """Return digests of the tuples, the passages' texts, and the teacher's scores."""
    return {
        "tuples": digest((one.query_id, one.query, one.passages, one.relevant) for one in made.tuples),
        "passages": digest(sorted(made.passages.items())),
        "scores": digest(one.scores for one in made.tuples),
    }


def of_model(model: Any) -> str:
    """Return the digest of a model's weights, modules and vocabulary."""
    import torch

    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    tokenizer = getattr(model, "tokenizer", None)
    words = sorted(tokenizer.get_vocab().items()) if tokenizer is not None else None
    kinds = [type(module).__qualname__ for module in model]
    found.update(digest([kinds, words, sorted((model.prompts or {}).items())]).encode())
    return found.hexdigest()[:_DIGITS]


def of_named(base: str) -> str:
    """Return the digest of a named model: of the files in a folder, the version of "minilm", or else the name."""
    version = minilm.version_named(base)
    if version is not None:
        return f"{minilm.NAME}@{version}"
    folder = Path(base).expanduser()
    if not folder.is_dir():
        return base
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.suffix in _SUFFIXES)
    return digest((name, _of_file(folder / name)) for name in files)


def digest(parts: Iterable[Any]) -> str:
    """Return the digest of a sequence of JSON values."""
    found = hashlib.sha256()
    for part in parts:
        found.update(json.dumps(part, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    return found.hexdigest()[:_DIGITS]


def _of_file(file: Path) -> str:
    found = hashlib.sha256()
    with file.open("rb") as opened:
        while part := opened.read(2**20):
            found.update(part)
    return found.hexdigest()
