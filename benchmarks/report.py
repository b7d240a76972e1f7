"""The measurements of `run.py` as Markdown."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import machine

_PEERS = ("fast-plaid", "xtr-warp", "pylate", "tachiom", "pgvector")
COMMAND = "python benchmarks/run.py --cache DIR " + " ".join(f"--peer {name}=PYTHON" for name in _PEERS)
_TITLES = {
    "scifact": "SciFact",
    "scifact-2026-11-21": "SciFact, an earlier run with other peers",
    "pile-20000": "20,000 passages of the pile",
    "pile": "The whole pile",
}

Measured = dict[str, Any]


def speed(sections: Measured) -> str:
    """All sections that exist."""
    lines = [
        "# Speed",
        "",
        f"`{COMMAND}`",
        "",
        "Given vectors, 128 dimensions, 4 bits, two threads, sequential queries; every row has its quality.",
        "fidelity is the mean share of the exact top k, exact being MaxSim over the unquantised vectors. Each section names the",
        "machine and date of its own run, in which all of it was timed; a peer's build time is of the run that made its index,",
        "and missing if that was on a machine in use.",
        "",
    ]
    for name, title in _TITLES.items():
        if name in sections:
            lines += [f"## {title}", "", *_head(sections[name]), *_comparison(sections[name]["measured"]), ""]
    grown = sorted((name for name in sections if name.startswith("growth-")), key=lambda name: int(name.partition("-")[2]))
    if grown:
        lines += ["## Growth", "", *_head(sections[grown[-1]]), *_growth([sections[name] for name in grown]), ""]
    if "throughput" in sections:
        lines += ["## Throughput", "", *_head(sections["throughput"]), *_throughput(sections["throughput"]["measured"]), ""]
    return "\n".join(lines)


def _head(section: Measured) -> list[str]:
    return [machine.as_lines(section["machine"]), ""]


def _comparison(measured: Measured) -> list[str]:
    exact = measured["exact"]
    lines = [
        f"{measured['passages']:,} passages, {measured['tokens']:,} tokens, {measured['queries']} queries.",
        "",
        "| engine | k | nDCG@10 | fidelity@k | p50 ms | p95 ms | build s | index MB |",
        "|---|---|---|---|---|---|---|---|",
        f"| exact MaxSim, torch | all | {exact['ndcg']:.4f} | 1 | {exact['p50']:.1f} | {exact['p95']:.1f} | - | - |",
    ]
    for row in measured["pgretrieval"]:
        size = sum(row["storage"]["by_table"].values()) / 1e6
        lines.append(_row(f"**pgretrieval, {row['generator']}**", row, row["build_seconds"], size))
    for peer in measured.get("peers", []):
        if "failed" in peer:
            lines.append(f"| {peer['peer']} | | | | | | ended with exit code {peer['failed']} | |")
        elif peer["gave_up_after"] is not None:
            lines.append(f"| {peer['peer']} | | | | | | given up after {peer['gave_up_after']:.0f} | |")
        lines += [
            _row(f"{peer['peer']}, {row['name']}", row, peer["build_seconds"], (peer["index_bytes"] or 0) / 1e6)
            for row in sorted(peer.get("settings", []), key=lambda row: int(row["k"]))
        ]
    lines += ["", "Our stages, median ms of a search:", ""]
    stages = ["probe", "candidates", "interaction", "codes", "maxsim", "texts"]
    lines += [
        "| generator | k | " + " | ".join(stages) + " | candidates | decoded passages | decoded tokens | MB moved | round trips |",
        "|---" * (len(stages) + 7) + "|",
    ]
    for row in measured["pgretrieval"]:
        spent = " | ".join(f"{row['stages'].get(stage, 0):.1f}" for stage in stages)
        lines.append(
            f"| {row['generator']} | {row['k']} | {spent} | {row['candidates']:,.0f} | {row['passages_decoded']:,.0f} | "
            f"{row['tokens_decoded']:,.0f} | {row['bytes_moved'] / 1e6:.2f} | {row['round_trips']:.0f} |"
        )
    first = measured["pgretrieval"][0]
    stage_seconds = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in first["stage_seconds"].items())
    lines += [
        "",
        f"Our build, with proxies: add {first['add_seconds']:.0f} s, {stage_seconds}; {first['resident_mib']:,.0f} MiB "
        f"resident at most in the client, {first['storage']['per_token']:.1f} bytes a token, "
        f"{first['storage']['ratio']:.2f} times the payload.",
        "",
        "`search_many`, queries per second: "
        + ", ".join(
            f"{row['generator']} {row['search_many_per_second']:.0f}"
            for row in measured["pgretrieval"]
            if "search_many_per_second" in row
        )
        + ".",
    ]
    return lines


def _row(engine: str, row: Measured, seconds: float | None, megabytes: float) -> str:
    built = "-" if seconds is None else f"{seconds:.0f}"
    return (
        f"| {engine} | {row['k']} | {row['ndcg']:.4f} | {row['fidelity']:.4f} | {row['p50']:.1f} | {row['p95']:.1f} | "
        f"{built} | {megabytes:.0f} |"
    )


def _growth(measured: list[Measured]) -> list[str]:
    rows = [section["measured"] for section in measured]
    lines = [
        "Prefixes of the pile in one seeded order, with the defaults of each size; the million passages are of 8 to 24 tokens",
        "drawn from the pile's own, so that they have about as many tokens as the pile.",
        "",
        "| passages | tokens | fidelity@10 | nDCG@10 | p50 ms | p95 ms | candidates | build s | bytes / token | MiB, build | "
        "MiB, search | date |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for section, row in zip(measured, rows, strict=True):
        quality = f"{row['fidelity']:.4f} | " + (f"{row['ndcg']:.4f}" if "ndcg" in row else "-")
        times = f"{row['p50']:.1f} | {row['p95']:.1f} | {row['candidates']:,.0f} | {row['build_seconds']:.0f}"
        sizes = f"{row['storage']['per_token']:.1f} | {row['resident_mib']:,.0f} | {row['searching_mib']:,.0f}"
        lines.append(f"| {row['passages']:,} | {row['tokens']:,} | {quality} | {times} | {sizes} | {section['machine']['date']} |")
    if sum("ndcg" in row for row in rows) > 1:
        lines += [
            "",
            f"Fitted over the sizes of real passages: p50 grows as passages^{exponent(rows, 'p50'):.2f}, the build as "
            f"passages^{exponent(rows, 'build_seconds'):.2f}.",
        ]
    return [*lines, "", "![growth](../../docs/pictures/growth.svg)"]


def exponent(rows: list[Measured], name: str) -> float:
    """Slope of log(measure) over log(passages), real passages only."""
    real = [row for row in rows if "ndcg" in row]
    return float(np.polyfit(np.log([row["passages"] for row in real]), np.log([row[name] for row in real]), 1)[0])


def _throughput(rows: list[Measured]) -> list[str]:
    lines = [
        "SciFact with its defaults; client processes on the server's cores, each with sequential queries, k = 10.",
        "",
        "| clients | queries / s | p50 ms | p95 ms |",
        "|---|---|---|---|",
    ]
    lines += [f"| {row['clients']} | {row['queries_per_second']:.1f} | {row['p50']:.1f} | {row['p95']:.1f} |" for row in rows]
    return lines
