"""Cross-encoder wrapper: lazily loaded, checked, with counted calls."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pgretrieval.encode import sources
from pgretrieval.encode.library import quiet, resolve_device
from pgretrieval.encode.vetting import read_json, vetted_folder
from pgretrieval.errors import EncoderError, PgRetrievalError
from pgretrieval.importing import whole
from pgretrieval.rerank import fingerprint
from pgretrieval.types import Float32Array

Pair = tuple[str, str]
"""Query text and encoded text of a passage."""

PAIRS_PER_CALL = 2_048
"""Pairs of one call; the model sorts them by length, which saves padding."""
_BATCH_CPU = 32
_BATCH_ACCELERATOR = 256


class PairScorer:
    """Scorer of pairs of query and passage. `calls` counts the pairs; `spec` identifies the model. Threads may share it."""

    def __init__(self, load: Callable[[], Any], spec: dict[str, str]) -> None:
        self.spec = spec
        self.calls = 0
        self._load = load
        self._model: Any = None
        self._running = threading.RLock()
        self._fingerprint: str | None = None
        self._marked: tuple[Any, ...] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.spec})"

    def predict(self, pairs: Sequence[Pair], progress: Callable[[int], None] | None = None) -> Float32Array:
        """Return scores (pairs,) float32, without activation for models of the library. Raises EncoderError.

        `progress` is called with the number of pairs just scored.
        """
        parts = [np.empty(0, dtype=np.float32)]
        for start in range(0, len(pairs), PAIRS_PER_CALL):
            some = list(pairs[start : start + PAIRS_PER_CALL])
            parts.append(self._scores(some))
            self.calls += len(some)
            if progress is not None:
                progress(len(some))
        return np.concatenate(parts)

    @property
    def fingerprint(self) -> str:
        """Fingerprint that distinguishes models, also before and after training. Raises EncoderError.

        Models of the library and objects with an attribute `fingerprint` are read each time; other objects score four pairs once,
        which count as calls.
        """
        model = self._loaded()
        if isinstance(model, _LibraryModel):
            marked = fingerprint.mark_of_library_model(model.model)
            if self._fingerprint is None or marked != self._marked:
                self._fingerprint, self._marked = fingerprint.of_library_model(model.model), marked
        elif mark := getattr(model, "fingerprint", None):
            self._fingerprint = fingerprint.of_object(mark)
        elif self._fingerprint is None:
            self._fingerprint = fingerprint.of_scores(self.predict(fingerprint.PROBES))
        return self._fingerprint

    def _loaded(self) -> Any:
        with self._running:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _scores(self, pairs: list[Pair]) -> Float32Array:
        try:
            with self._running:
                returned = self._loaded().predict(pairs)
        except PgRetrievalError:
            raise
        except Exception as error:  # a model or a user's object may raise anything
            msg = f"cross-encoder {self.spec} failed on {len(pairs)} pairs, the first {pairs[0]!r:.80}: {error}"
            raise EncoderError(msg) from error
        if hasattr(returned, "detach"):
            returned = returned.detach().cpu().float().numpy()
        scores = np.asarray(returned, dtype=np.float32)
        if scores.shape == (len(pairs), 1):
            scores = scores[:, 0]
        if scores.shape != (len(pairs),):
            msg = f"cross-encoder {self.spec} returned shape {scores.shape} for {len(pairs)} pairs; return one score each"
            raise EncoderError(msg)
        if not np.isfinite(scores).all():
            query, passage = pairs[int(np.flatnonzero(~np.isfinite(scores))[0])]
            msg = f"cross-encoder {self.spec} returned no finite score for query {query[:60]!r} and passage {passage[:60]!r}"
            raise EncoderError(msg)
        return scores


class _LibraryModel:
    """`CrossEncoder` that returns logits, because an activation flattens differences that a student should learn."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, pairs: list[Pair]) -> Any:
        """Return one logit for each pair."""
        from torch import nn

        batch = _BATCH_CPU if self.model.device.type == "cpu" else _BATCH_ACCELERATOR
        return self.model.predict(pairs, batch_size=batch, activation_fn=nn.Identity(), show_progress_bar=False)


def load_cross_encoder(source: str | os.PathLike[str] | object, device: str | None = None) -> PairScorer:
    """Load a cross-encoder: a model name or folder, a `CrossEncoder`, or an object with predict(list of (query, passage)).

    A name can include a commit: name@commit. Models load at first use, on the torch device `device`; None means "cuda" if torch
    finds one, else "cpu".
    """
    if isinstance(source, PairScorer):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _from_model(sources.spec_of(source), device)
    if not callable(getattr(source, "predict", None)):
        msg = (
            f"a cross-encoder of type {type(source).__qualname__} has no method predict; pass a model name, a folder, a "
            "CrossEncoder, or an object with predict(list of (query, passage))"
        )
        raise EncoderError(msg)
    kind = type(source)
    library = sys.modules.get("sentence_transformers")
    inner = _LibraryModel(source) if isinstance(source, getattr(library, "CrossEncoder", ())) else source
    return PairScorer(lambda: inner, {"kind": "object", "type": f"{kind.__module__}.{kind.__qualname__}"})


def from_spec(spec: dict[str, str], device: str | None = None) -> PairScorer:
    """Return the scorer of a stored `spec`.

    Raises EncoderError for an object, which is not stored, and for a folder that this program has not allowed.
    """
    if spec.get("kind") == "model" and spec.get("name"):
        sources.check_named_by_database(spec, "the cross-encoder", "pass it to use_cross_encoder")
        return _from_model(spec, device)
    msg = f"the cross-encoder was an object of type {spec.get('type')}, which is not stored; pass it to use_cross_encoder"
    raise EncoderError(msg)


def _from_model(spec: dict[str, str], device: str | None) -> PairScorer:
    kept = {key: value for key, value in spec.items() if key in ("kind", "name", "revision")}
    return PairScorer(partial(_load_named, sources.source_of(spec), device), kept)


def _load_named(name: str, device: str | None) -> _LibraryModel:
    resolved = resolve_device(device)
    try:
        whole("torch", "sentence_transformers")
        from pgretrieval.rerank.markers import load_model

        with quiet():
            folder = vetted_folder(name)
            model = load_model(folder, resolved)
            trained = _is_trained(Path(folder))
    except EncoderError:
        raise
    except Exception as error:  # the library and the hub raise many types
        msg = f"cannot load cross-encoder {name!r} on {resolved}. Check the name and the network. {type(error).__name__}: {error}"
        raise EncoderError(msg) from error
    if not trained:
        msg = f"{name!r} is not a cross-encoder: it has no trained head. Train one with `pgretrieval train cross-encoder`"
        raise EncoderError(msg)
    return _LibraryModel(model)


def _is_trained(folder: Path) -> bool:
    """Return whether the model has a trained head; the library adds a random one to other models."""
    if (folder / "modules.json").exists():
        return True
    kinds = (read_json(folder / "config.json") or {}).get("architectures") or []
    return any(kind.endswith(("ForSequenceClassification", "ForCausalLM")) for kind in kinds)
