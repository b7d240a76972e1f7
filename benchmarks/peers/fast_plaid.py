"""Build and query a fast-plaid index over stored token vectors, and write latencies and rankings as JSON.

Runs in an environment of its own (see README.md here): it imports nothing from pgretrieval. numpy, torch and fast_plaid
are imported inside functions, after `limit_threads`, because their thread pools read the environment when loaded.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import os
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from fast_plaid.search import FastPlaid

NBITS = 4
WARMUP_QUERIES = 5
BUILD_RECORD = "build.json"
NOT_INDEX_FILES = {BUILD_RECORD, "plaid.lock"}
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


@dataclass(frozen=True)
class Setting:
    """How wide one search is; None leaves a width to fast-plaid's own default."""

    n_ivf_probe: int | None = None
    n_full_scores: int | None = None

    @classmethod
    def parse(cls, text: str) -> Setting:
        """Read "default" or "P/S": probes per query token / passages kept for full scores."""
        if text == "default":
            return cls()
        probes, _, scores = text.partition("/")
        if not (probes.isdecimal() and scores.isdecimal() and int(probes) > 0 and int(scores) > 0):
            raise argparse.ArgumentTypeError(f'{text!r} is neither "default" nor "P/S" such as "4/1024"')
        return cls(int(probes), int(scores))

    def options(self) -> dict[str, int]:
        """Keyword arguments of `FastPlaid.search`; none for the defaults."""
        widths = {"n_ivf_probe": self.n_ivf_probe, "n_full_scores": self.n_full_scores}
        return {name: width for name, width in widths.items() if width is not None}


def say(message: str) -> None:
    """Report progress on standard error."""
    print(message, file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--vectors", type=Path, required=True, help="folder with the four .npy files")
    parser.add_argument("--index", type=Path, required=True, help="index folder; reused if built from the same vectors")
    parser.add_argument("--results", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--settings", type=Setting.parse, nargs="+", default=[Setting()], metavar="default|P/S")
    parser.add_argument("--rebuild", action="store_true", help="build even if the index can be reused")
    args = parser.parse_args()
    if args.threads < 1 or args.k < 1:
        parser.error("--threads and --k must be at least 1")
    # fast-plaid deletes every .npy and .json file of the index folder before it builds
    if args.index.resolve() in (args.vectors.resolve(), args.results.resolve().parent):
        parser.error("--index must be a folder of its own: a build deletes the .npy and .json files in it")
    return args


def limit_threads(threads: int) -> None:
    """Hold every thread pool to `threads`; call before numpy, torch or fast_plaid is imported."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    import torch

    torch.set_num_threads(threads)


def fast_plaid_class() -> type[FastPlaid]:
    """Import the installed package: this file bears its name and lies first on the path, so its folder is taken off."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
    from fast_plaid.search import FastPlaid

    return FastPlaid


def load_matrices(folder: Path, kind: str) -> list[torch.Tensor]:
    """One (tokens, dim) float16 tensor per document or query, each a view of the whole array."""
    import numpy as np
    import torch

    vectors = np.load(folder / f"{kind}_vectors.npy")
    lengths = np.load(folder / f"{kind}_lengths.npy")
    if vectors.ndim != 2 or vectors.dtype != np.float16:
        raise ValueError(f"{kind}_vectors.npy holds {vectors.dtype} {vectors.shape}: expected float16 (tokens, dim)")
    if lengths.size == 0 or lengths.min() < 1 or lengths.sum() != len(vectors):
        raise ValueError(f"{kind}_lengths.npy must be positive and sum to the {len(vectors)} rows of the vectors")
    return list(torch.from_numpy(vectors).split(lengths.tolist()))


def fingerprint(folder: Path) -> str:
    """SHA-256 over the two document files."""
    digest = hashlib.sha256()
    for name in ("document_vectors.npy", "document_lengths.npy"):
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def build(index: FastPlaid, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Build the index unless the one in `folder` is of the same vectors and versions; return its build record."""
    source = {
        "fast_plaid": version("fast-plaid"),
        "torch": version("torch"),
        "nbits": NBITS,
        "document_sha256": fingerprint(args.vectors),
    }
    record_file = folder / BUILD_RECORD
    if record_file.exists() and not args.rebuild:
        record: dict[str, Any] = json.loads(record_file.read_text())
        if all(record.get(name) == value for name, value in source.items()):
            say(f"reusing the index built in {record['build_seconds']:.1f} s with {record['build_threads']} threads")
            return record
    record_file.unlink(missing_ok=True)
    documents = load_matrices(args.vectors, "document")
    say(f"building: {len(documents)} documents, {NBITS} bits, {args.threads} threads")
    start = time.perf_counter()
    index.create(documents_embeddings=documents, nbits=NBITS)
    seconds = time.perf_counter() - start
    say(f"built in {seconds:.1f} s")
    record = {**source, "documents": len(documents), "build_threads": args.threads, "build_seconds": seconds}
    record_file.write_text(json.dumps(record, indent=2) + "\n")
    return record


def index_bytes(folder: Path) -> int:
    """Bytes of the index files, without the lock and the build record."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.name not in NOT_INDEX_FILES)


def measure(index: FastPlaid, queries: list[torch.Tensor], k: int, setting: Setting) -> dict[str, Any]:
    """Run each (tokens, dim) query alone after a warm-up; latencies in milliseconds, rankings as document positions."""
    import numpy as np

    defaults = {name: parameter.default for name, parameter in inspect.signature(index.search).parameters.items()}
    widths = {name: setting.options().get(name, defaults[name]) for name in ("n_ivf_probe", "n_full_scores")}
    name = f"probe {widths['n_ivf_probe']} / {widths['n_full_scores']} scores"

    def search(query: torch.Tensor) -> list[tuple[int, float]]:
        return index.search(queries_embeddings=query[None], top_k=k, show_progress=False, n_processes=1, **setting.options())[0]

    for query in queries[:WARMUP_QUERIES]:
        search(query)
    latencies, rankings = [], []
    for query in queries:
        start = time.perf_counter()
        ranking = search(query)
        latencies.append((time.perf_counter() - start) * 1000)
        rankings.append([passage for passage, _ in ranking])
    p50, p95 = np.percentile(latencies, [50, 95]).tolist()
    say(f"{name}: p50 {p50:.2f} ms, p95 {p95:.2f} ms")
    return {
        "name": name if setting.options() else f"default ({name})",
        **widths,
        "p50": round(p50, 3),
        "p95": round(p95, 3),
        "mean": round(sum(latencies) / len(latencies), 3),
        "rankings": rankings,
    }


def main() -> None:
    args = parse_arguments()
    load_before = os.getloadavg()[0]
    limit_threads(args.threads)
    queries = load_matrices(args.vectors, "query")
    index = fast_plaid_class()(index=str(args.index), device="cpu")
    record = build(index, args.index, args)
    results = {
        "peer": f"fast-plaid {'.'.join(version('fast-plaid').split('.')[:3])}",
        "torch": record["torch"],
        "threads": args.threads,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "load_before": round(load_before, 2),
        "k": args.k,
        "documents": record["documents"],
        "build_threads": record["build_threads"],
        "build_seconds": round(record["build_seconds"], 3),
        "index_bytes": index_bytes(args.index),
        "settings": [measure(index, queries, args.k, setting) for setting in args.settings],
    }
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
