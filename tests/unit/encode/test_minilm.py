"""The default encoder on real text."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pgretrieval.encode import CollectionEncoder, from_spec, load_encoder
from pgretrieval.encode.library import LibraryEncoder
from pgretrieval.encode.minilm import (
    NEWEST,
    VERSIONS,
    MiniLMEncoder,
    build_model,
    precision,
    projection_file,
)
from pgretrieval.encode.modules import load_model
from pgretrieval.encode.projected import DIM, PROJECTION_KEY, TOKENS_PER_BATCH
from pgretrieval.encode.registry import names
from pgretrieval.errors import EncoderError, InputError
from pgretrieval.numerics import transformer
from pgretrieval.types import Float32Array, Passage

WORDS = [
    "the",
    "quick",
    "İstanbul",
    "naïve",
    "café",
    "東京",
    "running",
    "[MASK]",
    "[SEP]",
    "don't",
    "3.14",
    "e=mc²",
    "\t",
    "new\nline",
    "😀",
    "ﬁ",
    "soft\u00adhyphen",
]


def maxsim(query: Float32Array, document: Float32Array) -> float:
    return float((query @ document.T).max(axis=1).sum())


def test_gives_one_matrix_of_unit_rows_per_text(minilm: CollectionEncoder) -> None:
    short, long = minilm.encode_document(["Rain falls.", "Rain falls on the hills and runs down to the sea."])
    assert short.dtype == np.float32
    assert short.shape == (5, DIM)  # [CLS] rain falls . [SEP]
    assert len(long) > len(short)
    np.testing.assert_allclose(np.linalg.norm(long, axis=1), 1, atol=1e-5)


def test_related_text_scores_higher(minilm: CollectionEncoder) -> None:
    [query] = minilm.encode_query("how do vaccines protect against infection")
    related, unrelated = minilm.encode_document(
        [
            "Immunisation trains the body to make antibodies, so that it fights the disease before it spreads.",
            "The derailleur moves the chain from one sprocket of the bicycle to another.",
        ]
    )
    assert maxsim(query, related) > maxsim(query, unrelated) + 1


def test_a_title_is_part_of_the_text(minilm: CollectionEncoder) -> None:
    text = "It is mostly found in warm shallow water."
    bare, titled = (Passage("1", text).encoded_text, Passage("1", text, title="Green sea turtle").encoded_text)
    [query] = minilm.encode_query("turtle habitat")
    without, with_title = minilm.encode_document([bare, titled])
    assert maxsim(query, with_title) > maxsim(query, without) + 0.5


def test_same_text_same_vectors(minilm: CollectionEncoder) -> None:
    first, second = (minilm.encode_document(["Snow melts."])[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_company_in_a_batch_hardly_changes_a_text(minilm: CollectionEncoder) -> None:
    texts = ["Snow melts.", "A much longer sentence, so that the other one is padded in the same batch of texts."]
    together = minilm.encode_document(texts)
    alone = [minilm.encode_document(text)[0] for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert (one * other).sum(axis=1).min() > 0.998


def test_keeps_the_order_of_the_texts_over_several_calls(minilm: CollectionEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgretrieval.encode.base.TEXTS_PER_CALL", 2)
    texts = ["one", "one two three", "one two", "one two three four", "one"]
    done: list[int] = []
    arrays = minilm.encode_document(texts, progress=done.append)
    assert [len(array) - 2 for array in arrays] == [len(text.split()) for text in texts]
    assert done == [2, 2, 1]


def test_counts_texts_that_are_cut(minilm: CollectionEncoder) -> None:
    texts = ["word " * 254, "word " * 255, "x", "incomprehensibilities " * 100, "a" * 600]
    assert [minilm.count_truncated([text]) for text in texts] == [0, 1, 0, 1, 0]
    assert len(minilm.encode_document(texts[:2])[1]) == 256
    assert minilm.count_truncated(texts) == 2


def test_counts_tokens_beyond_the_limit(minilm: CollectionEncoder) -> None:
    """Without the two markers."""
    texts = ("", " ", "word", "word " * 1_000, "incomprehensibilities")
    assert [minilm.count_tokens(text) for text in texts] == [0, 0, 1, 1_000, 6]
    with pytest.raises(InputError):
        minilm.count_tokens("\0")


def test_empty_input(minilm: CollectionEncoder) -> None:
    assert minilm.encode_query([]) == []
    assert minilm.encode_document([]) == []
    with pytest.raises(InputError, match="query 1 is empty"):
        minilm.encode_query(["fine", "  \n"])
    with pytest.raises(InputError, match="text 0 is int"):
        minilm.encode_document([3])  # type: ignore[list-item]


def test_several_threads_share_one_encoder(minilm: CollectionEncoder) -> None:
    texts = [f"thread {number} speaks " + "again " * number for number in range(8)]
    expected = [minilm.encode_query(text)[0] for text in texts]
    found: dict[int, Float32Array] = {}

    def work(number: int) -> None:
        found[number] = minilm.encode_query(texts[number])[0]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, vectors in enumerate(expected):
        np.testing.assert_allclose(found[number], vectors, atol=1e-2)


def test_dimension_is_known_without_loading() -> None:
    encoder = load_encoder("minilm", device="cpu:0")  # a device that no other encoder of this process names
    assert encoder.dim == DIM
    assert encoder._model._inner is None
    assert from_spec(encoder.spec).spec == {"kind": "minilm", "version": NEWEST} == encoder.spec


def test_a_stored_encoder_keeps_its_projection(minilm: CollectionEncoder) -> None:
    """A collection of the first projection is queried with the first projection."""
    text = "Snow melts in spring."
    old, new = load_encoder("minilm@1"), load_encoder(f"minilm@{NEWEST}")
    assert old.spec == {"kind": "minilm"}
    np.testing.assert_array_equal(from_spec({"kind": "minilm"}).encode_query(text)[0], old.encode_query(text)[0])
    np.testing.assert_array_equal(minilm.encode_query(text)[0], new.encode_query(text)[0])
    assert abs((old.encode_query(text)[0] * new.encode_query(text)[0]).sum(axis=1)).max() < 0.999


def test_the_newest_version_is_the_second() -> None:
    """An encoder without a version gets the newest, trained projection."""
    from safetensors.torch import load_file

    old, newest = (load_file(projection_file(version))[PROJECTION_KEY].float() for version in ("1", "2"))
    assert load_encoder("minilm").spec == {"kind": "minilm", "version": "2"}
    weight = build_model("cpu")[2].linear.weight.detach().float()  # rounded if the processor computes in half precision
    assert (weight - newest).abs().max() < 0.01 < (weight - old).abs().max()
    assert torch.equal(load_encoder("minilm")._model.loaded()._projection, newest)


def test_it_is_known_beforehand_that_passages_differ_in_length() -> None:
    """`vectors_per_passage` is known without loading the model."""
    encoder = load_encoder("minilm", device="cpu:0")
    assert encoder.vectors_per_passage is None
    assert encoder._model._inner is None


def test_batches_hold_about_as_many_characters(library_folder: Path) -> None:
    """Batches of the library's models have about equal numbers of characters: few long texts or many short ones."""
    model = load_model(library_folder, "cpu")
    encoder = LibraryEncoder(model)
    read: list[int] = []
    model[0].register_forward_pre_hook(lambda _, given: read.append(len(given[0]["input_ids"])))
    for length, expected in ((20, 64), (400, 20), (1200, 8)):
        read.clear()
        encoder.encode_document(["word " * (length // 5)] * 70)
        assert (max(read), sum(read)) == (expected, 70)


def test_batches_hold_about_as_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of one batch have similar lengths, and padding counts towards its size."""
    encoder = MiniLMEncoder("cpu", torch.float32)
    read: list[tuple[int, int]] = []
    bert = encoder._bert
    monkeypatch.setattr(encoder, "_bert", lambda rows: (read.append((len(rows), len(rows[0]))), bert(rows))[1])
    encoder.encode_document(["word " * 8] * 190 + ["word " * 98] * 30 + ["word " * 400])
    assert read == [(7, 256), (20, 100), (20, 100), (174, 10)]


@pytest.mark.parametrize("version", VERSIONS)
def test_vectors_are_those_of_the_library(version: str) -> None:
    """Token and dense vectors equal those of the library's model, for queries of many lengths and for batches."""
    library, own = (
        LibraryEncoder(build_model("cpu", torch.float32, version=version)),
        MiniLMEncoder("cpu", torch.float32, version=version),
    )
    choose = random.Random(int(version))
    lengths = (1, 2, 3, 4, 6, 8, 11, 16, 24, 32, 48, 64, 100, 150, 300)
    texts = ["", "  ", "[CLS] a [SEP]", *(" ".join(choose.choices(WORDS, k=length)) for length in lengths)]
    expected, expected_dense = library.encode_document_with_dense(texts)
    batch, dense = own.encode_document_with_dense(texts)
    single = [own.encode_query([text])[0] for text in texts]
    for rows, one, other in zip(expected, batch, single, strict=True):
        np.testing.assert_allclose(_unit(one), rows.numpy(), atol=1e-5)
        np.testing.assert_allclose(_unit(other), rows.numpy(), atol=1e-5)
    np.testing.assert_allclose(_unit(dense), _unit(expected_dense.numpy()), atol=1e-5)
    assert own.count_truncated(texts) == library.count_truncated(texts) == 1


def test_half_precision_is_as_close_as_the_library_is() -> None:
    """In bfloat16, which some processors multiply faster, vectors differ no more from single precision than the library's."""
    choose = random.Random(1)
    texts = [" ".join(choose.choices(WORDS, k=length)) for length in (3, 8, 20, 60)]
    exact = MiniLMEncoder("cpu", torch.float32).encode_document(texts)
    own, library = MiniLMEncoder("cpu", torch.bfloat16), LibraryEncoder(build_model("cpu", torch.bfloat16))
    lost, lost_by_library = (
        max(
            1 - (_unit(one) * _unit(other)).sum(axis=1).min()
            for one, other in zip(exact, encoder.encode_document(texts), strict=True)
        )
        for encoder in (own, library)
    )
    assert lost < max(2 * lost_by_library, 1e-3)
    assert lost < 0.005


def texts_of(lengths: Sequence[int]) -> list[str]:
    """Texts of so many tokens, both markers included."""
    words = ["rain", "snow", "river", "hill", "sea", "sun", "house", "road"]
    choose = random.Random(2)
    return [" ".join(choose.choices(words, k=length - 2)) for length in lengths]


@pytest.fixture
def without_bf16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A processor that does not multiply bfloat16, with this one's or fewer instructions."""
    if request.param:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    monkeypatch.setattr("pgretrieval.encode.bert.multiplies_bf16", lambda: False)
    kernels = (transformer._kernel, transformer._linear_kernel)
    for kernel in kernels:
        kernel.cache_clear()
    yield
    for kernel in kernels:
        kernel.cache_clear()


@pytest.mark.parametrize("without_bf16", [None, "AVX2"], indirect=True, ids=["this", "AVX2"])
@pytest.mark.usefixtures("without_bf16")
def test_compiled_layers_have_the_same_vectors() -> None:
    """Every coordinate of every token is within a thousandth, alone or in company, for short and for long texts."""
    lengths = (*range(3, 34), 47, 48, 49, 100, 256)
    texts = texts_of(lengths)
    exact, own = MiniLMEncoder("cpu", torch.float32), MiniLMEncoder("cpu")
    expected, expected_dense = exact.encode_document_with_dense(texts)
    found, dense = own.encode_document_with_dense(texts)
    assert tuple(map(len, found)) == lengths
    for text, one, other in zip(texts, found, expected, strict=True):
        np.testing.assert_allclose(_unit(one), _unit(other), atol=1e-3)
        np.testing.assert_array_equal(own.encode_query([text])[0], own.encode_query([text])[0])
        np.testing.assert_allclose(_unit(own.encode_query([text])[0]), _unit(one), atol=1e-5)
    np.testing.assert_allclose(_unit(dense), _unit(expected_dense), atol=1e-3)


def test_short_queries_are_precise_on_every_processor() -> None:
    """Also where longer texts are encoded in bfloat16."""
    own, exact = MiniLMEncoder("cpu"), MiniLMEncoder("cpu", torch.float32)
    for text in texts_of(range(3, 13)):
        np.testing.assert_allclose(_unit(own.encode_query([text])[0]), _unit(exact.encode_query([text])[0]), atol=1e-3)
    for text in texts_of(range(13, 60, 4)):
        assert (_unit(own.encode_query([text])[0]) * _unit(exact.encode_query([text])[0])).sum(axis=1).min() > 0.9995


def test_processors_for_which_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch computes the layers, in the same precision as the library."""
    monkeypatch.setattr("pgretrieval.encode.bert.compiles", lambda: False)
    own, exact = MiniLMEncoder("cpu"), MiniLMEncoder("cpu", precision("cpu"))
    assert own._tokens_per_batch == TOKENS_PER_BATCH
    texts = texts_of((5, 20))
    for one, other in zip(own.encode_document(texts), exact.encode_document(texts), strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_without_packed_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without oneDNN, and on accelerators, vectors are the same."""
    texts = ["Snow melts in spring.", "Wolves howl."]
    packed = MiniLMEncoder("cpu", torch.float32).encode_document(texts)
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    for one, other in zip(packed, MiniLMEncoder("cpu", torch.float32).encode_document(texts), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_encoding_needs_no_model_library() -> None:
    """The default encoder imports neither transformers nor sentence-transformers, which take seconds."""
    code = """if True:
        import sys
        from pgretrieval.encode import load_encoder
        assert load_encoder("minilm").encode_query("quick")[0].shape == (3, 128)
        assert [name for name in ("transformers", "sentence_transformers", "sklearn", "pandas") if name in sys.modules] == []
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def _unit(rows: Any) -> Any:
    rows = np.asarray(rows)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_unknown_versions() -> None:
    with pytest.raises(EncoderError, match=r'no encoder \'minilm@9\'; choose "minilm@1", "minilm@2", or "minilm" for the newest'):
        load_encoder("minilm@9")
    with pytest.raises(EncoderError, match="version 9 of minilm, which this package lacks; upgrade the package"):
        from_spec({"kind": "minilm", "version": "9"})


@pytest.mark.parametrize(
    ("source", "spec", "fits"),
    [
        ("minilm", {"kind": "minilm"}, True),
        ("minilm", {"kind": "minilm", "version": "2"}, True),
        ("minilm@1", {"kind": "minilm"}, True),
        ("minilm@2", {"kind": "minilm"}, False),
        ("minilm", {"kind": "minilm", "lengths": "kept"}, False),
        ("minilm", {"kind": "model", "name": "minilm"}, False),
        ("some/model", {"kind": "model", "name": "some/model"}, True),
        ("some/model", {"kind": "minilm"}, False),
    ],
)
def test_what_a_name_fits(source: str, spec: dict[str, str], fits: bool) -> None:
    assert names(source, spec) == fits


def test_loads_without_network_and_in_silence(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail(f"the network was asked for {args}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    load_encoder("minilm", device="cpu").encode_query("quiet")
    assert capfd.readouterr() == ("", "")


def test_unknown_device() -> None:
    with pytest.raises(EncoderError, match="device 'abacus'"):
        load_encoder("minilm", device="abacus").encode_query("x")


def test_dense_vectors_are_those_of_the_single_vector_model(minilm: CollectionEncoder) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    from pgretrieval.encode.minilm import load_transformer

    texts = ["Snow melts.", "A much longer sentence about the spring, in which rivers rise.", "Wolves howl."]
    model = SentenceTransformer(modules=[load_transformer(precision("cpu")), Pooling(384)], device="cpu")
    expected = model.encode(texts, convert_to_tensor=True).float().numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    tokens, dense = minilm.encode_document_with_dense(texts)
    assert dense.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(dense, axis=1), 1, atol=1e-5)
    assert (dense * expected).sum(axis=1).min() > 0.999
    for one, other in zip(tokens, minilm.encode_document(texts), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_models_that_pool_have_dense_vectors() -> None:
    """The library's model tells it by its module, the default encoder without being loaded."""
    assert load_encoder(build_model(device="cpu")).has_dense
    unloaded = load_encoder("minilm@1", "a device of its own")
    assert unloaded.has_dense
    assert unloaded._model._inner is None


def test_a_query_has_a_dense_vector_too(minilm: CollectionEncoder) -> None:
    tokens, dense = minilm.encode_query_with_dense("what melts in spring")
    assert (len(tokens), dense.shape) == (1, (1, 384))
    melting, howling = minilm.encode_document_with_dense(["Snow melts in spring.", "Wolves howl at night."])[1]
    assert dense[0] @ melting > dense[0] @ howling + 0.3
