"""The service beside the library: milliseconds of a search, searches a second, and memory under load.

    python benchmarks/service.py [--passages N] [--rounds N] [--seconds S] [--load S] [--clients N …]

Indexes docstrings of the Python standard library in an embedded Postgres, and searches for their first lines: in threads of one
process by the library, and by HTTP from threads of another process, with queries of waiting requests encoded in one call and, for
comparison, one by one. The ways alternate in rounds. `--load` then keeps the service busy with sixteen clients and reads its
memory. Writes benchmarks/results/service.md.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pgretrieval
from benchmarks import machine
from pgretrieval.corpus.docstrings import standard_library_passages

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).resolve().parent.parent
LIBRARY, TOGETHER, SINGLY = "library", "service", "service, queries encoded one by one"
WORKS = ("encode", "late", "hybrid")
K = 10
START_UP = """
import sys
sys.path.insert(0, {root!r})
if {singly}:
    from pgretrieval.encode import shared
    def alone(model, method, asked):
        batch = shared._Batch()
        batch.asked.append(asked)
        return batch
    shared.SharedModel._join = alone
sys.argv = ["pgretrieval", "--database", {url!r}, "serve", "--port", "0"]
from pgretrieval.cli.main import main
main()
"""
CLIENT = [sys.executable, __file__, "--client"]


@dataclass
class Service:
    """A running service, and the seconds until it was ready."""

    port: int
    pid: int
    ready: float

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read().decode()
        connection.close()
        return answer.status, content

    def memory(self) -> float:
        """Return the resident memory in MiB."""
        lines = self.get("/metrics")[1].splitlines()
        return float(next(line for line in lines if line.startswith("process_resident_memory_bytes")).split()[1]) / 2**20


@contextmanager
def serving(url: str, *, singly: bool = False) -> Iterator[Service]:
    """Run the service in a process of its own."""
    started = time.perf_counter()
    code = START_UP.format(root=str(ROOT), url=url, singly=singly)
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stderr=subprocess.PIPE, text=True)
    log: Any = process.stderr
    port = int(log.readline().rstrip().rstrip("/").rpartition(":")[2])
    threading.Thread(target=log.read, daemon=True).start()
    service = Service(port, process.pid, 0.0)
    while True:
        try:
            if service.get("/readyz")[0] == 200:
                break
        except OSError:
            pass
        time.sleep(0.02)
    service.ready = time.perf_counter() - started
    try:
        yield service
    finally:
        process.terminate()
        process.wait()


def many(search: Callable[[str], None], queries: list[str], clients: int, seconds: float) -> dict[str, Any]:
    """Search from so many threads for a time. Returns the milliseconds of each search, and what failed."""
    spent: list[list[float]] = [[] for _ in range(clients)]
    failed: list[str] = []
    begin = threading.Barrier(clients)
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        begin.wait()
        place = number * len(queries) // clients
        while time.perf_counter() < end:
            started = time.perf_counter()
            try:
                search(queries[place % len(queries)])
            except Exception as error:
                failed.append(repr(error))
            spent[number].append(1e3 * (time.perf_counter() - started))
            place += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - started
    return {"ms": sorted(each for one in spent for each in one), "wall": wall, "failed": failed}


def client(asked: dict[str, Any]) -> dict[str, Any]:
    """Search by HTTP, each thread over a connection of its own."""
    local = threading.local()

    def search(query: str) -> None:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection("127.0.0.1", asked["port"], timeout=60)
        path, body = "/v1/collections/docs/search", {"query": query, "k": K, "mode": asked["work"]}
        if asked["work"] == "encode":
            path, body = "/v1/encode", {"collection": "docs", "queries": [query]}
        local.connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = local.connection.getresponse()
        content = json.loads(answer.read())
        if answer.status != 200 or len(content.get("hits", content.get("literals"))) not in (1, K):
            raise ValueError(f"{answer.status}: {content}")

    return many(search, asked["queries"], asked["clients"], asked["seconds"])


def by_http(service: Service, work: str, queries: list[str], clients: int, seconds: float) -> dict[str, Any]:
    """Run `client` in a process of its own."""
    asked = {"port": service.port, "work": work, "queries": queries, "clients": clients, "seconds": seconds}
    done = subprocess.run(CLIENT, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def compare(url: str, queries: list[str], clients: list[int], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Return a row for each way, mode and number of clients."""
    found: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    with (
        pgretrieval.connect(url=url, connections=max(clients)) as database,
        serving(url) as together,
        serving(url, singly=True) as singly,
    ):
        docs = database.get_collection("docs")
        library = {
            "encode": docs.encoder.encode_query,
            "late": lambda query: docs.search(query, K),
            "hybrid": lambda query: docs.hybrid_search(query, K),
        }
        for work in WORKS:
            many(library[work], queries, 1, 0.5)
            for service in (together, singly):
                by_http(service, work, queries, 1, 0.5)
        for _ in range(rounds):
            for work in WORKS:
                for number in clients:
                    found.setdefault((LIBRARY, work, number), []).append(many(library[work], queries, number, seconds))
                    for way, service in ((TOGETHER, together), (SINGLY, singly)):
                        found.setdefault((way, work, number), []).append(by_http(service, work, queries, number, seconds))
    return [_row(*key, measured) for key, measured in found.items()]


def _row(way: str, work: str, clients: int, measured: list[dict[str, Any]]) -> dict[str, Any]:
    spent = sorted(each for one in measured for each in one["ms"])
    return {
        "way": way,
        "work": work,
        "clients": clients,
        "p50": statistics.median(spent),
        "p95": spent[int(0.95 * (len(spent) - 1))],
        "rate": len(spent) / sum(one["wall"] for one in measured),
        "failed": sum(len(one["failed"]) for one in measured),
    }


def load(url: str, queries: list[str], clients: int, seconds: float) -> dict[str, Any]:
    """Keep the service busy and read its memory."""
    with serving(url) as service:
        by_http(service, "hybrid", queries, clients, 5)
        before = service.memory()
        memory: list[float] = []
        done = threading.Event()

        def watch() -> None:
            while not done.wait(seconds / 12):
                memory.append(service.memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        measured = by_http(service, "hybrid", queries, clients, seconds)
        done.set()
        watcher.join()
        row = _row(TOGETHER, "hybrid", clients, [measured])
        return {**row, "requests": len(measured["ms"]), "before": before, "memory": memory, "ready": service.ready}


def _fill(database: pgretrieval.RetrievalDatabase, passages: int) -> list[str]:
    """Index docstrings; return queries: first lines of others."""
    documents = list(islice(standard_library_passages(), 2 * passages))
    docs = database.create_collection("docs", encoder="minilm")
    docs.add(documents[::2])
    docs.build()
    lines = [next(line for line in passage.text.splitlines() if line.strip()).strip() for passage in documents[1::2]]
    return [line for line in lines if 15 < len(line) < 90][:400]


def _page(options: argparse.Namespace, found: dict[str, Any]) -> str:
    clients = " ".join(map(str, options.clients))
    given = f"--passages {options.passages} --rounds {options.rounds} --seconds {options.seconds:g} --load {options.load:g}"
    lines = [
        "# Service",
        "",
        f"`python benchmarks/service.py {given} --clients {clients}`",
        "",
        f"Searches for {K} of {options.passages:,} docstrings of the Python standard library, by {found['queries']} queries, in "
        "alternating rounds. Clients are threads: of the same process for the library, of another one for the service. Service, "
        "clients and Postgres share the processor.",
        "",
        machine.as_lines(found["machine"]),
        "",
        "| work | clients | way | p50, ms | p95, ms | searches/s | failed |",
        "|---|---|---|---|---|---|---|",
        *(_line(row) for row in sorted(found["rows"], key=lambda row: (WORKS.index(row["work"]), row["clients"]))),
        "",
        f"Seconds from the start of the process until it is ready, with its model: {found['ready']:.1f}.",
        "",
    ]
    if loaded := found["load"]:
        memory = ", ".join(f"{each:.0f}" for each in loaded["memory"])
        lines += [
            f"## {loaded['clients']} clients for {options.load:g} seconds",
            "",
            f"{loaded['requests']:,} hybrid searches, {loaded['failed']} failed; {loaded['rate']:.0f}/s, p50 {loaded['p50']:.1f} "
            f"ms, p95 {loaded['p95']:.1f} ms. Resident memory in MiB after five seconds of warming up: {loaded['before']:.0f}; "
            f"then, at equal intervals: {memory}.",
            "",
        ]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    times = f"{row['p50']:.1f} | {row['p95']:.1f} | {row['rate']:.0f}"
    return f"| {row['work']} | {row['clients']} | {row['way']} | {times} | {row['failed']} |"


def main() -> None:
    """Measure and write the page."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--passages", type=int, default=2_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=4.0, help="of each way in each round")
    arguments.add_argument("--load", type=float, default=60.0, help="seconds; 0 for none")
    arguments.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    arguments.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.client:
        print(json.dumps(client(json.load(sys.stdin))))
        return
    with tempfile.TemporaryDirectory() as folder, pgretrieval.connect(data_dir=folder) as database:
        Path(folder).chmod(0o755)
        queries = _fill(database, options.passages)
        with serving(database.url) as service:
            ready = service.ready
        rows = compare(database.url, queries, options.clients, options.rounds, options.seconds)
        loaded = load(database.url, queries, 16, options.load) if options.load else None
    found = {"machine": machine.describe(), "queries": len(queries), "rows": rows, "ready": ready, "load": loaded}
    page = _page(options, found)
    (RESULTS / "service.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
