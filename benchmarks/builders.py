"""One build by one, two and four processes on the cores of this machine, with the bytes that each stores.

    python benchmarks/builders.py --cache DIR [--parts coded encoded]

"coded": given vectors of passages of the pile are coded. "encoded": they are encoded again by minilm, in a rebuild.
Each part writes its section of benchmarks/results/builders.json, from which benchmarks/results/builders.md is generated.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg
from psycopg import sql

from benchmarks import machine, vectors
from benchmarks.run import RESULTS, say, serving, stage_clock
from benchmarks.vectors import Vectors

THREADS = 2
PROCESSES = (None, 2, 4)
"""Worker processes; None for a build in the process of the call."""
CODED, ENCODED = 20_000, 3_000
_TABLES = ("centroid", "token_vector", "token_code", "posting", "word_posting")
Measured = dict[str, Any]


def first(data: Vectors, passages: int) -> Vectors:
    """The first passages, without a copy of their vectors."""
    return replace(data, passages=data.passages[:passages], document_offsets=data.document_offsets[: passages + 1])


def digest(url: str) -> str:
    """Digest of all rows of a database with one collection, in the order of their content."""
    found = hashlib.sha256()
    with psycopg.connect(url) as connection:
        for table in _TABLES:
            statement = sql.SQL("select md5(held::text) as row from {} as held order by row").format(
                sql.Identifier("pgretrieval", table)
            )
            for (row,) in connection.execute(statement):
                found.update(row.encode())
    return found.hexdigest()


def timed(work: Callable[..., Any]) -> Measured:
    """Seconds of a build in all and of its stages."""
    stages, stage = stage_clock()
    started = time.perf_counter()
    work(stage=stage)
    return {"seconds": time.perf_counter() - started, "stages": stages}


def coded(data: Vectors, workers: int | None) -> Measured:
    """A first build of given vectors."""
    with serving() as database:
        docs = database.create_collection("docs")
        docs.add(data.passages, vectors=data.arrays())
        found = timed(lambda stage: docs.build(workers=workers, stage=stage))
        return {"workers": workers, **found, "digest": digest(database.url)}


def encoded(data: Vectors, workers: int | None) -> Measured:
    """A rebuild, in which the encoder computes all vectors."""
    with serving() as database:
        docs = database.create_collection("docs", encoder=vectors.ENCODER)
        docs.add(data.passages)
        docs.build()
        found = timed(lambda stage: docs.rebuild(workers=workers, stage=stage))
        return {"workers": workers, **found, "digest": digest(database.url)}


def measured(data: Vectors, build: Callable[[Vectors, int | None], Measured]) -> Measured:
    """The same build by each number of processes."""
    rows = []
    for workers in PROCESSES:
        rows.append(build(data, workers))
        say(rows[-1])
    return {"passages": len(data.passages), "tokens": int(data.document_offsets[-1]), "rows": rows}


def page(sections: Measured) -> str:
    """The results page."""
    lines = [
        "# Builds by several processes",
        "",
        "`python benchmarks/builders.py --cache DIR`",
        "",
        "Passages of the pile, 128 dimensions, 4 bits. Without workers, the build computes in the process of the call, with two",
        "threads; each worker has its share of them, at least one. Seconds include the start of the workers. Bytes are equal if",
        f"all rows of {', '.join(_TABLES)} have the same digest as without workers.",
        "",
    ]
    for name, title in (("coded", "Given vectors"), ("encoded", "Encoded by minilm in a rebuild")):
        if name not in sections:
            continue
        held = sections[name]["measured"]
        stages = ("encode", "train", "code") if name == "encoded" else ("train", "code")
        columns = ["workers", "build s", *(f"{stage} s" for stage in stages), "rest s", "bytes equal"]
        lines += [
            f"## {title}",
            "",
            machine.as_lines(sections[name]["machine"]),
            "",
            *([sections[name]["note"], ""] if "note" in sections[name] else []),
            f"{held['passages']:,} passages, {held['tokens']:,} tokens.",
            "",
            f"| {' | '.join(columns)} |",
            "|" + "---|" * len(columns),
        ]
        for row in held["rows"]:
            spent = [row["stages"].get(stage, 0.0) for stage in stages]
            equal = "yes" if row["digest"] == held["rows"][0]["digest"] else "no"
            seconds = [row["seconds"], *spent, row["seconds"] - sum(spent)]
            lines.append(f"| {' | '.join([str(row['workers'] or 'none'), *(f'{each:.1f}' for each in seconds), equal])} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Run the selected parts and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    parser.add_argument("--parts", nargs="+", choices=["coded", "encoded"], default=["coded", "encoded"])
    parser.add_argument("--note", help="what else the machine did meanwhile")
    parser.add_argument("--passages", type=int, help="instead of 20,000 that are coded, or 3,000 that are encoded")
    options = parser.parse_args()
    kept = RESULTS / "builders.json"
    whole = vectors.load_pile(options.cache)
    for name in options.parts:
        build, count = (coded, CODED) if name == "coded" else (encoded, ENCODED)
        found = measured(first(whole, options.passages or count), build)
        sections = json.loads(kept.read_text()) if kept.exists() else {}
        sections[name] = {"machine": machine.describe(), "measured": found, **({"note": options.note} if options.note else {})}
        kept.write_text(json.dumps(sections, indent=1) + "\n")
        (RESULTS / "builders.md").write_text(page(sections))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
    main()
