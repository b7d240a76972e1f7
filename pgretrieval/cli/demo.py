"""`pgretrieval demo`."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time

import typer

from pgretrieval.cli import console, loading
from pgretrieval.corpus.docstrings import standard_library_passages

QUESTIONS = (
    "how do I run a function in several processes at once",
    "parse a date and time out of a string",
    "compare two files line by line and show what differs",
)


def demo(context: typer.Context) -> None:
    """Index the docstrings of the installed Python standard library and answer three questions."""
    name = f"python-{platform.python_version()}"
    started = time.perf_counter()
    sources = [standard_library_passages]
    with context.obj.connect() as database:
        collection = loading.open_or_create(database, name, None, None)
        loading.load(collection, sources, loading.count_checked(sources))
        stats = collection.stats()
        spent = time.perf_counter() - started
        console.results.print(
            f"Collection {name!r}: {stats['passages']:,} docstrings, {stats['tokens']:,} token vectors, "
            f"{stats['centroids']:,} centroids, {sum(stats['bytes'].values()) / 1e6:,.0f} MB in Postgres; ready in {spent:,.0f} s.",
        )
        collection.hybrid_search("warm up")
        for question in QUESTIONS:
            explanation = collection.explain(question, k=5, mode="hybrid")
            stages = ", ".join(f"{stage} {spent:.1f}" for stage, spent in explanation.milliseconds.items())
            console.results.print(f"\n{question}?", style="bold")
            console.results.print(f"milliseconds: {stages}", style="dim")
            console.print_hits(explanation.hits)
        where = database.data_dir or database.url
    command = "pgretrieval" if shutil.which("pgretrieval") else os.path.relpath(sys.argv[0])
    if context.obj.data_dir:
        command += f" --data-dir {context.obj.data_dir}"
    elif context.obj.database:
        command += " --database URL"
    console.results.print(
        f"\nThe data lives in {where}. Next:\n"
        f'  {command} search {name} "your question" --explain\n'
        f"  {command} index my-texts corpus.jsonl     # objects with id, text and perhaps title and metadata\n"
        f"  {command} drop {name}                     # remove the demo again",
    )
