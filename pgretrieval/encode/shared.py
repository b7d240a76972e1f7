"""Models in memory: one for all encoders of a specification; one call at a time, for all threads that wait."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from pgretrieval.errors import EncoderError, PgRetrievalError

TEXTS_PER_CALL = 256
"""Texts of one call of the model, which keeps other threads waiting meanwhile."""

WITH_DENSE = "_with_dense"
"""End of the names of methods that also return dense vectors."""


_Result = TypeVar("_Result")


class ModelCalls:
    """Calls of all models of this process, for metrics. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_texts: Counter[int] = Counter()

    def add(self, texts: int) -> None:
        """Count a call with so many texts."""
        with self._lock:
            self._by_texts[texts] += 1

    def by_texts(self) -> dict[int, int]:
        """Return the number of calls by their number of texts."""
        with self._lock:
            return dict(self._by_texts)


calls = ModelCalls()


class SharedModel:
    """A model, loaded at first use. Threads may share it.

    One call runs at a time. Threads that wait meanwhile join their texts, and the first of them calls the model for all. An error
    concerns only the thread whose texts cause it: if a joined call fails, each thread calls for its own.
    """

    def __init__(self, load: Callable[[], Any], *, shared: bool = False) -> None:
        self._load = load
        self._shared = shared
        self._inner: Any = None
        self._running = threading.RLock()
        self._joining = threading.Lock()
        self._gathering: dict[str, _Batch] = {}

    def loaded(self) -> Any:
        """Return the model; load it at the first call."""
        if self._inner is None:
            with self._running:
                if self._inner is None:
                    self._inner = self._load()
        return self._inner

    def call(self, method: str, texts: list[str], spec: Any) -> Any:
        """Return what a method of the model returns for the texts. Raises EncoderError, which names `spec`."""
        asked = _Asked(texts)
        batch = self._join(method, asked)
        with batch.lock:  # the first thread of a batch leads it; the others find their results
            if not asked.done:
                with self._running:
                    if not batch.split:
                        self._close(method, batch)
                        self._run_joined(method, batch)
                    if not asked.done:
                        asked.returned = self._call(method, texts, spec)
        return asked.returned

    def alone(self, work: Callable[[], _Result]) -> _Result:
        """Return `work`, done while no other thread uses the model."""
        with self._running:
            return work()

    def unshared(self) -> SharedModel:
        """Return a model that no other encoder uses, to be changed."""
        return SharedModel(self._load) if self._shared else self

    def _join(self, method: str, asked: _Asked) -> _Batch:
        with self._joining:
            batch = self._gathering.get(method)
            if batch is None or batch.texts + len(asked.texts) > TEXTS_PER_CALL:
                batch = self._gathering[method] = _Batch()
            batch.asked.append(asked)
            batch.texts += len(asked.texts)
            return batch

    def _close(self, method: str, batch: _Batch) -> None:
        with self._joining:
            if self._gathering.get(method) is batch:
                del self._gathering[method]

    def _run_joined(self, method: str, batch: _Batch) -> None:
        """Call the model for all threads of a batch, or leave it to each if there is one, or if the call fails."""
        batch.split = True
        if len(batch.asked) == 1:
            return
        counts = [len(each.texts) for each in batch.asked]
        try:
            parts = _parts(self._called(method, [text for each in batch.asked for text in each.texts]), method, counts)
        except Exception:  # whatever the model raises is raised again for the thread that it concerns
            return
        for each, part in zip(batch.asked, parts, strict=True):
            each.returned = part

    def _call(self, method: str, texts: list[str], spec: Any) -> Any:
        if not callable(getattr(self.loaded(), method, None)):
            raise EncoderError(
                f"encoder {spec} has no method {method} for dense vectors. Give dense vectors with dense=, or set dense= to a "
                "column of your own when you create the collection"
            )
        try:
            return self._called(method, texts)
        except PgRetrievalError:
            raise
        except Exception as error:  # whatever a model or a user's object raises
            raise EncoderError(
                f"{method} of encoder {spec} failed on {len(texts)} texts, the first {texts[0][:60]!r}: {error}"
            ) from error

    def _called(self, method: str, texts: list[str]) -> Any:
        if method.startswith("encode"):
            calls.add(len(texts))
        return getattr(self.loaded(), method)(texts)


_UNANSWERED = object()


class _Asked:
    """Texts of one thread, and later what the model returned for them."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.returned: Any = _UNANSWERED

    @property
    def done(self) -> bool:
        return self.returned is not _UNANSWERED


class _Batch:
    """Texts of threads that wait together; `split` once each thread has its result or must call for its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.asked: list[_Asked] = []
        self.texts = 0
        self.split = False


def _parts(returned: Any, method: str, counts: Sequence[int]) -> list[Any]:
    """Split what the model returned for joined texts. Raises ValueError or TypeError if it returned another number of arrays."""
    dense: Any = None
    if method.endswith(WITH_DENSE):
        returned, dense = returned
    tokens = list(returned)
    if len(tokens) != sum(counts) or (dense is not None and len(dense) != sum(counts)):
        msg = f"{len(tokens)} arrays for {sum(counts)} texts"
        raise ValueError(msg)
    parts, start = [], 0
    for count in counts:
        some = slice(start, start + count)
        parts.append(tokens[some] if dense is None else (tokens[some], dense[some]))
        start += count
    return parts


_models: WeakValueDictionary[Hashable, SharedModel] = WeakValueDictionary()
_making = threading.Lock()


def shared_model(key: Hashable, load: Callable[[], Any]) -> SharedModel:
    """Return the model of a key that is in use, or a new one."""
    with _making:
        found = _models.get(key)
        if found is None:
            found = _models[key] = SharedModel(load, shared=True)
        return found
