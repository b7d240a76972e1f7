"""Words, dense vector, late interaction and all of them fused, on eight collections, as `evaluate --compare-modes` measures them.

    python benchmarks/modes.py --cache DIR [--sets NAME ...] [--queries N] [--passages N]

A collection has at most so many judged queries and passages, all that are judged among them, drawn by seed. Rows are kept in DIR,
and the page has all that there are, so that calls may measure some of the sets. Writes benchmarks/results/modes.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import machine, vectors
from benchmarks.run import RESULTS, say, serving
from pgretrieval.cli.measuring import compared_modes
from pgretrieval.corpus.reading import read_passages
from pgretrieval.evaluate.metrics import parse_metrics
from pgretrieval.evaluate.qrels import read_qrels

SETS = (
    "scifact", "medquad", "cpp_docs", "stackexchange_small", "tldr_commands", "wiki_movies", "ncbi_disease_el", "wsd_wordnet",
)  # fmt: skip
MODES = ("words", "dense", "late", "hybrid")
_NDCG = "nDCG@10"


def measured(name: str, at_most: tuple[int, int]) -> dict[str, Any]:
    """The modes of one collection, indexed and searched with all defaults."""
    source = vectors.data_folder() / name
    qrels, texts = read_qrels(source / "qrels.tsv"), vectors.query_texts(name)
    judged = sorted(query for query in qrels if query in texts)
    order = np.random.default_rng(0).permutation(len(judged))[: at_most[0]]
    queries = {judged[place]: texts[judged[place]] for place in order.tolist()}
    qrels = {query: qrels[query] for query in queries}
    passages = list(read_passages(source / "corpus.jsonl.gz", blank="title"))
    passages = vectors.sample_passages(passages, vectors.relevant(qrels), at_most[1])
    with serving() as database:
        collection = database.create_collection("measured")
        collection.add(passages)
        collection.build()
        found = compared_modes(collection, queries, parse_metrics(_NDCG), qrels, [10], drop_identical=False)
    return {"set": name, "passages": len(passages), **found}


def cell(row: dict[str, Any]) -> str:
    """Mean with its interval."""
    low, high = row["metrics"][_NDCG]["interval"]
    return f"{row['metrics'][_NDCG]['mean']:.3f} ({low:.3f} … {high:.3f})"


def page(rows: list[dict[str, Any]]) -> str:
    """The table of all sets that were measured."""
    lines = [
        "# Modes",
        "",
        "`python benchmarks/modes.py --cache DIR`: nDCG@10 of each mode with its 95 % interval over queries, all defaults,",
        f"`{vectors.ENCODER}`, indexed and searched by the product. Last: the fused search less the best of the others.",
        "",
        machine.as_lines(machine.describe()),
        "",
        "| set | passages | queries | " + " | ".join(MODES) + " | hybrid − best |",
        "|---|---|---|" + "---|" * (len(MODES) + 1),
    ]
    for row in rows:
        means = {mode: row["modes"][mode]["metrics"][_NDCG]["mean"] for mode in MODES}
        less = means["hybrid"] - max(means[mode] for mode in MODES[:-1])
        cells = " | ".join(cell(row["modes"][mode]) for mode in MODES)
        lines.append(f"| {row['set']} | {row['passages']:,} | {row['queries']:,} | {cells} | {less:+.3f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure the sets that have no row yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for rows, kept between runs")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--queries", type=int, default=300, help="of each set, at most")
    parser.add_argument("--passages", type=int, default=3_000, help="of each set, at most")
    options = parser.parse_args()
    kept = options.cache / "modes.json"
    rows = json.loads(kept.read_text()) if kept.exists() else {}
    for name in options.sets:
        rows[name] = rows.get(name) or measured(name, (options.queries, options.passages))
        kept.write_text(json.dumps(rows))
        say(rows[name])
    (RESULTS / "modes.md").write_text(page([rows[name] for name in SETS if name in rows]))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
