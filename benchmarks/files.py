"""Passages a second of each kind of file, read and checked only, and what broken files get.

    python benchmarks/files.py

The passages are the docstrings of Python's standard library, repeated up to `--rows`; a tenth of them are documents. Each kind is
read in a process of its own, three times; the median counts. Tables are read again with ten times the rows: a process that streams
needs no more memory for them. Writes benchmarks/results/files.md.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import html
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil
import pyarrow as pa
from pyarrow import ipc, parquet

from pgretrieval.corpus.docstrings import standard_library_passages
from pgretrieval.corpus.reading import read_passages
from pgretrieval.errors import InputError
from tests.support.pdf import pdf

_RESULTS = Path(__file__).parent / "results"
_ROUNDS = 3
_LINES = 45  # of a page
_COLUMNS = 90  # of a line
_SAMPLED = 500  # passages between two looks at the memory

Rows = list[dict[str, Any]]


@dataclass
class Read:
    """Passages of one kind, processor seconds of each round, and the most memory of the process, in MiB."""

    passages: int
    seconds: list[float]
    peak: float


def rows_of(number: int) -> Rows:
    """So many passages as rows, with ids of their own."""
    passages = list(standard_library_passages())
    return [
        {"id": f"{passage.id} {turn}", "title": passage.title or "", "text": passage.text, "line": passage.metadata["line"]}
        for turn, passage in itertools.islice(((i // len(passages), p) for i, p in enumerate(itertools.cycle(passages))), number)
    ]


def _json_lines(rows: Rows) -> Iterator[bytes]:
    return (json.dumps(row).encode() + b"\n" for row in rows)


def _csv(path: Path, rows: Rows, delimiter: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)


def write_tables(folder: Path, rows: Rows) -> list[Path]:
    """The rows in a file of each kind of table."""
    folder.mkdir()
    table = pa.Table.from_pylist(rows)
    names = ["rows.jsonl", "rows.jsonl.gz", "rows.csv", "rows.tsv", "rows.parquet", "rows.arrow", "rows.feather"]
    paths = [folder / name for name in names]
    paths[0].write_bytes(b"".join(_json_lines(rows)))
    paths[1].write_bytes(gzip.compress(paths[0].read_bytes(), 6))
    _csv(paths[2], rows, ",")
    _csv(paths[3], rows, "\t")
    parquet.write_table(table, paths[4])
    with ipc.new_file(paths[5], table.schema) as file:
        file.write_table(table, max_chunksize=10_000)
    with ipc.new_stream(paths[6], table.schema) as stream:
        stream.write_table(table, max_chunksize=10_000)
    return paths


def write_documents(folder: Path, rows: Rows) -> list[Path]:
    """A folder of each kind of document, one document for each row; a PDF of as many pages."""
    for kind in ("text", "markdown", "html"):
        (folder / kind).mkdir()
    for number, row in enumerate(rows):
        (folder / "text" / f"{number}.txt").write_text(row["text"], "utf-8")
        (folder / "markdown" / f"{number}.md").write_text(f"# {row['title']}\n\n{row['text']}\n", "utf-8")
        paragraphs = "".join(f"<p>{html.escape(text)}</p>" for text in row["text"].split("\n\n"))
        page = f"<html><head><title>{html.escape(row['title'])}</title></head><body>{paragraphs}</body></html>"
        (folder / "html" / f"{number}.html").write_text(page, "utf-8")
    (folder / "pages.pdf").write_bytes(pdf(*(_page(row["text"]) for row in rows)))
    return [folder / "text", folder / "markdown", folder / "html", folder / "pages.pdf"]


def _page(text: str) -> str:
    plain = "".join(character if character.isascii() and character not in "()\\" else "-" for character in text)
    lines = [line[:_COLUMNS] for line in plain.splitlines() if line.strip()]
    return "\n".join(lines[:_LINES]) or "empty"


def read(path: Path, chunk: int | None) -> Read:
    """Read and check a file in this process, with the encoder's tokens if it is cut."""
    options: dict[str, Any] = {}
    if chunk is not None:
        from pgretrieval.encode import load_encoder

        options = {"chunk": chunk, "count_tokens": load_encoder("minilm").count_tokens}
        options["count_tokens"]("loaded")
    if path.is_file() and path.suffix != ".pdf":
        options["metadata"] = ["line"]
    next(read_passages(path, **options))  # imports are not reading
    seconds, passages = [], 0
    for _ in range(_ROUNDS):
        began = time.process_time()
        passages = sum(1 for _ in read_passages(path, **options))
        seconds.append(time.process_time() - began)
    process, most = psutil.Process(), 0
    for number, _ in enumerate(read_passages(path, **options)):
        if not number % _SAMPLED:
            most = max(most, process.memory_info().rss)
    return Read(passages, seconds, most / 2**20)


def alone(work: Callable[..., Read], *arguments: Any) -> Read:
    """The result of a function in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def size_of(path: Path) -> float:
    """Megabytes of a file, or of the files in a folder."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6


def broken(folder: Path, tables: list[Path]) -> dict[str, Path]:
    """A file of each fault, by the fault."""
    whole = {path.suffix: path for path in tables}
    (folder / "truncated.parquet").write_bytes(whole[".parquet"].read_bytes()[:-1_000])
    (folder / "truncated.arrow").write_bytes(whole[".arrow"].read_bytes()[:-1_000])
    (folder / "truncated.pdf").write_bytes(pdf("text")[:300])
    (folder / "encrypted.pdf").write_bytes(pdf("text", encrypted=True))
    (folder / "scanned.pdf").write_bytes(pdf("text", ""))
    (folder / "carets.csv").write_text("id^title^text\na^b^c\n", "utf-8")
    (folder / "columns.csv").write_text("doc;body\na;b\n", "utf-8")
    (folder / "open.csv").write_text('id,text\na,"b\n', "utf-8")
    (folder / "latin.txt").write_bytes("one\ncafé\n".encode("latin-1"))
    (folder / "empty.txt").write_bytes(b"")
    (folder / "empty.csv").write_bytes(b"")
    (folder / "table.xlsx").write_bytes(b"PK")
    (folder / "circle" / "inner").mkdir(parents=True)
    (folder / "circle" / "inner" / "back").symlink_to((folder / "circle").resolve())
    faults = {
        "Parquet, truncated": "truncated.parquet",
        "Arrow, truncated": "truncated.arrow",
        "PDF, truncated": "truncated.pdf",
        "PDF, encrypted": "encrypted.pdf",
        "PDF with a page without text": "scanned.pdf",
        "CSV of another delimiter": "carets.csv",
        "CSV of other columns": "columns.csv",
        "CSV with an open quote": "open.csv",
        "text in Latin-1": "latin.txt",
        "empty text": "empty.txt",
        "empty CSV": "empty.csv",
        "unknown ending": "table.xlsx",
        "folder with links in a circle": "circle",
    }
    return {fault: Path(name) for fault, name in faults.items()}


def error_of(path: Path) -> str:
    """The error that a broken file gets."""
    try:
        list(read_passages(path))
    except InputError as error:
        return str(error).replace("|", r"\|")
    return "no error"


def main() -> None:
    """Measure and write the page."""
    from benchmarks import machine  # imports torch, which the reading processes do without

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    rows = rows_of(parser.parse_args().rows)
    documents = rows[: len(rows) // 10]
    lines = [
        "# Files",
        "",
        f"`python benchmarks/files.py`: docstrings of Python's standard library, {len(rows):,} rows and {len(documents):,}",
        f"documents, read and checked by `read_passages`. Median of {_ROUNDS} rounds, each kind in a process of its own.",
        "Seconds are processor time, since the machine is shared.",
        "",
        machine.as_lines(machine.describe()),
        "",
        "| file | MB | passages | passages a second | MB a second | memory, MiB | of ten times the rows |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables, long = (write_tables(folder / part, some) for part, some in (("short", rows), ("long", rows_of(10 * len(rows)))))
        kinds = [(path, None) for path in (*tables, *write_documents(folder, documents))]
        for path, chunk in [*kinds, (folder / "markdown", 64)]:
            done, size = alone(read, path, chunk), size_of(path)
            spent = statistics.median(done.seconds)
            cut = f", `--chunk {chunk}` with `minilm`" if chunk else ""
            label = f"folder of {path.name}" if path.is_dir() else "".join(path.suffixes)
            tenfold = f"{alone(read, long[tables.index(path)], chunk).peak:.0f}" if path in tables else ""
            rates = f"{done.passages / spent:,.0f} | {size / spent:.1f} | {done.peak:.0f} | {tenfold}"
            lines.append(f"| {label}{cut} | {size:.1f} | {done.passages:,} | {rates} |")
            print(lines[-1], flush=True)
        faults = broken(folder, tables)
        os.chdir(folder)
        lines += ["", "## Broken files", "", "| fault | error |", "|---|---|"]
        lines += [f"| {fault} | {error_of(path)} |" for fault, path in faults.items()]
    (_RESULTS / "files.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
