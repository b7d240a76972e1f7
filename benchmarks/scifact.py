"""Quality, fidelity, storage and milliseconds on SciFact, with fast-plaid on the same vectors in the same run.

    python benchmarks/scifact.py --cache DIR [--fast-plaid PYTHON-OF-ITS-ENVIRONMENT]

Writes benchmarks/results/scifact.json and scifact.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import pgretrieval
from benchmarks import machine, vectors
from pgretrieval.evaluate.fidelity import fidelity
from pgretrieval.evaluate.metrics import mean_metrics, parse_metrics, run_from_ranking
from pgretrieval.evaluate.timing import percentiles
from pgretrieval.scoring.maxsim import maxsim_many
from pgretrieval.types import Levels

HERE = Path(__file__).resolve().parent
NDCG = parse_metrics("nDCG@10")
PEER_SETTINGS = ("default", "1/1024", "4/1024")
VARIANTS: tuple[tuple[int, Levels], ...] = (
    (4, "lloyd-max"),  # the default
    (2, "lloyd-max"),
    (1, "lloyd-max"),
    (4, "quantile"),
    (2, "quantile"),
    (1, "quantile"),
)
_ROUNDS = 2


def ndcg(data: vectors.Vectors, rankings: Sequence[Sequence[str]]) -> float:
    """nDCG@10 over all judged queries."""
    run = {query_id: run_from_ranking(ids[:10]) for query_id, ids in zip(data.query_ids, rankings, strict=True)}
    return mean_metrics(NDCG, data.qrels, {10: run})["nDCG@10"]


def exact(data: vectors.Vectors) -> tuple[list[list[str]], list[float]]:
    """The exact top 100 of every query, and the milliseconds of one query over everything."""
    spent, best = [], []
    documents = data.documents[:].astype(np.float32)
    for query in data.queries:
        started = time.perf_counter()
        scores = maxsim_many([query], documents, data.document_offsets)[0]
        order = np.argsort(-scores, kind="stable")[:100]
        spent.append((time.perf_counter() - started) * 1e3)
        best.append([data.passages[position].id for position in order.tolist()])
    return best, spent


def measure_bits(
    database: pgretrieval.RetrievalDatabase, data: vectors.Vectors, best: list[list[str]], bits: int, levels: Levels
) -> dict[str, Any]:
    """Build one collection and search it with its defaults."""
    collection = database.create_collection(f"scifact-{bits}-{levels}", bits=bits, levels=levels)
    started = time.perf_counter()
    collection.add(data.passages, vectors=data.arrays())
    added = time.perf_counter() - started
    collection.build()
    built = time.perf_counter() - started
    stats = collection.stats()
    return {
        "bits": bits,
        "levels": levels,
        "add_seconds": added,
        "add_and_build_seconds": built,
        "storage": storage(stats),
        **search(collection, data, best, 10),
        **({"at 100": search(collection, data, best, 100)} if (bits, levels) == VARIANTS[0] else {}),
    }


def storage(stats: dict[str, Any]) -> dict[str, Any]:
    """Bytes of everything but the passages' texts, over tokens * (4 + dim * bits / 8)."""
    held = {table: size for table, size in stats["bytes"].items() if table != "passage"}
    held["passage indexes"] = stats["index_bytes"]["passage"]
    payload = stats["tokens"] * (4 + stats["dim"] * stats["bits"] / 8)
    return {"bytes": held, "ratio": sum(held.values()) / payload}


def search(collection: Any, data: vectors.Vectors, best: list[list[str]], k: int) -> dict[str, Any]:
    """Every query `_ROUNDS` times, one after the other, with vectors given; stages are medians over queries."""
    for query in data.queries[:5]:
        collection.search(vectors=query, k=k)
    spent, rankings = [], []
    for _ in range(_ROUNDS):
        rankings = []
        for query in data.queries:
            started = time.perf_counter()
            hits = collection.search(vectors=query, k=k)
            spent.append((time.perf_counter() - started) * 1e3)
            rankings.append([hit.id for hit in hits])
    explained = [collection.explain(vectors=query, k=k) for query in data.queries[:100]]
    stages = {
        stage: float(np.median([one.milliseconds.get(stage, 0.0) for one in explained])) for stage in explained[0].milliseconds
    }
    return {
        **percentiles(spent),
        "ndcg": ndcg(data, rankings),
        "fidelity": fidelity(rankings, best, k),
        "stages": stages,
        "postings_read": float(np.median([one.postings_read for one in explained])),
        "bytes_moved": float(np.median([one.bytes_moved for one in explained])),
    }


def measure_peer(python: str, data: vectors.Vectors, best: list[list[str]], cache: Path) -> dict[str, Any]:
    """fast-plaid in its own environment, on the same vectors: with OpenMP as it comes, and with threads that do not spin."""
    results = cache / "fast-plaid-results.json"
    command = [python, str(HERE / "peers" / "fast_plaid.py"), "--vectors", str(data.folder)]
    command += ["--index", str(cache / "fast-plaid-scifact-minilm"), "--results", str(results)]
    command += ["--threads", "2", "--k", "10", "--settings", *PEER_SETTINGS]
    settings: list[dict[str, Any]] = []
    measured: dict[str, Any] = {}
    as_it_comes = {name: setting for name, setting in os.environ.items() if name != "OMP_WAIT_POLICY"}
    for policy, environment in (("as it comes", as_it_comes), ("passive", as_it_comes | {"OMP_WAIT_POLICY": "PASSIVE"})):
        subprocess.run(command, check=True, env=environment)
        measured = json.loads(results.read_text())
        for setting in measured["settings"]:
            rankings = [[data.passages[position].id for position in ranking] for ranking in setting.pop("rankings")]
            found = {"ndcg": ndcg(data, rankings), "fidelity": fidelity(rankings, best, 10), "openmp": policy}
            settings.append(setting | found)
    return measured | {"settings": settings}


def table(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    lines = [
        "# SciFact",
        "",
        "`python benchmarks/scifact.py --cache DIR --fast-plaid PYTHON`; k = 10, vectors given, two threads, one run.",
        "",
        machine.as_lines(report["machine"]),
        "",
        "| engine | nDCG@10 | fidelity@10 | p50 ms | p95 ms | build s | bytes / payload |",
        "|---|---|---|---|---|---|---|",
        f"| exact MaxSim (torch, unquantised) | {report['exact']['ndcg']:.4f} | 1 | {report['exact']['p50']:.1f} | "
        f"{report['exact']['p95']:.1f} | - | - |",
    ]
    lines += [
        f"| pgretrieval, {row['bits']} bits, {row['levels']} | {row['ndcg']:.4f} | {row['fidelity']:.4f} | {row['p50']:.1f} | "
        f"{row['p95']:.1f} | {row['add_and_build_seconds']:.0f} | {row['storage']['ratio']:.2f} |"
        for row in report["pgretrieval"]
    ]
    if peer := report.get("peer"):
        lines += [
            f"| {peer['peer']}, 4 bits, {row['name']}; OpenMP {row['openmp']} | "
            f"{row['ndcg']:.4f} | {row['fidelity']:.4f} | {row['p50']:.1f} | "
            f"{row['p95']:.1f} | {peer['build_seconds']:.0f} | |"
            for row in peer["settings"]
        ]
    default = report["pgretrieval"][0]
    deep = default["at 100"]
    lines += [
        "",
        f"4 bits, k = 100: fidelity@100 {deep['fidelity']:.4f}, p50 {deep['p50']:.1f} ms, p95 {deep['p95']:.1f} ms.",
        "",
        "Stages of the default search (median ms): "
        + ", ".join(f"{stage} {spent:.1f}" for stage, spent in default["stages"].items() if stage != "encode")
        + f"; {default['postings_read']:,.0f} postings read, {default['bytes_moved'] / 1e6:.1f} MB of codes moved.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    parser.add_argument(
        "--fast-plaid", metavar="PYTHON", help="python of an environment with fast-plaid (benchmarks/peers/README.md)"
    )
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    data = vectors.load("scifact", options.cache)
    best, spent = exact(data)
    report: dict[str, Any] = {"machine": machine.describe(), "exact": {"ndcg": ndcg(data, best), **percentiles(spent)}}
    with tempfile.TemporaryDirectory(prefix="pgretrieval-bench-") as folder, pgretrieval.connect(data_dir=folder) as database:
        report["pgretrieval"] = []
        for bits, levels in VARIANTS:
            report["pgretrieval"].append(measure_bits(database, data, best, bits, levels))
            print(json.dumps(report["pgretrieval"][-1]), file=sys.stderr)
        if options.fast_plaid:
            report["peer"] = measure_peer(options.fast_plaid, data, best, options.cache)
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "scifact.json").write_text(json.dumps(report, indent=1) + "\n")
    (results / "scifact.md").write_text(table(report))
    print(table(report))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
