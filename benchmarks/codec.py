"""Loss of the residual codec on SciFact, by bits per dimension and placement of levels.

    python benchmarks/codec.py --cache DIR

Writes benchmarks/results/codec.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import machine, vectors
from benchmarks.run import RESULTS, Measured, best_of_all, build, quality, say, search, serving
from pgretrieval.types import Levels

VARIANTS: tuple[tuple[int, Levels], ...] = (
    (4, "lloyd-max"),  # the default
    (2, "lloyd-max"),
    (1, "lloyd-max"),
    (4, "quantile"),
    (2, "quantile"),
    (1, "quantile"),
)


def row(bits: int, levels: Levels, measured: Measured) -> str:
    """One row of the table."""
    return (
        f"| {bits} bits, {levels} | {measured['ndcg']:.4f} | {measured['fidelity']:.4f} | "
        f"{measured['storage']['per_token']:.1f} | {measured['storage']['ratio']:.2f} |"
    )


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    data = vectors.load("scifact", options.cache)
    best = best_of_all(data)
    lines = [
        "# Bits and levels of the codec",
        "",
        "`python benchmarks/codec.py --cache DIR`; SciFact, given vectors, k = 10, default options.",
        "The payload is tokens · (2 + 128 · bits / 8) bytes: a centroid number and a packed residual per token.",
        "",
        machine.as_lines(machine.describe()),
        "",
        "| codec | nDCG@10 | fidelity@10 | bytes / token | bytes / payload |",
        "|---|---|---|---|---|",
        f"| exact MaxSim, unquantised | {quality(data, best, best, 10)['ndcg']:.4f} | 1 | | |",
    ]
    for bits, levels in VARIANTS:
        with serving() as database:
            collection, built = build(database, data, "measured", bits=bits, levels=levels)
            measured = {**search(collection, data, best, 10, None), **built}
        say({"bits": bits, "levels": levels, **measured})
        lines.append(row(bits, levels, measured))
    text = "\n".join([*lines, ""])
    (RESULTS / "codec.md").write_text(text)
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
