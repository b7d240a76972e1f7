"""Speed, quality and builds, compared with other engines.

    python benchmarks/run.py --cache DIR [--peer NAME=PYTHON ...] [--parts scifact pile-20000 pile growth-5000 ... throughput]

Peers are fast-plaid, xtr-warp, pylate, tachiom and pgvector (benchmarks/peers/README.md). Each part writes its section of
benchmarks/results/speed.json, from which benchmarks/results/speed.md is generated.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import psutil

import pgretrieval
from benchmarks import machine, pictures, report, vectors
from benchmarks.vectors import Vectors
from pgretrieval.db import wire
from pgretrieval.evaluate.fidelity import fidelity
from pgretrieval.evaluate.metrics import mean_metrics, parse_metrics, run_from_ranking
from pgretrieval.evaluate.timing import percentiles
from pgretrieval.numerics.maxsim import maxsim_many
from pgretrieval.types import Float32Array, Generator, Passage

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
THREADS = 2
DEPTHS = (10, 100)
NDCG = parse_metrics("nDCG@10")
SCRIPTS = {
    "fast-plaid": "fast_plaid.py",
    "xtr-warp": "xtr_warp.py",
    "pylate": "pylate_plaid.py",
    "tachiom": "tachiom.py",
    "pgvector": "pgvector_recipe.py",
}
SETTINGS = {
    "fast-plaid": ["1/1024", "4/1024", "default"],
    "xtr-warp": ["default", "8", "32/0"],
    "pylate": ["1/256/0.5", "2/1024/0.45", "default"],
    "tachiom": ["8/100", "default", "64/2000"],
    "pgvector": ["5/40", "20/40", "50/100", "5/40/1", "50/100/1"],
}
"""Settings of each engine, from the fastest to the most faithful."""
DEPTHS_OF = {"pgvector": (10,)}  # the cost of its search does not depend on k
GROWTH = (5_000, 20_000, 80_000, 160_429)
SYNTHETIC = 1_000_000
SYNTHETIC_TOKENS = (8, 25)
CLIENTS = (1, 2, 4, 8)
_ROUNDS = 2
_EXACT_TIMED = 20
_SECONDS_PER_LOAD = 20
_BUILD_LIMIT = 2400

Measured = dict[str, Any]


def best_of_all(data: Vectors) -> list[list[str]]:
    """The exact top 100 of every query by MaxSim over unquantised vectors, cached with the vectors."""
    kept = data.folder / "exact.json"
    if not kept.exists():
        best_scores = np.empty((len(data.queries), 0), dtype=np.float32)
        best_places = np.empty((len(data.queries), 0), dtype=np.int64)
        for first in range(0, len(data.passages), 2048):
            offsets = data.document_offsets[first : first + 2049]
            block = data.documents[offsets[0] : offsets[-1]].astype(np.float32)
            scores = maxsim_many(data.queries, unit(block), offsets - offsets[0])
            best_scores = np.concatenate([best_scores, scores], axis=1)
            places = np.broadcast_to(np.arange(first, first + scores.shape[1]), scores.shape)
            best_places = np.concatenate([best_places, places], axis=1)
            order = np.argsort(-best_scores, axis=1, kind="stable")[:, :100]
            best_scores = np.take_along_axis(best_scores, order, axis=1)
            best_places = np.take_along_axis(best_places, order, axis=1)
        kept.write_text(json.dumps(best_places.tolist()))
    return [[data.passages[place].id for place in row] for row in json.loads(kept.read_text())]


def unit(rows: Float32Array) -> Float32Array:
    """Rows scaled to length one, which half precision has changed."""
    scaled: Float32Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def exact_in_torch(data: Vectors) -> Measured:
    """Milliseconds of one query against all vectors in memory."""
    documents = data.documents[:].astype(np.float32)
    spent = []
    for query in data.queries[: _EXACT_TIMED + 1]:
        started = time.perf_counter()
        scores = maxsim_many([query], documents, data.document_offsets)[0]
        np.argpartition(-scores, 10)
        spent.append((time.perf_counter() - started) * 1e3)
    return percentiles(spent[1:])


def quality(data: Vectors, best: list[list[str]], rankings: Sequence[Sequence[str]], k: int) -> Measured:
    """Share of the exact top k, and nDCG@10 if queries are judged."""
    measured = {"fidelity": fidelity(rankings, best, k)}
    if data.qrels:
        run = {query: run_from_ranking(ids[:10]) for query, ids in zip(data.query_ids, rankings, strict=True)}
        measured["ndcg"] = mean_metrics(NDCG, data.qrels, {10: run})["nDCG@10"]
    return measured


def search(collection: Any, data: Vectors, best: list[list[str]], k: int, generator: str | None) -> Measured:
    """Run every query twice, sequentially, with given vectors; stages are medians."""
    for query in data.queries[:20]:
        collection.search(vectors=query, k=k, generator=generator)
    spent, rankings = [], []
    for _ in range(_ROUNDS):
        rankings = []
        for query in data.queries:
            started = time.perf_counter()
            hits = collection.search(vectors=query, k=k, generator=generator)
            spent.append((time.perf_counter() - started) * 1e3)
            rankings.append([hit.id for hit in hits])
    explained = [collection.explain(vectors=query, k=k, generator=generator) for query in data.queries[:100]]
    counts = ("postings_read", "candidates", "passages_decoded", "tokens_decoded", "bytes_moved", "round_trips")
    return {
        "k": k,
        **percentiles(spent),
        **quality(data, best, rankings, k),
        "stages": {
            stage: float(np.median([one.milliseconds.get(stage, 0.0) for one in explained])) for stage in explained[0].milliseconds
        },
        **{name: float(np.median([getattr(one, name) for one in explained])) for name in counts},
    }


def search_many(collection: Any, data: Vectors) -> float:
    """Queries per second of one call with all queries."""
    started = time.perf_counter()
    collection.search_many(vectors=data.queries, k=10)
    return len(data.queries) / (time.perf_counter() - started)


def storage(stats: Measured) -> Measured:
    """Bytes without the passages' texts: in all, by table, and relative to the payload, centroid numbers and residuals."""
    held = {table: size for table, size in stats["bytes"].items() if table != "passage"}
    held["passage indexes"] = stats["index_bytes"]["passage"]
    payload = stats["tokens"] * (wire.id_bytes(stats["centroids"]) + stats["dim"] * stats["bits"] / 8)
    return {"by_table": held, "per_token": sum(held.values()) / stats["tokens"], "ratio": sum(held.values()) / payload}


def build(database: pgretrieval.RetrievalDatabase, data: Vectors, name: str, **options: Any) -> tuple[Any, Measured]:
    """Add and build one collection with given vectors and `options`."""
    collection = database.create_collection(name, **options)
    stages, stage = stage_clock()
    with resident() as memory:
        started = time.perf_counter()
        collection.add(data.passages, vectors=data.arrays())
        added = time.perf_counter() - started
        collection.build(stage=stage)
        seconds = time.perf_counter() - started
    return collection, {
        "build_seconds": seconds,
        "add_seconds": added,
        "stage_seconds": stages,
        "resident_mib": memory[0],
        "storage": storage(collection.stats()),
    }


def stage_clock() -> tuple[dict[str, float], Callable[[str, int, int], None]]:
    """Seconds of each stage of a build, from its first report to its latest, and the function to which the build reports."""
    seconds: dict[str, float] = {}
    begun: dict[str, float] = {}

    def stage(name: str, _done: int, _total: int) -> None:
        now = time.perf_counter()
        begun.setdefault(name, now)
        seconds[name] = now - begun[name]

    return seconds, stage


@contextmanager
def resident() -> Iterator[list[float]]:
    """Peak private memory of this process in MiB during the block, without pages of files such as the vectors'."""
    peak, done, process = [0.0], threading.Event(), psutil.Process()

    def sample() -> None:
        while not done.wait(0.2):
            info = process.memory_info()
            peak[0] = max(peak[0], (info.rss - getattr(info, "shared", 0)) / 2**20)

    watch = threading.Thread(target=sample, daemon=True)
    watch.start()
    try:
        yield peak
    finally:
        done.set()
        watch.join()


def measure_pgretrieval(data: Vectors, best: list[list[str]], generators: Sequence[Generator]) -> list[Measured]:
    """One collection with all features, searched by each generator; its build includes all of them."""
    rows = []
    with serving() as database:
        collection, built = build(database, data, "measured", generator="proxy" if "proxy" in generators else "postings")
        for generator in generators:
            for k in DEPTHS:
                rows.append({"generator": generator, **search(collection, data, best, k, generator), **built})
                say(rows[-1])
            rows[-2]["search_many_per_second"] = search_many(collection, data)
    return rows


@contextmanager
def serving() -> Iterator[pgretrieval.RetrievalDatabase]:
    """A database in a new folder."""
    with tempfile.TemporaryDirectory(prefix="pgretrieval-bench-") as folder, pgretrieval.connect(data_dir=folder) as database:
        yield database


def peer(name: str, python: str, data: Vectors, best: list[list[str]], cache: Path) -> Measured:
    """One peer on the same vectors; an existing index is reused with its recorded build time."""
    measured: Measured = {"peer": name, "settings": []}
    for k in DEPTHS_OF.get(name, DEPTHS):
        results = cache / f"{name}-{data.folder.name}-{k}.json"
        index = cache / f"{name}-{data.folder.name}"
        command = [python, str(HERE / "peers" / SCRIPTS[name]), "--vectors", str(data.folder), "--index", str(index)]
        command += ["--results", str(results), "--threads", str(THREADS), "--k", str(k), "--build-limit", str(_BUILD_LIMIT)]
        outcome = subprocess.run([*command, "--settings", *SETTINGS[name]], check=False)
        if not results.exists():
            return {"peer": name, "failed": outcome.returncode}
        found = json.loads(results.read_text())
        measured |= {key: found.get(key) for key in ("peer", "build_seconds", "gave_up_after", "index_bytes")}
        for setting in found.get("settings", []):
            rankings = [[data.passages[place].id for place in ranking] for ranking in setting.pop("rankings")]
            measured["settings"].append({"k": k, **setting, **quality(data, best, rankings, k)})
    say(measured)
    return measured


def compare(data: Vectors, peers: dict[str, str], cache: Path, generators: Sequence[Generator]) -> Measured:
    """Measure pgretrieval, exact MaxSim and the peers on one set of vectors."""
    best = best_of_all(data)
    section: Measured = {
        "passages": len(data.passages),
        "tokens": len(data.documents),
        "queries": len(data.queries),
        "exact": {**exact_in_torch(data), "ndcg": quality(data, best, best, 10)["ndcg"]},
        "pgretrieval": measure_pgretrieval(data, best, generators),
    }
    if "tachiom" in peers:
        vectors.save_token_ids(data)
    section["peers"] = [peer(name, python, data, best, cache) for name, python in peers.items()]
    return section


def growth(cache: Path, size: int) -> Measured:
    """Build and search one size of collection with default options."""
    data = vectors.load_pile(cache, size) if size != SYNTHETIC else synthetic(cache)
    with serving() as database:
        collection, built = build(database, data, "growing")
        measured = search(collection, data, best_of_all(data), 10, None)
    searching = psutil.Process().memory_info().rss / 2**20
    row = {
        "passages": len(data.passages),
        "tokens": int(data.document_offsets[-1]),
        **built,
        **measured,
        "searching_mib": searching,
    }
    say(row)
    return row


class Drawn:
    """A matrix whose rows are those of another in a given order, read on demand."""

    def __init__(self, rows: Any, order: np.ndarray) -> None:
        self._rows, self._order = rows, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, part: slice) -> Any:
        return self._rows[self._order[part]]


def synthetic(cache: Path) -> Vectors:
    """A million short passages, each of tokens drawn at random from those of the pile."""
    whole = vectors.load_pile(cache)
    generator = np.random.default_rng(0)
    lengths = generator.integers(*SYNTHETIC_TOKENS, size=SYNTHETIC)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    drawn: Any = Drawn(whole.documents, generator.integers(len(whole.documents), size=int(offsets[-1])))
    passages = [Passage(f"synthetic/{number}", "synthetic") for number in range(SYNTHETIC)]
    folder = cache / f"synthetic-{SYNTHETIC}-{vectors.ENCODER}"
    folder.mkdir(exist_ok=True)
    return replace(whole, folder=folder, passages=passages, qrels={}, documents=drawn, document_offsets=offsets)


def client(url: str, folder: str, seconds: float, ready: Any, start: Any, answers: Any) -> None:
    """A client process that searches until the time is up, and reports its milliseconds."""
    queries = np.load(Path(folder) / "query_vectors.npy").astype(np.float32)
    lengths = np.load(Path(folder) / "query_lengths.npy")
    each = np.split(queries, np.cumsum(lengths)[:-1])
    with pgretrieval.connect(url) as database:
        collection = database.get_collection("measured")
        for query in each[:5]:
            collection.search(vectors=query, k=10)
        ready.release()
        start.wait()
        spent, until = [], time.perf_counter() + seconds
        while time.perf_counter() < until:
            started = time.perf_counter()
            collection.search(vectors=each[(len(spent) * 7) % len(each)], k=10)
            spent.append((time.perf_counter() - started) * 1e3)
    answers.put(spent)


def throughput(data: Vectors) -> list[Measured]:
    """Several client processes on one server, each with one query at a time."""
    rows = []
    spawn = multiprocessing.get_context("spawn")
    with serving() as database:
        build(database, data, "measured")
        for clients in CLIENTS:
            ready, start, answers = spawn.Semaphore(0), spawn.Event(), spawn.Queue()
            arguments = database.url, str(data.folder), _SECONDS_PER_LOAD, ready, start, answers
            processes = [spawn.Process(target=client, args=arguments) for _ in range(clients)]
            for process in processes:
                process.start()
            for _ in processes:
                ready.acquire()
            start.set()
            spent = [milliseconds for _ in processes for milliseconds in answers.get()]
            for process in processes:
                process.join()
            rows.append({"clients": clients, "queries_per_second": len(spent) / _SECONDS_PER_LOAD, **percentiles(spent)})
            say(rows[-1])
    return rows


def say(measured: Measured) -> None:
    """Report progress on standard error, one JSON object per line."""
    print(json.dumps(measured), file=sys.stderr, flush=True)


def parts(cache: Path, peers: dict[str, str]) -> dict[str, Callable[[], Any]]:
    """All measurements, in order."""
    both: tuple[Generator, ...] = ("proxy", "postings")
    return {
        "scifact": lambda: compare(vectors.load("scifact", cache), peers, cache, both),
        "pile-20000": lambda: compare(vectors.load_pile(cache, vectors.PART), peers, cache, both),
        "pile": lambda: compare(vectors.load_pile(cache), {}, cache, both),
        **{f"growth-{size}": partial(growth, cache, size) for size in (*GROWTH, SYNTHETIC)},
        "throughput": lambda: throughput(vectors.load("scifact", cache)),
    }


def main() -> None:
    """Run the selected measurements and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors and peers' indexes, kept between runs")
    parser.add_argument(
        "--peer", action="append", default=[], type=lambda text: tuple(text.split("=", 1)), metavar="NAME=PYTHON", help="repeatable"
    )
    parser.add_argument("--parts", nargs="+", choices=list(parts(Path(), {})), help="all by default")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / "speed.json"
    for name, measure in parts(options.cache, dict(options.peer)).items():
        if options.parts is None or name in options.parts:
            measured = measure()
            sections = json.loads(kept.read_text()) if kept.exists() else {}
            sections[name] = {"machine": {**machine.describe(), "encoder": vectors.ENCODER}, "measured": measured}
            kept.write_text(json.dumps(sections, indent=1) + "\n")
            (RESULTS / "speed.md").write_text(report.speed(sections))
    pictures.main()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
    main()
