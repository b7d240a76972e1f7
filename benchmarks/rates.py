"""Rates of each part of the library on a device, and comparisons of its results with the processor's, for `gpu.py`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import pgretrieval
from pgretrieval.corpus.docstrings import standard_library_passages
from pgretrieval.db.candidates import CodedPassages
from pgretrieval.numerics.assignment import CentroidIndex, nearest, quickly_nearest
from pgretrieval.numerics.codebook import Codebook
from pgretrieval.numerics.hardware import multiplies_bf16
from pgretrieval.numerics.kmeans import train_centroids
from pgretrieval.numerics.residual import ResidualCodec
from pgretrieval.search.maxsim import decoded_maxsim, maxsim_on_device
from pgretrieval.types import Float32Array

DIM = 128
QUERY_TOKENS = 32
CPU = torch.device("cpu")
_FLAT = 1_024  # centroids; the most that k-means trains in one level
_ONE_LEVEL = 2_048  # centroids; the most that are all compared with every token
_LOOP = {"batch_size": 32, "show_progress_bar": False}  # the model library's own
_STRIDE = 31  # of the docstrings, so that texts are of many modules and lengths
_WAYS = 4  # passages of a query in training


@dataclass(frozen=True)
class Size:
    """Sizes of the measurements. `seconds` is the time of each, `checked` the tokens compared with the processor."""

    seconds: float = 3.0
    square: int = 8_192
    tokens: int = 2**20
    centroids: int = 2**15
    checked: int = 8_192
    scored: tuple[int, ...] = (64, 1_024, 16_384)
    texts: int = 2_048
    passages: int = 10_000
    at_once: tuple[int, ...] = (1, 16, 256)
    pairs: int = 2_048
    batch: int = 32


SMALL = Size(0.05, 256, 4_000, 2_100, 1_000, (8, 64), 8, 300, (1, 4), 8, 2)


@dataclass
class Measured:
    """Rates, and differences from the processor with their bounds."""

    rates: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)

    def rate(self, what: str, value: float, unit: str, note: str = "") -> None:
        """Add a rate."""
        self.rates.append({"what": what, "value": value, "unit": unit, "note": note})

    def check(self, what: str, difference: Any, at_most: float) -> None:
        """Add a difference; it holds up to the bound, and never if it is not a number."""
        value = float(difference)
        self.checks.append({"what": what, "value": value, "at_most": at_most, "holds": value <= at_most})


def products(device: torch.device, size: Size) -> Measured:
    """Matrix products: square ones, and those of tokens with centroids."""
    measured = Measured()
    for kind in formats(device):
        whole = _product_rate(device, kind, size)
        measured.rate(f"square product, {_name(kind)}", whole / 1e12, "TFLOP/s", f"{size.square:,} rows and columns")
        tokens, centroids = (drawn(count, 1).to(device, kind) for count in (min(size.tokens, 2**15), size.centroids))
        tall = 2 * len(tokens) * DIM * len(centroids) / timed(partial(torch.mm, tokens, centroids.T), device, size.seconds / 2)
        shape = f"{len(tokens):,} tokens, {len(centroids):,} centroids, {DIM} dimensions"
        measured.rate(f"similarities, {_name(kind)}", tall / 1e12, "TFLOP/s", f"{shape}; {tall / whole:.0%} of the square one")
        some = tokens[:_WAYS]
        exact = some.cpu().double() @ centroids.cpu().double().T
        difference = (some @ centroids.T).cpu().double() - exact
        measured.check(f"similarities, {_name(kind)}: largest difference", difference.abs().max(), _bound(kind, 1e-5, 5e-3))
    return measured


def kmeans(device: torch.device, size: Size) -> Measured:
    """k-means, assignment and coding."""
    measured = Measured()
    rates = {kind: _product_rate(device, kind, size) for kind in formats(device)}
    vectors = drawn(size.tokens, 2)
    sample = vectors.to(device)

    def report(what: str, work: Callable[[], Any], kind: torch.dtype) -> None:
        kind = kind if kind in rates else torch.float32
        flop, spent = operations(work), timed(work, device, size.seconds)
        note = f"{len(sample) / spent / 1e6:,.2f} M tokens/s; {flop / spent / rates[kind]:.1%} of the square product, {_name(kind)}"
        measured.rate(what, flop / spent / 1e12, "TFLOP/s", note)

    for count in (_FLAT, size.centroids):
        what = f"k-means, {len(sample):,} tokens, {count:,} centroids"
        report(what, partial(train_centroids, sample, count, 0), torch.bfloat16)
    centroids = drawn(size.centroids, 3, 0.3).half().float()
    there = centroids.to(device)
    index = CentroidIndex(there)
    report(f"nearest of {_ONE_LEVEL:,} centroids", partial(nearest, sample, there[:_ONE_LEVEL]), torch.float32)
    report(f"the same, quick, of {_ONE_LEVEL:,}", partial(quickly_nearest, sample, there[:_ONE_LEVEL]), torch.bfloat16)
    report(f"the same, quick, of {len(there):,}", partial(quickly_nearest, sample, there), torch.bfloat16)
    report(f"a near one of {len(there):,}, in two levels", partial(index.assign, sample), torch.bfloat16)
    codebook = Codebook(centroids.numpy(), _codec(), device)
    spent = timed(partial(codebook.encode, vectors.numpy()), device, size.seconds)
    measured.rate("coding, arrays to arrays", len(vectors) / spent / 1e6, "M tokens/s")
    _check_assignment(measured, device, vectors[: size.checked], centroids)
    return measured


def _check_assignment(measured: Measured, device: torch.device, few: Tensor, centroids: Tensor) -> None:
    """Compare assignment, codes and k-means of a few tokens with the processor's."""
    there, moved = centroids.to(device), few.to(device)
    best = (few * centroids[nearest(few, centroids)]).sum(dim=1)

    def loss(ids: Tensor) -> Tensor:
        return best - (few * centroids[ids.cpu()]).sum(dim=1)

    measured.check("nearest: largest loss of similarity", loss(nearest(moved, there)).max(), 1e-5)
    measured.check("quick: mean loss of similarity", loss(quickly_nearest(moved, there)).mean(), 5e-3)
    beyond = loss(CentroidIndex(there).assign(moved)).mean() - loss(CentroidIndex(centroids).assign(few)).mean()
    measured.check("two levels: mean loss beyond the processor's", beyond, 1e-3)
    some = few.numpy()[: 2**27 // len(centroids)]  # so few that each gets its nearest centroid
    (ids, packed), (expected_ids, expected) = (Codebook(centroids.numpy(), _codec(), each).encode(some) for each in (device, CPU))
    measured.check("codes: share of tokens that differ", ((ids != expected_ids) | (packed != expected).any(axis=1)).mean(), 1e-3)
    trained = [train_centroids(each, min(2 * _FLAT, len(few) // 4), 0).cpu() for each in (moved, few)]
    fits = [float((few * each[nearest(few, each)]).sum(dim=1).mean()) for each in trained]
    measured.check("k-means: mean similarity below the processor's", fits[1] - fits[0], 2e-3)


def scores(device: torch.device, size: Size) -> Measured:
    """Decoding and MaxSim of one query with passages of 20 to 180 tokens."""
    measured = Measured()
    generator = np.random.default_rng(4)
    centroids = drawn(size.centroids, 5).half().float().numpy()
    there, here = (Codebook(centroids, _codec(), each) for each in (device, CPU))
    query = drawn(QUERY_TOKENS, 6).numpy()
    for count in size.scored:
        offsets = np.concatenate([[0], np.cumsum(generator.integers(20, 181, count))]).astype(np.int64)
        tokens = int(offsets[-1])
        ids = generator.integers(len(centroids), size=tokens).astype(np.int32)
        packed = generator.integers(256, size=(tokens, there.codec.width), dtype=np.uint8)
        coded = CodedPassages(np.arange(count, dtype=np.int32), offsets, ids, packed)
        spent = timed(partial(maxsim_on_device, query, there, coded), device, size.seconds)
        beside = timed(partial(decoded_maxsim, query, here, coded), CPU, size.seconds)
        note = f"{1e3 * spent:.2f} ms; the processor's own way {1e3 * beside:.2f}"
        measured.rate(f"{count:,} passages, {tokens:,} tokens", tokens / spent / 1e6, "M tokens/s", note)
        difference = _relative(maxsim_on_device(query, there, coded), decoded_maxsim(query, here, coded))
        measured.check(f"{count:,} passages: largest relative difference", difference, 1e-4)
    return measured


def search(device: torch.device, size: Size) -> Measured:
    """Queries per second of a collection built on the device, with several queries in a call."""
    measured = Measured()
    generator = np.random.default_rng(7)
    lengths = generator.integers(QUERY_TOKENS, 81, size.passages)
    arrays = [part.numpy() for part in drawn(int(lengths.sum()), 8).split(lengths.tolist())]
    places = generator.choice(size.passages, max(size.at_once), replace=False).tolist()
    queries = [arrays[place][:QUERY_TOKENS] for place in places]
    passages = [{"id": str(place), "text": f"passage {place}"} for place in range(size.passages)]
    with (
        tempfile.TemporaryDirectory(prefix="pgretrieval-bench-") as folder,
        pgretrieval.connect(data_dir=folder, device=str(device)) as database,
        pgretrieval.connect(url=database.url, device="cpu") as other,
    ):
        made = database.create_collection("measured")
        for what, work in (("add", partial(made.add, passages, vectors=arrays)), ("build", made.build)):
            measured.rate(what, int(lengths.sum()) / _once(work, device), "tokens/s", f"{len(passages):,} passages")
        beside = other.get_collection("measured")
        for count in size.at_once:
            rates = [
                count / timed(partial(each.search_many, vectors=queries[:count]), device, size.seconds) for each in (made, beside)
            ]
            measured.rate(f"search_many, {count:,} at once", rates[0], "queries/s", f"scored by the processor {rates[1]:,.1f}")
        found, expected = (each.search_many(vectors=queries) for each in (made, beside))
    pairs = [([hit.score for hit in hits], [hit.score for hit in others]) for hits, others in zip(found, expected, strict=True)]
    measured.check("largest relative difference of a score", max(_relative(*pair) for pair in pairs), 1e-4)
    missed = [hits[0].id != str(place) for hits, place in zip(found, places, strict=True)]
    measured.check("share of queries whose own passage is not first", float(np.mean(missed)), 0)
    return measured


def encode(device: torch.device, size: Size) -> Measured:
    """Encoding of docstrings with minilm, beside the loop of the model library in batches of 32."""
    from pgretrieval.encode.library import quiet
    from pgretrieval.encode.minilm import MiniLMEncoder, build_model

    measured = Measured()
    texts = texts_of(size.texts)
    few = texts[: max(8, size.texts // 32)]
    exact = _unit(MiniLMEncoder("cpu", torch.float32).encode_document(few))
    for kind in formats(device):
        with quiet():
            library = build_model(str(device), kind)
        own = MiniLMEncoder(str(device), kind)
        tokens = sum(map(len, own.encode_document(texts)))
        loop = tokens / timed(partial(library.encode_document, texts, convert_to_numpy=True, **_LOOP), device, size.seconds)
        rate = tokens / timed(partial(own.encode_document, texts), device, size.seconds)
        measured.rate(f"library, {_name(kind)}", loop, "tokens/s", f"{len(texts):,} texts, {tokens:,} tokens")
        measured.rate(f"minilm, {_name(kind)}", rate, "tokens/s", f"{rate / loop:.2f} times the library")
        spent = timed(partial(own.encode_query, texts[:1]), device, size.seconds / 2)
        measured.rate(f"minilm, {_name(kind)}, one text", 1e3 * spent, "ms")
        losses = 1 - (_unit(own.encode_document(few)) * exact).sum(axis=1)
        measured.check(f"{_name(kind)}: mean loss of cosine", losses.mean(), _bound(kind, 1e-5, 5e-3))
    return measured


def pairs(device: torch.device, size: Size) -> Measured:
    """Pairs per second of cross-encoders of MiniLM's size, with either head."""
    from pgretrieval.rerank import load_cross_encoder
    from pgretrieval.rerank.markers import new_cross_encoder

    measured = Measured()
    texts = texts_of(size.pairs)
    given = [(text[:80], texts[number - 1]) for number, text in enumerate(texts)]
    few = given[: max(8, size.pairs // 32)]
    for head in ("cls", "emb"):
        torch.manual_seed(9)
        model = new_cross_encoder("minilm", head, device=str(device))
        scorer = load_cross_encoder(model)
        rate = len(given) / timed(partial(scorer.predict, given), device, size.seconds)
        loop = len(given) / timed(partial(model.predict, given, **_LOOP), device, size.seconds)
        measured.rate(f"head {head}", rate, "pairs/s", f"{len(given):,} pairs; the library in batches of 32: {loop:,.0f}")
        found, expected = scorer.predict(few), load_cross_encoder(model.to("cpu")).predict(few)
        measured.check(f"head {head}: largest relative difference", _relative(found, expected), 1e-3)
    return measured


def training(device: torch.device, size: Size) -> Measured:
    """Steps per second of ColBERT's loss on MiniLM, each query with four passages and those of the batch."""
    measured = Measured()
    texts = texts_of((1 + _WAYS) * size.batch)
    columns = [[text[: 600 if column else 80] for text in texts[column :: 1 + _WAYS]] for column in range(1 + _WAYS)]
    expected = _step(columns, CPU, torch.float32)()
    for kind in formats(device):
        step = _step(columns, device, kind)
        difference = abs(step() / expected - 1)
        rate = 1 / timed(step, device, size.seconds)
        measured.rate(f"batch of {size.batch}, {_name(kind)}", rate, "steps/s", f"{len(texts) * rate:,.0f} texts/s")
        measured.check(f"{_name(kind)}: relative difference of the first loss", difference, _bound(kind, 1e-3, 1e-2))
    return measured


def _step(columns: list[list[str]], device: torch.device, kind: torch.dtype) -> Callable[[], float]:
    """Return a function that trains one step on columns of texts, and returns the loss."""
    from pgretrieval.train.frozen import without_dropout
    from pgretrieval.train.losses import colbert_loss
    from pgretrieval.train.models import start_model

    model = without_dropout(start_model("minilm", str(device)))
    loss = colbert_loss(model, distil=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    features = [
        {key: value.to(device) if isinstance(value, Tensor) else value for key, value in model.preprocess(column).items()}
        for column in columns
    ]

    def step() -> float:
        with torch.autocast(device.type, torch.bfloat16, enabled=kind == torch.bfloat16):
            value: Tensor = torch.stack(list(loss(features).values())).sum()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(value.detach())

    return step


PARTS: dict[str, tuple[Callable[[torch.device, Size], Measured], int]] = {
    "products": (products, 1),
    "kmeans": (kmeans, 4),
    "scores": (scores, 2),
    "search": (search, 3),
    "encode": (encode, 3),
    "pairs": (pairs, 2),
    "training": (training, 2),
}
"""Parts, and their shares of the time."""


def timed(work: Callable[[], Any], device: torch.device, seconds: float) -> float:
    """Return the median seconds of the repetitions that fit into a time, after one that is not counted."""
    spent: list[float] = []
    _once(work, device)
    until = time.perf_counter() + seconds
    while not spent or time.perf_counter() < until:
        spent.append(_once(work, device))
    return float(np.median(spent))


def _once(work: Callable[[], Any], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type != "cpu" and torch.accelerator.is_available():
        torch.accelerator.synchronize(device)
    return time.perf_counter() - started


def operations(work: Callable[[], Any]) -> int:
    """Return the floating-point operations of the matrix products of some work."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def formats(device: torch.device) -> list[torch.dtype]:
    """Return single precision, and bf16 where the device multiplies it."""
    return [torch.float32, *([torch.bfloat16] if device.type != "cpu" or multiplies_bf16() else [])]


def drawn(count: int, seed: int, noise: float = 0.6) -> Tensor:
    """Return unit vectors (count, DIM) around a few thousand directions."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(4_096, DIM, generator=torch.Generator().manual_seed(0))
    chosen = torch.randint(len(directions), (count,), generator=generator)
    return torch.nn.functional.normalize(directions[chosen] + noise * torch.randn(count, DIM, generator=generator))


def texts_of(count: int) -> list[str]:
    """Return docstrings of many modules."""
    return [passage.encoded_text for passage in islice(standard_library_passages(), 0, count * _STRIDE, _STRIDE)]


def _product_rate(device: torch.device, kind: torch.dtype, size: Size) -> float:
    """Return the operations per second of a square matrix product."""
    left, right = (torch.randn(size.square, size.square).to(device, kind) for _ in range(2))
    return 2 * size.square**3 / timed(partial(torch.mm, left, right), device, size.seconds / 2)


def _codec() -> ResidualCodec:
    levels = torch.linspace(-0.3, 0.3, 16)
    return ResidualCodec(DIM, 4, (levels[1:] + levels[:-1]) / 2, levels)


def _relative(found: Any, expected: Any) -> float:
    """Return the largest difference as a share of the largest number."""
    return float(np.abs(np.asarray(found) - np.asarray(expected)).max() / np.abs(np.asarray(expected)).max())


def _unit(arrays: list[Float32Array]) -> Float32Array:
    rows: Float32Array = np.concatenate(arrays)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _bound(kind: torch.dtype, single: float, half: float) -> float:
    return single if kind == torch.float32 else half


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
