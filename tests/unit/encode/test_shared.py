"""Models that encoders share, and calls of waiting threads that are joined."""

from __future__ import annotations

import gc
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgretrieval.encode import CollectionEncoder, from_spec, load_encoder
from pgretrieval.encode import shared as module
from pgretrieval.errors import EncoderError
from pgretrieval.types import Float32Array
from tests.support.encoder import HashedEncoder


class Gate(HashedEncoder):
    """Waits in the call for "first" until it is opened, and records the texts of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[str]] = []
        self.entered = threading.Event()
        self.opened = threading.Event()

    def encode_query(self, texts: Sequence[str]) -> list[Float32Array]:
        self.calls.append(list(texts))
        if texts[0] == "first":
            self.entered.set()
            assert self.opened.wait(10)
        if "bad" in texts:
            msg = "no such word"
            raise RuntimeError(msg)
        if "stop" in texts:
            raise KeyboardInterrupt
        return super().encode_query(texts)

    def encode_query_with_dense(self, texts: Sequence[str]) -> tuple[list[Float32Array], Float32Array]:
        tokens = self.encode_query(texts)
        return tokens, np.stack([each.mean(axis=0) for each in tokens])


def together(gate: Gate, works: Sequence[Callable[[], Any]], first: Callable[[], Any]) -> list[Future[Any]]:
    """Run all of `works` while `first` is in the model; return the futures of `works`."""
    with ThreadPoolExecutor(len(works) + 1) as threads:
        threads.submit(first)
        assert gate.entered.wait(10)
        futures = [threads.submit(work) for work in works]
        time.sleep(0.2)  # until all wait
        gate.opened.set()
    return futures


def query(encoder: CollectionEncoder, text: str) -> Callable[[], Float32Array]:
    return lambda: encoder.encode_query(text)[0]


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_texts_of_waiting_threads_are_one_call(gate: Gate):
    """Threads that wait for the model get the vectors that they would get alone, from one call."""
    encoder = load_encoder(gate)
    texts = ["a", "b c", "d e f", "g"]
    futures = together(gate, [query(encoder, text) for text in texts], query(encoder, "first"))
    for text, future in zip(texts, futures, strict=True):
        np.testing.assert_array_equal(future.result(), load_encoder(HashedEncoder()).encode_query(text)[0])
    assert [sorted(call) for call in gate.calls] == [["first"], sorted(texts)]


def test_dense_vectors_are_divided_among_the_threads(gate: Gate):
    encoder = load_encoder(gate)
    works = [lambda text=text: encoder.encode_query_with_dense([text, "x y"]) for text in ("a", "b c", "d e f")]
    futures = together(gate, works, query(encoder, "first"))
    for text, future in zip(("a", "b c", "d e f"), futures, strict=True):
        tokens, dense = future.result()
        assert [len(each) for each in tokens] == [len(text.split()), 2]
        expected = load_encoder(Gate()).encode_query_with_dense([text, "x y"])
        np.testing.assert_allclose(dense, expected[1], atol=1e-6)
    assert [len(call) for call in gate.calls] == [1, 6]


def test_an_error_concerns_only_the_thread_of_its_text(gate: Gate):
    """If a joined call fails, each thread encodes its own texts."""
    encoder = load_encoder(gate)
    futures = together(gate, [query(encoder, text) for text in ("a", "bad", "c")], query(encoder, "first"))
    assert futures[0].result().shape == futures[2].result().shape == (1, 64)
    with pytest.raises(EncoderError, match=r"failed on 1 texts, the first 'bad': no such word"):
        futures[1].result()


def test_an_interrupt_concerns_only_its_thread(gate: Gate):
    """A thread that is interrupted while it calls the model for others leaves them their texts."""
    encoder = load_encoder(gate)
    futures = together(gate, [query(encoder, text) for text in ("stop", "a", "b")], query(encoder, "first"))
    results = [future.exception() for future in futures]
    assert isinstance(results[0], KeyboardInterrupt)
    assert [future.result().shape for future, error in zip(futures, results, strict=True) if error is None] == [(1, 64)] * (
        results.count(None)
    )
    assert encoder.encode_query("later")[0].shape == (1, 64)


def test_a_wrong_number_of_arrays_is_reported_for_the_own_texts(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    """Joined calls whose results cannot be divided are repeated for each thread."""
    encoder = load_encoder(gate)
    original = gate.encode_query
    monkeypatch.setattr(gate, "encode_query", lambda texts: original(texts)[:2])
    works = [lambda: encoder.encode_query(["a", "b", "c"]), lambda: encoder.encode_query(["d"])]
    futures = together(gate, works, query(encoder, "first"))
    with pytest.raises(EncoderError, match=r"returned 2 arrays for 3 texts"):
        futures[0].result()
    assert len(futures[1].result()) == 1


def test_joined_calls_have_a_limit(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    """A call contains at most TEXTS_PER_CALL texts, and queries and documents are not joined."""
    monkeypatch.setattr(module, "TEXTS_PER_CALL", 4)
    encoder = load_encoder(gate)
    works = [lambda: encoder.encode_query(["a", "b", "c"]), lambda: encoder.encode_query(["d", "e"])]
    together(gate, [*works, lambda: encoder.encode_document("f")], query(encoder, "first"))
    assert sorted(map(len, gate.calls)) == [1, 2, 3]
    assert gate.encoded == 1


def test_calls_are_counted_by_their_texts(gate: Gate):
    before = module.calls.by_texts()
    load_encoder(gate).encode_query(["a", "b", "c"])
    after = module.calls.by_texts()
    assert after[3] == before.get(3, 0) + 1


def test_encoders_of_a_specification_share_a_model():
    """The model is loaded once for encoders of the same name, version and device."""
    one, two = load_encoder("minilm", device="cpu"), from_spec({"kind": "minilm", "version": "2"}, "cpu")
    assert one is not two
    assert one._model.loaded() is two._model.loaded()
    kept = load_encoder("minilm", device="cpu", unit=False)
    assert kept._model is one._model
    assert abs(np.linalg.norm(kept.encode_query("a river")[0], axis=1) - 1).max() > 0.01
    assert load_encoder("minilm@1", device="cpu")._model is not one._model
    assert load_encoder("minilm", device="cpu:0")._model is not one._model


def test_models_that_nobody_uses_are_freed():
    key = "a key of this test"
    model = module.shared_model(key, HashedEncoder)
    assert module.shared_model(key, HashedEncoder) is model
    del model
    gc.collect()
    assert key not in module._models


def test_a_folder_with_new_files_is_another_model(library_folder: Path, tmp_path: Path):
    """Training into the same folder is noticed by encoders that are opened later."""
    folder = tmp_path / "model"
    shutil.copytree(library_folder, folder)
    one, two = load_encoder(folder, device="cpu"), load_encoder(folder, device="cpu")
    assert one._model is two._model
    (folder / "added.txt").write_text("x")
    assert load_encoder(folder, device="cpu")._model is not one._model


def test_raised_lengths_are_those_of_one_encoder(stanford_folder: Path):
    """`raise_lengths` leaves other encoders of the same model unchanged."""
    one, two = load_encoder(stanford_folder, device="cpu"), load_encoder(stanford_folder, device="cpu")
    one.raise_lengths(query=16)
    one.raise_lengths(document=24)
    assert len(one.encode_query("a bank")[0]) == 16
    assert len(one.encode_document("a " * 40)[0]) == 24
    assert len(two.encode_query("a bank")[0]) == 12


def test_short_texts_are_counted_without_waiting(library_folder: Path):
    """Texts that cannot exceed the limit are counted while another thread uses the model."""
    for encoder in (load_encoder("minilm", device="cpu"), load_encoder(library_folder, device="cpu")):
        encoder._model.loaded()
        held, release = threading.Event(), threading.Event()

        def hold(held: threading.Event = held, release: threading.Event = release) -> None:
            held.set()
            release.wait(10)

        with ThreadPoolExecutor(2) as threads:
            threads.submit(encoder._model.alone, hold)
            assert held.wait(10)
            try:
                assert threads.submit(encoder.count_truncated_queries, "a").result(timeout=5) == 0
            finally:
                release.set()
