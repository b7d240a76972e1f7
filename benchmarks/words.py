"""Searches by words in SQL beside those of an earlier commit, in alternating rounds: milliseconds, and whether hits are equal.

    git worktree add --detach FOLDER COMMIT
    python benchmarks/words.py --before FOLDER [--queries N] [--rounds N]

cpp_docs, its texts with a vector each that means nothing, in a server of each commit's own. Writes benchmarks/results/words.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve()
DEPTHS = (10, 1000)
_SQL = "select passage_id, score from pgretrieval.candidates_by_text(pgretrieval.known_collection('measured'), %s, %s, null, null)"


def serve(source: Path, folder: str, count: int) -> None:
    """Build the collection with the package on the path, then measure a round for each line that is read."""
    import psycopg

    import pgretrieval
    from pgretrieval.corpus.jsonl import read_queries
    from pgretrieval.corpus.reading import read_passages

    passages = list(read_passages(source / "corpus.jsonl.gz"))
    queries = [text for _, text in read_queries(source / "queries.jsonl.gz")][:count]
    vectors = np.random.default_rng(0).standard_normal((len(passages), 1, 48)).astype(np.float32)
    with pgretrieval.connect(data_dir=folder) as database, psycopg.connect(database.url, autocommit=True) as connection:
        collection = database.create_collection("measured", dim=48)
        collection.add(passages, vectors=list(vectors))
        collection.build()
        connection.execute("analyze")
        ran = Path(f"/proc/{connection.info.backend_pid}/schedstat")
        print(json.dumps("ready"), flush=True)
        for _ in sys.stdin:
            spent: dict[int, list[tuple[float, float]]] = {n: [] for n in DEPTHS}
            found = []
            for query in queries:
                for n in DEPTHS:
                    before, started = int(ran.read_text().split()[0]), time.perf_counter()
                    found.append(connection.execute(_SQL, [query, n]).fetchall())
                    wall = (time.perf_counter() - started) * 1e3
                    spent[n].append((wall, (int(ran.read_text().split()[0]) - before) / 1e6))
            print(json.dumps({"medians": [np.median(spent[n], axis=0).tolist() for n in DEPTHS], "found": found}), flush=True)


def main() -> None:
    """Measure and write the table."""
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
        return
    sys.path.insert(0, str(HERE.parents[1]))
    from benchmarks import machine
    from benchmarks.checkout import commit_of, running
    from benchmarks.run import RESULTS
    from benchmarks.vectors import data_folder

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the earlier commit")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    source = data_folder() / "cpp_docs"
    count = str(options.queries)
    with running(HERE, options.before, source, count) as (_, before), running(HERE, HERE.parents[1], source, count) as (_, now):
        rounds = [(before(), now()) for _ in range(options.rounds)]
    equal = all(a == b for one, other in rounds for a, b in zip(one["found"], other["found"], strict=True))
    medians = np.array([[side["medians"] for side in pair] for pair in rounds])  # (rounds, 2, depths, wall and processor)
    commit = commit_of(options.before)
    lines = [
        "# Searches by words beside an earlier commit",
        "",
        f"`python benchmarks/words.py --before FOLDER`; cpp_docs, 78,552 passages, {options.queries} queries,",
        f"{options.rounds} alternating rounds; the earlier commit is {commit}. Medians over rounds of the medians over",
        "queries, ms, and the ratio with its range.",
        f"Passages and scores are {'equal' if equal else 'NOT EQUAL'}, in the same order.",
        "",
        machine.as_lines(machine.describe()),
        "",
        "| hits | time | before | now | ratio | of rounds |",
        "|---|---|---|---|---|---|",
    ]
    for depth, n in enumerate(DEPTHS):
        for kind, name in enumerate(("wall", "processor time of the server")):
            old, new = medians[:, 0, depth, kind], medians[:, 1, depth, kind]
            ratios = new / old
            lines.append(
                f"| {n:,} | {name} | {np.median(old):.1f} | {np.median(new):.1f} | {np.median(ratios):.3f} "
                f"| {ratios.min():.3f} to {ratios.max():.3f} |"
            )
    text = "\n".join([*lines, ""])
    (RESULTS / "words.md").write_text(text)
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
