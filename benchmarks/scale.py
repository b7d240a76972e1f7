"""Model on paper of two large collections, from the measured costs of small ones.

    python benchmarks/scale.py

Reads the growth sections of benchmarks/results/speed.json and writes docs/design/scale.md.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pgretrieval.index.training import TRAINING_VALUES_AT_MOST
from pgretrieval.numerics.kmeans import centroid_count

ROOT = Path(__file__).resolve().parent.parent
DIM = 128
CENTROIDS_OF_TWO_BYTES = 65_536
BYTES_OF_CENTROID = 826  # with its vector index: 4.7 and 6.2 bytes a token of SciFact, 16,384 centroids (docs/design/space.md)
ENCODED_PER_CORE_SECOND = 6_145  # tokens, minilm (benchmarks/results/encoding.md)
CORES = 2  # of the measurements
TEXT_BYTES = 450  # of a passage with its row
NODE_CORES, NODE_MEMORY = 16, 128  # GB of memory
SHARE_IN_MEMORY = 0.75  # of a node's memory, for the database's pages
PER_CORE_HOUR, PER_MEMORY_GB_HOUR, PER_DISK_GB_MONTH = 0.04, 0.005, 0.10  # dollars
PRICED = "November 2026"
HOURS = 730  # of a month
POSTING_BYTES = 4.6  # with its share of rows and keys
RANDOM_READ = 0.1  # ms, of a page that is on disk
READS_PER_PASSAGE = 3  # index, row, and residuals out of line
AT_ONCE = 16  # reads of the disk


@dataclass(frozen=True)
class Case:
    """A collection to estimate."""

    name: str
    passages: float
    tokens: float


CASES = (Case("MS MARCO", 8.8e6, 6e8), Case("a billion passages", 1e9, 6.8e10))


@dataclass(frozen=True)
class Costs:
    """Measured costs, extrapolated linearly: in the centroids for probes, in the postings read for candidates."""

    postings_per_token: float
    lists: float
    per_probe: tuple[float, float]
    per_posting: tuple[float, float]
    fixed: float
    bytes_per_token: float
    coded_per_core_second: float
    coded_centroids: int
    decoded: float


def measured(sections: dict[str, Any]) -> Costs:
    """Costs from the collections of 5,000 and 80,000 passages."""
    small, large = (sections[name]["measured"] for name in ("growth-5000", "growth-80000"))
    counts = [centroid_count(found["tokens"]) for found in (small, large)]
    postings = large["storage"]["by_table"]["posting"] / POSTING_BYTES
    stages = large["stages"]
    centroids = counts[1] * BYTES_OF_CENTROID / large["tokens"]
    return Costs(
        postings_per_token=postings / large["tokens"],
        lists=large["postings_read"] / (postings / counts[1]),
        per_probe=_line(counts, [found["stages"]["probe"] for found in (small, large)]),
        per_posting=_line(
            [found["postings_read"] for found in (small, large)], [f["stages"]["candidates"] for f in (small, large)]
        ),
        fixed=sum(stages[name] for name in ("encode", "interaction", "codes", "maxsim", "texts")),
        bytes_per_token=large["storage"]["per_token"] - centroids,
        coded_per_core_second=large["tokens"] / large["stage_seconds"]["code"] / CORES,
        coded_centroids=counts[1],
        decoded=large["passages_decoded"],
    )


def _line(places: list[float], values: list[float]) -> tuple[float, float]:
    """Offset and slope through two points."""
    slope = (values[1] - values[0]) / (places[1] - places[0])
    return values[1] - slope * places[1], slope


def estimate(case: Case, costs: Costs, nodes: int = 1) -> dict[str, float]:
    """Bytes, milliseconds, hours and dollars of a case on so many nodes, each with an equal share of the passages."""
    centroids = centroid_count(int(case.tokens))
    numbers = 2 if centroids > CENTROIDS_OF_TWO_BYTES else 0
    per_token = costs.bytes_per_token + numbers + centroids * BYTES_OF_CENTROID / case.tokens
    index = per_token * case.tokens
    text = TEXT_BYTES * case.passages
    postings = costs.postings_per_token * case.tokens
    read = costs.lists * postings / centroids
    probe = costs.per_probe[0] + costs.per_probe[1] * centroids
    candidates = costs.per_posting[0] + costs.per_posting[1] * read / nodes
    disk = costs.decoded * READS_PER_PASSAGE * RANDOM_READ / min(AT_ONCE * nodes, costs.decoded)
    hot = POSTING_BYTES * postings + centroids * BYTES_OF_CENTROID
    coding = case.tokens / costs.coded_per_core_second * math.sqrt(centroids / costs.coded_centroids) / 3600
    month = NODE_CORES * PER_CORE_HOUR * HOURS + NODE_MEMORY * PER_MEMORY_GB_HOUR * HOURS
    return {
        "centroids": centroids,
        "per_token": per_token,
        "index": index,
        "text": text,
        "hot": hot,
        "read": read,
        "probe": probe,
        "candidates": candidates,
        "fixed": costs.fixed,
        "disk": disk,
        "search": probe + candidates + costs.fixed,
        "in_memory": math.ceil((index + text) / (SHARE_IN_MEMORY * NODE_MEMORY * 1e9)),
        "on_disk": math.ceil(hot / (SHARE_IN_MEMORY * NODE_MEMORY * 1e9)),
        "month": month,
        "disk_month": (index + text) / 1e9 * PER_DISK_GB_MONTH,
        "encoding": case.tokens / ENCODED_PER_CORE_SECOND / 3600,
        "coding": coding,
        "sample": min(64.0, TRAINING_VALUES_AT_MOST / DIM / centroids),
        "pairs": 8 * postings,
    }


def page(sections: dict[str, Any]) -> str:
    """The page."""
    costs = measured(sections)
    alone = [estimate(case, costs) for case in CASES]
    stored = [estimate(case, costs, int(found["on_disk"])) for case, found in zip(CASES, alone, strict=True)]
    spread = [estimate(case, costs, int(found["in_memory"])) for case, found in zip(CASES, alone, strict=True)]

    def row(name: str, *cells: str) -> str:
        return f"| {' | '.join([name, *cells])} |"

    def money(found: dict[str, float], nodes: float) -> str:
        return f"{nodes * found['month'] + found['disk_month']:,.0f}"

    size = [
        row("", *(case.name for case in CASES)),
        "|---|---|---|",
        row("tokens", *(f"{case.tokens / 1e6:,.0f} million" for case in CASES)),
        row("centroids", *(f"{found['centroids']:,.0f}" for found in alone)),
        row("bytes a token", *(f"{found['per_token']:.1f}" for found in alone)),
        row("index, GB", *(f"{found['index'] / 1e9:,.0f}" for found in alone)),
        row("texts, GB", *(f"{found['text'] / 1e9:,.0f}" for found in alone)),
        row("postings and centroids, GB", *(f"{found['hot'] / 1e9:,.1f}" for found in alone)),
    ]
    search = [
        row("", *(case.name for case in CASES)),
        "|---|---|---|",
        row("probe, in the client", *(f"{found['probe']:,.0f} ms" for found in alone)),
        row("postings read", *(f"{found['read']:,.0f}" for found in alone)),
        row("candidates, one node", *(f"{found['candidates']:,.0f} ms" for found in alone)),
        row("the other stages", *(f"{found['fixed']:,.0f} ms" for found in alone)),
        row("a search on one node, all in memory", *(f"{found['search']:,.0f} ms" for found in alone)),
        row("nodes, everything in memory", *(f"{found['in_memory']:,.0f}" for found in alone)),
        row("a search on these", *(f"{found['search']:,.0f} ms" for found in spread)),
        row("dollars a month", *(money(found, found["in_memory"]) for found in alone)),
        row("nodes, postings and centroids in memory, the rest on disk", *(f"{found['on_disk']:,.0f}" for found in alone)),
        row("a search on these", *(f"{found['search'] + found['disk']:,.0f} ms" for found in stored)),
        row("dollars a month", *(money(found, found["on_disk"]) for found in alone)),
    ]
    build = [
        row("", *(case.name for case in CASES)),
        "|---|---|---|",
        row("encoding with `minilm`, core hours", *(f"{found['encoding']:,.0f}" for found in alone)),
        row("coding, core hours", *(f"{found['coding']:,.0f}" for found in alone)),
        row("dollars of both", *(f"{(found['encoding'] + found['coding']) * PER_CORE_HOUR:,.0f}" for found in alone)),
        row("sampled tokens for a centroid", *(f"{found['sample']:.0f}" for found in alone)),
        row("pairs sorted by the leader, GB", *(f"{found['pairs'] / 1e9:,.1f}" for found in alone)),
    ]
    return TEXT.format(
        size="\n".join(size),
        search="\n".join(search),
        build="\n".join(build),
        date=sections["growth-80000"]["machine"]["date"],
        tokens=f"{sections['growth-80000']['measured']['tokens']:,}",
        lists=f"{costs.lists:.0f}",
        coded=f"{costs.coded_per_core_second:,.0f}",
        encoded=f"{ENCODED_PER_CORE_SECOND:,}",
        text_bytes=TEXT_BYTES,
        cores=NODE_CORES,
        memory=NODE_MEMORY,
        share=f"{SHARE_IN_MEMORY:.0%}",
        posting=POSTING_BYTES,
        priced=PRICED,
        per_core=f"{PER_CORE_HOUR:.2f}",
        per_memory=f"{PER_MEMORY_GB_HOUR:.3f}",
        per_disk=f"{PER_DISK_GB_MONTH:.2f}",
        read=f"{RANDOM_READ:.1f}",
        at_once=AT_ONCE,
        sample=f"{alone[0]['sample']:.0f}",
        sample_of_billion=f"{alone[1]['sample']:.0f}",
        probe=f"{alone[1]['probe']:.0f}",
        pairs=f"{alone[1]['pairs'] / 1e9:,.0f}",
    )


TEXT = """# A model of large collections

Nothing on this page is measured at its size. `python benchmarks/scale.py` computes it from the
[growth](../../benchmarks/results/speed.md#growth) of collections of up to {tokens} tokens ({date}): two cores, 4
bits, 128 dimensions, k = 10. Each assumption is named below.

## Bytes

{size}

## Searches

{search}

## Builds

{build}

## What limits first

**The sample of the codebook.** It has at most 2.1 million tokens: {sample} for a centroid of MS MARCO instead of 64,
and {sample_of_billion} for one of a billion passages, where a centroid would be little more than one token. Quality
is unknown there: a billion passages need a larger sample or fewer centroids.

**The leader's memory.** It sorts all pairs of centroid and passage at once, {pairs} GB at a billion passages, and
holds the numbers of all passages. Both would have to go by ranges. Passage numbers themselves suffice for two
thousand million.

**The lists of postings.** Centroids grow with the square root of the tokens, and so do their lists. Nodes divide
them; more centroids would shorten them and lengthen the probe.

**The client's probe.** It compares a query with every centroid: {probe} ms and a gigabyte in each client at a billion
passages. A search in SQL asks the vector index instead.

**Encoding and coding** take nearly all of a build's processor time, and are divided among any number of processes
([Builds by many](building.md)).

## Assumptions

| assumption | value | source |
|---|---|---|
| lists that a search probes | {lists}, at every size | measured at 80,000 passages; fidelity at these sizes is not known |
| postings of a centroid | tokens / centroids, times the measured share of distinct pairs | measured |
| milliseconds of probe and candidates | linear in centroids, and in postings read | line through 5,000 and 80,000 passages |
| other stages | as at 80,000 passages, since as many passages are decoded | measured |
| coding | {coded} tokens a core and second, times the square root of the centroids' growth | measured; two levels of centroids |
| encoding | {encoded} tokens a core and second | [encoding](../../benchmarks/results/encoding.md) |
| bytes of a text with its row | {text_bytes} | assumed |
| a node | {cores} cores, {memory} GB of memory, {share} of it for pages | assumed |
| several nodes | each has an equal share of the passages; the network costs nothing | assumed; not measured |
| a page on disk | {read} ms, {at_once} reads at once on a node, three for a decoded passage | assumed |
| a posting with its share of rows and keys | {posting} bytes | assumed; four are its number |
| prices | {per_core} dollars a core and hour, {per_memory} a GB of memory and hour, {per_disk} a GB of disk and month | \
assumed, {priced}; copies for failures are extra |
"""


def main() -> None:
    """Write the page."""
    sections = json.loads((ROOT / "benchmarks" / "results" / "speed.json").read_text(encoding="utf-8"))
    (ROOT / "docs" / "design" / "scale.md").write_text(page(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
