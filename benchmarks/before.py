"""Searches beside those of an earlier commit, in alternating rounds of one run: medians, their ratio, fidelity, bytes, builds.

    git worktree add --detach FOLDER COMMIT
    python benchmarks/before.py --cache DIR --before FOLDER [--set NAME] [--passages N] [--queries N]
        [--rounds N] [--cases CASE ...]

`--set pile` takes all sets of the pile, and names joined by "+" these sets, in a seeded order of all their passages.
Each of both has a server of its own and builds the same collections of the same vectors. Writes
benchmarks/results/before.md, a section for each set.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pickle
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
SHORT = 9  # tokens of a short query
_WARM_UP = 10
_SECONDS_OF_CLIENTS = 5.0
_SEARCH = "select id from pgretrieval.search(%(name)s, %(query)s::vector[])"
_XTR = "select id from pgretrieval.xtr_search('tokens', %(query)s::vector[], imputation => %(imputation)s)"
CASES = {
    "k = 10": ("codes", 10),
    "k = 100": ("codes", 100),
    "nine tokens, k = 10": ("codes", 10),
    "exact in torch, nine tokens": ("exact", 10),
    "kept vectors, k = 10": ("kept", 10),
    "SQL over codes": ("codes", 10),
    "SQL with kept vectors": ("kept", 10),
    "words": ("codes", 10),
    "hybrid, three parts": ("kept", 10),
    "XTR": ("tokens", 10),
    "XTR, warp": ("tokens", 10),
    "XTR in SQL": ("tokens", 10),
    "XTR in SQL, warp": ("tokens", 10),
    "2 clients": ("codes", 10),
    "8 clients": ("codes", 10),
}
"""The collection that each case searches, and how many hits it returns."""


class Measured:
    """Collections of one checkout, and a way to measure each case."""

    def __init__(self, database: Any, connection: Any, data: dict[str, Any]) -> None:
        from pgretrieval.sqlalchemy import vector_array

        self._connection = connection
        self._data = data
        self._sql = [vector_array(query) for query in data["queries"]]
        self._vectors = np.load(data["documents"], mmap_mode="r")
        self._database = database
        self._collections: dict[str, Any] = {}
        self.built: dict[str, list[float]] = {}

    def build(self, name: str) -> None:
        """Build a collection, and keep seconds and bytes a token; "exact" is all vectors in memory."""
        if name == "exact":
            self._everything = np.asarray(self._vectors, dtype=np.float32), self._data["offsets"]
            return
        options = {"codes": {}, "kept": {"keep_vectors": True, "dense": "kept"}, "tokens": {"scorer": "xtr"}}[name]
        data = self._data
        collection = self._database.create_collection(name, **options)
        started = time.perf_counter()
        dense = {"dense": data["dense"]} if name == "kept" else {}
        collection.add(data["passages"], vectors=self._documents(), **dense)
        collection.build()
        seconds = time.perf_counter() - started
        stats = collection.stats()
        held = sum(size for table, size in stats["bytes"].items() if table != "passage") + stats["index_bytes"]["passage"]
        self.built[name] = [seconds, held / stats["tokens"]]
        self._collections[name] = collection

    def _documents(self) -> Iterator[Any]:
        """The vectors of each passage, read on demand."""
        for start, end in itertools.pairwise(self._data["offsets"].tolist()):
            yield np.asarray(self._vectors[start:end], dtype=np.float32)

    def _search(self, case: str, number: int) -> list[str]:
        """Ids of one query's hits."""
        name, k = CASES[case]
        query = self._data["queries"][number]
        if name == "exact":
            return self._exact(query[:SHORT], k)
        collection = self._collections[name]
        if case == "words":
            return [hit.id for hit in collection.text_search(self._data["texts"][number], k=k)]
        if case == "hybrid, three parts":
            text, dense = self._data["texts"][number], self._data["query_dense"][number]
            return [hit.id for hit in collection.hybrid_search(text, vectors=query, dense=dense, k=k)]
        if case.startswith("XTR in SQL"):
            parameters = {"query": self._sql[number], "imputation": "warp" if "warp" in case else "kth"}
            return [row[0] for row in self._connection.execute(_XTR, parameters).fetchall()]
        if case.startswith("SQL"):
            return [row[0] for row in self._connection.execute(_SEARCH, {"name": name, "query": self._sql[number]}).fetchall()]
        options = {"imputation": "warp"} if case == "XTR, warp" else {}
        return [hit.id for hit in collection.search(vectors=query[: SHORT if "nine" in case else None], k=k, **options)]

    def _exact(self, query: Any, k: int) -> list[str]:
        """The best of all passages by products in torch."""
        from pgretrieval.numerics.maxsim import maxsim_many

        scores = maxsim_many([query], *self._everything)[0]
        return [self._data["passages"][place]["id"] for place in np.argpartition(-scores, k)[:k]]

    def measure(self, case: str, numbers: range) -> dict[str, Any]:
        """The median milliseconds of some queries, one after the other, and their hits; or milliseconds a query of some clients."""
        if case.endswith("clients"):
            return {"ms": self._clients(int(case.split()[0])), "ids": None}
        others = [number for number in range(len(self._data["queries"])) if number not in numbers]
        for number in (others or numbers)[:_WARM_UP]:
            self._search(case, number)
        spent, ids = [], []
        for number in numbers:
            started = time.perf_counter()
            ids.append(self._search(case, number))
            spent.append((time.perf_counter() - started) * 1e3)
        return {"ms": float(np.median(spent)), "ids": ids}

    def _clients(self, count: int) -> float:
        """Milliseconds a search, over all clients: threads that share the handle."""
        until = time.perf_counter() + _SECONDS_OF_CLIENTS
        done = [0] * count

        def work(client: int) -> None:
            while time.perf_counter() < until:
                self._search("k = 10", (done[client] * count + client) % len(self._data["queries"]))
                done[client] += 1

        threads = [threading.Thread(target=work, args=[client]) for client in range(count)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (time.perf_counter() - started) * 1e3 / sum(done)


def serve(vectors: Path, folder: str, cases: list[str]) -> None:
    """Build with the checkout on the path; measure a case for each line that is read."""
    import psycopg

    import pgretrieval

    data = pickle.loads(vectors.read_bytes())
    with pgretrieval.connect(data_dir=folder) as database, psycopg.connect(database.url, autocommit=True) as connection:
        measured = Measured(database, connection, data)
        for name in dict.fromkeys(CASES[case][0] for case in cases):
            measured.build(name)
        sys.stdout.write(json.dumps(measured.built) + "\n")
        sys.stdout.flush()
        for line in sys.stdin:
            case, start, end = line.strip().rsplit(" ", 2)
            sys.stdout.write(json.dumps(measured.measure(case, range(int(start), int(end)))) + "\n")
            sys.stdout.flush()


def prepare(name: str, cache: Path, passages: int | None, queries: int, folder: Path) -> tuple[Path, dict[int, list[list[str]]]]:
    """Write what both build of; return the file, and the exact best passages by k (None for short queries)."""
    from benchmarks import vectors
    from benchmarks.run import unit
    from pgretrieval.numerics.maxsim import maxsim_many

    data = vectors.load_joined(name, cache, passages)
    texts = vectors.query_texts(name)
    count = min(passages or len(data.passages), len(data.passages))
    chosen = np.random.default_rng(0).permutation(len(data.queries))[:queries].tolist()
    offsets = data.document_offsets[: count + 1]
    asked = [data.queries[number] for number in chosen]
    ids = [passage.id for passage in data.passages[:count]]

    def best(some: list[Any]) -> list[list[str]]:
        scores = maxsim_many(some, data.documents, offsets)
        return [[ids[place] for place in np.argsort(-row, kind="stable")[:100]] for row in scores]

    whole, short = best(asked), best([query[:SHORT] for query in asked])
    exact = {10: [hits[:10] for hits in whole], 100: whole, SHORT: [hits[:10] for hits in short]}

    def pooled(arrays: Iterable[Any]) -> Any:
        return unit(np.stack([array.mean(axis=0, dtype=np.float32) for array in arrays]))

    kept = {
        "passages": [vars_of(passage) for passage in data.passages[:count]],
        "documents": data.folder / vectors.DOCUMENTS,
        "offsets": offsets,
        "queries": asked,
        "texts": [texts[data.query_ids[number]] for number in chosen],
        "dense": pooled(itertools.islice(data.arrays(), count)),
        "query_dense": pooled(asked),
    }
    file = folder / "data.pickle"
    file.write_bytes(pickle.dumps(kept))
    return file, exact


def vars_of(passage: Any) -> dict[str, Any]:
    """A passage as both checkouts take it."""
    return {"id": passage.id, "text": passage.text, "title": passage.title}


def table(built: list[dict[str, list[float]]], found: dict[str, list[list[Any]]], exact: dict[int, list[list[str]]]) -> list[str]:
    """Rows of the page: the least median of each, the ratio with its range over the rounds, fidelity of both."""
    lines = ["| case | before, ms | now, ms | now / before | rounds | fidelity before | now |", "|---|---|---|---|---|---|---|"]
    for case, rounds in found.items():
        before, now = ([one[side]["ms"] for one in rounds] for side in (0, 1))
        ratios = [second / first for first, second in zip(before, now, strict=True)]
        lines.append(
            f"| {case} | {min(before):.1f} | {min(now):.1f} | {np.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} | "
            + " | ".join(agreement(case, rounds, side, exact) for side in (0, 1))
            + " |"
        )
    lines += ["", "| collection | build before, s | now, s | bytes a token before | now |", "|---|---|---|---|---|"]
    for name in built[0]:
        (seconds, size), (seconds_now, size_now) = built[0][name], built[1][name]
        lines.append(f"| {name} | {seconds:.1f} | {seconds_now:.1f} | {size:.1f} | {size_now:.1f} |")
    return lines


def agreement(case: str, rounds: list[list[Any]], side: int, exact: dict[int, list[list[str]]]) -> str:
    """The share of the exact best passages that were found, over all rounds; for other scores, of what was found before."""
    if rounds[0][side]["ids"] is None:
        return ""
    late = case.startswith(("k =", "nine", "kept", "SQL", "exact"))
    ids, before = ([hits for one in rounds for hits in one[which]["ids"]] for which in (side, 0))
    best = exact[SHORT if "nine" in case else CASES[case][1]][: len(ids)] if late else before
    share = np.mean([len({*some} & {*those}) / max(len(those), 1) for some, those in zip(ids, best, strict=True)])
    return f"{share:.3f}" if late else f"{share:.3f} of before"


def main() -> None:
    """Measure and write a section."""
    if sys.argv[1:2] == ["--serve"]:
        return serve(Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
    sys.path.insert(0, str(HERE.parents[1]))
    import torch

    from benchmarks import machine
    from benchmarks.checkout import commit_of, running
    from benchmarks.run import RESULTS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the earlier commit")
    parser.add_argument("--set", default="scifact", help="name of the test collection")
    parser.add_argument("--passages", type=int, help="so many of the first passages; default: all")
    parser.add_argument("--queries", type=int, default=100, help="of a round; each round has others")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--dry", action="store_true", help="print the table only")
    options = parser.parse_args()
    commit = commit_of(options.before)
    with tempfile.TemporaryDirectory(prefix="pgretrieval-bench-") as folder:
        file, exact = prepare(options.set, options.cache, options.passages, options.queries * options.rounds, Path(folder))
        each = len(exact[10]) // options.rounds
        found: dict[str, list[list[Any]]] = {case: [] for case in options.cases}
        with (
            running(HERE, options.before, file, *options.cases) as (built_before, before),
            running(HERE, HERE.parents[1], file, *options.cases) as (built_now, now),
        ):
            for round_number in range(options.rounds):
                start = round_number * each
                for case in options.cases:
                    line = f"{case} {start} {start + each}"
                    found[case].append([before(line), now(line)])
                    print(case, *(round(side["ms"], 2) for side in found[case][-1]), flush=True)
    rows = table([built_before, built_now], found, exact)
    print("\n".join(rows))
    if options.dry:
        return None
    kept = RESULTS / "before.json"
    sections = json.loads(kept.read_text()) if kept.exists() else {}
    instructions = torch.backends.cpu.get_cpu_capability()
    sections[f"{options.set}, {instructions}"] = [
        f"## {options.set}, {options.passages or 'all'} passages, {instructions}",
        "",
        f"Before: {commit}. {options.rounds} rounds of {each} queries, no query twice, {os.environ['OMP_NUM_THREADS']} threads.",
        "",
        machine.as_lines(machine.describe()),
        "",
        *rows,
        "",
    ]
    kept.write_text(json.dumps(sections, indent=1) + "\n")
    head = [
        "# Before and now",
        "",
        "`python benchmarks/before.py --cache DIR --before FOLDER`: milliseconds are the least of the rounds' medians, ratios",
        "the median of the rounds' with their range. Fidelity is the share of the exact ten (or hundred) best by MaxSim over",
        "unquantised vectors; for words, hybrid and XTR the share of what was found before. Clients are threads of one process",
        "that share a handle; their milliseconds are those of the run over the searches done. ATEN_CPU_CAPABILITY=avx2 and",
        "ONEDNN_MAX_CPU_ISA=AVX2 keep torch and the compiled code from using AVX-512.",
        "",
    ]
    (RESULTS / "before.md").write_text("\n".join([*head, *(line for section in sections.values() for line in section)]))
    return None


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
