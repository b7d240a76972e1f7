"""Common parts of the peers: arguments, vectors, timing, and a build in a separate process that can be stopped.

Only the standard library is imported at the top: numpy, torch and the engines read their thread counts from the environment
when they are loaded, so every script loads them inside functions, which run after `limit_threads`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    import numpy as np
    from numpy.typing import NDArray

WARMUP_QUERIES = 5
BUILD_RECORD = "build.json"
GAVE_UP = 3
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")

Widths = dict[str, float]


class Width(NamedTuple):
    """One number of a setting: its letter in the command's help, and the engine's name for it."""

    letter: str
    name: str
    kind: type[int] | type[float] = int


class Peer(ABC):
    """One engine. It is instantiated twice: in the building and in the searching process."""

    packages: ClassVar[tuple[str, ...]]  # packages whose versions identify an index
    widths: ClassVar[tuple[Width, ...]]
    required_widths: ClassVar[int]  # number of widths that a setting must contain; the engine chooses the others
    not_index_files: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, args: argparse.Namespace, dim: int) -> None:
        self.args = args
        self.dim = dim

    @classmethod  # noqa: B027
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Arguments that only this peer has."""

    @classmethod
    @contextlib.contextmanager
    def running(cls, args: argparse.Namespace) -> Iterator[None]:
        """Context around build and searches; empty by default."""
        yield

    @classmethod
    def source(cls, args: argparse.Namespace) -> dict[str, Any]:
        """Properties, besides the vectors, that must be equal to reuse an index."""
        return {package.replace("-", "_"): version(package) for package in cls.packages}

    @classmethod
    @abstractmethod
    def title(cls, source: dict[str, Any]) -> str:
        """Name and version, for the results."""

    def prepare(self) -> None:  # noqa: B027
        """Load the engine before the build is timed."""

    @abstractmethod
    def build(self, documents: list[NDArray[np.float16]]) -> None:
        """Build the index; this is timed."""

    @abstractmethod
    def load(self) -> None:
        """Open the index for searching."""

    @abstractmethod
    def use(self, setting: Widths, query: Any) -> Widths:
        """Set the widths of searches; returns all widths in force, including the engine's defaults."""

    @abstractmethod
    def name(self, widths: Widths) -> str:
        """The widths as text."""

    @abstractmethod
    def convert(self, query: NDArray[np.float16]) -> Any:
        """A query in the form that `search` takes; this is not timed."""

    @abstractmethod
    def search(self, query: Any, k: int) -> Any:
        """Search with one query; this is timed."""

    @abstractmethod
    def positions(self, found: Any) -> list[int]:
        """The positions of the documents that `search` found, best first."""

    def index_bytes(self) -> int:
        """Bytes of the index files."""
        ignored = {BUILD_RECORD, *self.not_index_files}
        files = (file for file in self.args.index.rglob("*") if file.is_file() and file.name not in ignored)
        return sum(file.stat().st_size for file in files)


def say(message: str) -> None:
    """Report progress on standard error."""
    print(message, file=sys.stderr, flush=True)


def form(peer: type[Peer]) -> str:
    """Format of a setting, such as "P/S" or "P[/C]"."""
    required = "/".join(width.letter for width in peer.widths[: peer.required_widths])
    return required + "".join(f"[/{width.letter}]" for width in peer.widths[peer.required_widths :])


def parse_setting(peer: type[Peer], text: str) -> Widths:
    """The widths of a setting; empty for "default"."""
    if text == "default":
        return {}
    parts = text.split("/")
    try:
        if not peer.required_widths <= len(parts) <= len(peer.widths):
            raise ValueError(text)
        widths: Widths = {width.name: width.kind(part) for width, part in zip(peer.widths, parts, strict=False)}
        if any(number < 0 or (number == 0 and isinstance(number, int)) for number in widths.values()):
            raise ValueError(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is neither "default" nor of the form {form(peer)}') from None
    return widths


def parse_arguments(peer: type[Peer], description: str) -> argparse.Namespace:
    """Arguments of all peers, and those of this one."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--vectors", type=Path, required=True, help="folder with the four .npy files")
    parser.add_argument("--index", type=Path, required=True, help="index folder; reused if built from the same vectors")
    parser.add_argument("--results", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument(
        "--settings", type=lambda text: parse_setting(peer, text), nargs="+", default=[{}], metavar=f"default|{form(peer)}"
    )
    parser.add_argument("--rebuild", action="store_true", help="build even if the index can be reused")
    parser.add_argument("--build-limit", type=float, metavar="SECONDS", help="give up a build that takes longer: exit code 3")
    parser.add_argument("--untimed", action="store_true", help="do not record the seconds of a build while the machine is in use")
    peer.add_arguments(parser)
    args = parser.parse_args()
    if args.threads < 1 or args.k < 1:
        parser.error("--threads and --k must be at least 1")
    if args.build_limit is not None and args.build_limit <= 0:
        parser.error("--build-limit must be more than 0")
    if args.index.resolve() in (args.vectors.resolve(), args.results.resolve().parent):
        parser.error("--index must be a folder of its own: a build deletes files in it")
    return args


def limit_threads(threads: int) -> None:
    """Limit every thread pool to `threads`, on the CPU; call before numpy, torch or an engine is imported."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def import_torch(threads: int) -> Any:
    """Import torch with a number of threads."""
    torch = import_module("torch")
    torch.set_num_threads(threads)
    return torch


def hide_scripts() -> None:
    """Remove this folder from the path: scripts here have the names of the packages that they import."""
    folder = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != folder]


def load_matrices(folder: Path, kind: str) -> list[NDArray[np.float16]]:
    """One (tokens, dim) array per document or query, each a view of the whole."""
    import numpy as np

    vectors = np.load(folder / f"{kind}_vectors.npy")
    lengths = np.load(folder / f"{kind}_lengths.npy")
    if vectors.ndim != 2 or vectors.dtype != np.float16:
        raise ValueError(f"{kind}_vectors.npy holds {vectors.dtype} {vectors.shape}: expected float16 (tokens, dim)")
    if lengths.size == 0 or lengths.min() < 1 or lengths.sum() != len(vectors):
        raise ValueError(f"{kind}_lengths.npy must be positive and sum to the {len(vectors)} rows of the vectors")
    return np.split(vectors, np.cumsum(lengths)[:-1])


def fingerprint(folder: Path) -> str:
    """SHA-256 over the two document files."""
    digest = hashlib.sha256()
    for name in ("document_vectors.npy", "document_lengths.npy"):
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def reusable(record_file: Path, source: dict[str, Any]) -> dict[str, Any] | None:
    """The build record of an index of the same vectors and versions, if there is one."""
    if not record_file.exists():
        return None
    record: dict[str, Any] = json.loads(record_file.read_text())
    return record if all(record.get(name) == value for name, value in source.items()) else None


def build_here(peer: type[Peer], args: argparse.Namespace, sender: Connection) -> None:
    """Build in this process; send the number of documents when the timing starts, and the seconds when it ends."""
    hide_scripts()
    with contextlib.redirect_stdout(sys.stderr):
        documents = load_matrices(args.vectors, "document")
        engine = peer(args, documents[0].shape[1])
        engine.prepare()
        say(f"building: {len(documents)} documents, {args.threads} threads")
        sender.send(len(documents))
        start = time.perf_counter()
        engine.build(documents)
        sender.send(time.perf_counter() - start)


def build_apart(peer: type[Peer], args: argparse.Namespace) -> tuple[int, float | None]:
    """Build in a separate process; returns documents and seconds, which are None if the limit was exceeded."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=build_here, args=(peer, args, sender))
    process.start()
    sender.close()
    try:
        documents: int = receiver.recv()
        if not receiver.poll(args.build_limit):
            return documents, None
        seconds: float = receiver.recv()
        process.join(60)  # it has only to exit
    except EOFError:
        process.join()
        sys.exit(f"the build failed: its process ended with exit code {process.exitcode}")
    else:
        return documents, seconds
    finally:
        process.kill()
        process.join()


def measure(engine: Peer, queries: Sequence[Any], k: int, setting: Widths) -> dict[str, Any]:
    """Run each query alone after a warm-up; latencies in milliseconds, rankings as document positions."""
    import numpy as np

    widths = engine.use(setting, queries[0])
    for query in queries[:WARMUP_QUERIES]:
        engine.search(query, k)
    latencies, rankings = [], []
    for query in queries:
        start = time.perf_counter()
        found = engine.search(query, k)
        latencies.append((time.perf_counter() - start) * 1000)
        rankings.append(engine.positions(found))
    p50, p95 = np.percentile(latencies, [50, 95]).tolist()
    name = engine.name(widths) if setting else f"default ({engine.name(widths)})"
    say(f"{name}: p50 {p50:.2f} ms, p95 {p95:.2f} ms")
    return {
        "name": name,
        **widths,
        "p50": round(p50, 3),
        "p95": round(p95, 3),
        "mean": round(sum(latencies) / len(latencies), 3),
        "rankings": rankings,
    }


def run(peer: type[Peer], description: str | None) -> None:
    """Build unless a matching index exists, search, and write the results."""
    args = parse_arguments(peer, (description or "").partition("\n")[0])
    load_before = os.getloadavg()[0]
    limit_threads(args.threads)
    signal.signal(signal.SIGTERM, stop)
    args.index.mkdir(parents=True, exist_ok=True)
    args.results.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(sys.stderr), peer.running(args):
        source = {**peer.source(args), "document_sha256": fingerprint(args.vectors)}
        results: dict[str, Any] = {
            "peer": peer.title(source),
            "torch": source.get("torch"),
            "threads": args.threads,
            "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
            "load_before": round(load_before, 2),
            "k": args.k,
        }
        record_file = args.index / BUILD_RECORD
        record = None if args.rebuild else reusable(record_file, source)
        if record is None:
            record_file.unlink(missing_ok=True)
            documents, seconds = build_apart(peer, args)
            record = {**source, "documents": documents, "build_threads": args.threads, "build_seconds": seconds}
            if seconds is None:
                say(f"gave up after {args.build_limit:g} s")
                kept = {name: record[name] for name in ("documents", "build_threads", "build_seconds")}
                results |= {**kept, "gave_up_after": args.build_limit, "index_bytes": None, "settings": []}
                args.results.write_text(json.dumps(results) + "\n")
                sys.exit(GAVE_UP)
            say(f"built in {seconds:.1f} s")
            record["build_seconds"] = None if args.untimed else round(seconds, 3)
            record_file.write_text(json.dumps(record, indent=2) + "\n")
        else:
            built = "not timed" if record["build_seconds"] is None else f"built in {record['build_seconds']:.1f} s"
            say(f"reusing the index, {built}, with {record['build_threads']} threads")
        hide_scripts()
        matrices = load_matrices(args.vectors, "query")
        engine = peer(args, matrices[0].shape[1])
        engine.load()
        queries = [engine.convert(matrix) for matrix in matrices]
        results |= {
            "documents": record["documents"],
            "build_threads": record["build_threads"],
            "build_seconds": record["build_seconds"],
            "index_bytes": engine.index_bytes(),
            "settings": [measure(engine, queries, args.k, setting) for setting in args.settings],
        }
        args.results.write_text(json.dumps(results) + "\n")


def stop(*_: object) -> NoReturn:
    """Exit on SIGTERM as on any error, so that no build process or server is left."""
    sys.exit(128 + signal.SIGTERM)
