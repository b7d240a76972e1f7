"""Draw the pictures of the documentation into docs/pictures: `python benchmarks/pictures.py`.

Figures are read from benchmarks/results; run it again after a measurement.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import diagrams

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "pictures"
_BLUE, _ORANGE, _GREEN, _GREY = "#336791", "#b35900", "#2f7d4f", "#8c959f"


def main(folder: Path = PICTURES) -> None:
    """Draw all pictures into a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "pipeline.svg").write_text(pipeline(), encoding="utf-8")
    (folder / "tables.svg").write_text(diagrams.tables(), encoding="utf-8")
    growth(folder)
    quality_and_size(folder)
    faults(folder)
    analyses(folder)
    for stem in ("anchors-ncbi_disease_el", "anchors-wsd_wordnet-4000"):
        calls(folder, stem)
    numbers(folder, "factorised-wsd_wordnet-1500")


def pipeline() -> str:
    """The stages of a search, with the figures of SciFact."""
    measured = next(row for row in _json("speed")["scifact"]["measured"]["pgretrieval"] if row["generator"] == "postings")
    figures = {
        "probes": "8",
        "candidates": f"{measured['candidates']:,.0f}",
        "decoded": f"{measured['passages_decoded']:,.0f}",
        "megabytes": f"{measured['bytes_moved'] / 1e6:.1f}",
    }
    return diagrams.pipeline(figures, measured["stages"])


def growth(folder: Path) -> None:
    """Milliseconds of a search and seconds of a build against the number of passages."""
    sections = _json("speed")
    rows = sorted((sections[name]["measured"] for name in sections if name.startswith("growth-")), key=lambda row: row["passages"])
    rows = [row for row in rows if "ndcg" in row]  # real passages only
    passages = [row["passages"] for row in rows]
    largest = sections["pile"]["measured"]
    exact = [
        (sections[name]["measured"]["passages"], sections[name]["measured"]["exact"]["p50"]) for name in ("pile-20000", "pile")
    ]
    with _figure(folder / "growth.svg", 2) as (search, build):
        whole = next(row for row in largest["pgretrieval"] if row["generator"] == "postings" and row["k"] == 10)
        search.plot([*passages, largest["passages"]], [*(row["p50"] for row in rows), whole["p50"]], marker="o", color=_BLUE)
        search.plot(*zip(*exact, strict=True), marker="s", color=_GREY, linestyle="--")
        search.text(passages[0], 24, "pgretrieval", color=_BLUE)
        search.text(exact[1][0] * 0.85, exact[1][1], "exact MaxSim in torch", color="#59636e", ha="right", va="center")
        search.set(xscale="log", yscale="log", xlabel="passages", ylabel="milliseconds (p50)", title="A search", ylim=(10, 2000))
        build.plot(passages, [row["build_seconds"] for row in rows], marker="o", color=_BLUE)
        build.set(xscale="log", yscale="log", xlabel="passages", ylabel="seconds", title="Add and build", ylim=(10, 1000))
        for axis, ticks in ((search, (10, 30, 100, 300, 1000)), (build, (10, 30, 100, 300, 1000))):
            axis.minorticks_off()
            axis.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
        search.set_xticks((5_000, 20_000, 80_000, 160_000), ("5,000", "20,000", "80,000", "160,000"))
        build.set_xticks((5_000, 20_000, 80_000), ("5,000", "20,000", "80,000"))


def quality_and_size(folder: Path) -> None:
    """Draw quality against size, for smaller codes and fewer vectors per passage."""
    codec = [row for row in _table("codec") if "bits" in row[0]]
    pooled = [row for row in _json("pooled") if row["set"] == "scifact"]
    with _figure(folder / "quality-size.svg", 2) as (bits, vectors):
        for levels, colour in (("lloyd-max", _BLUE), ("quantile", _GREY)):
            rows = [row for row in codec if levels in row[0]]
            bits.plot([float(row[3]) for row in rows], [float(row[2]) for row in rows], marker="o", color=colour, label=levels)
        for row in codec[:3]:
            bits.annotate(
                row[0].split(",")[0].replace("1 bits", "1 bit"),
                (float(row[3]), float(row[2])),
                (-6, 7),
                textcoords="offset points",
                ha="right",
            )
        bits.set(
            xlabel="bytes a token, indexes included",
            ylabel="fidelity@10",
            title="Bits of the codec (SciFact)",
            ylim=(0.8, 1),
            xlim=(25, 95),
        )
        bits.legend(frameon=False, loc="lower right")
        for row in pooled:
            trained = not row["way"].startswith("means")
            place = (row["bytes_per_passage"] / 1000, row["ndcg"])
            vectors.plot(*place, marker="o", color=_BLUE if trained else _GREY)
            vectors.annotate(row["way"].replace("constbert-32", "ConstBERT, C = 32"), place, (7, -3), textcoords="offset points")
        vectors.set(
            xlabel="kB a passage, indexes included",
            ylabel="nDCG@10",
            title="Vectors a passage (SciFact)",
            xlim=(0, 29),
            ylim=(0.65, 0.74),
        )


def analyses(folder: Path) -> None:
    """Draw the analyses of ColBERTv2's appendices: distributions of the space, bits against quality, depths of retrieval."""
    found = _json("analyses")
    space, bits = found["space"]["measured"], found["bits"]["measured"]
    shares = [place / (len(space["residuals"]) - 1) for place in range(len(space["residuals"]))]
    with _figure(folder / "analyses.svg", 3 + ("settings" in found), width=16) as axes:
        residuals, clusters, quality, *depths = axes
        residuals.plot(space["residuals"], shares, color=_BLUE, label="tokens")
        residuals.plot(space["residuals_of_random"], shares, color=_GREY, linestyle="--", label="random vectors")
        residuals.set(xlabel="length of a residual", ylabel="share of vectors", title="Residuals", xlim=(0, 1.2))
        clusters.plot(space["tokens_of_centroid"], shares, color=_BLUE, label="tokens of a centroid")
        clusters.plot(space["centroids_of_token"], shares, color=_ORANGE, label="centroids of a token")
        clusters.set(xscale="log", xlabel="number", ylabel="share", title="Clusters")
        for name, colour in (("lloyd-max", _BLUE), ("quantile", _ORANGE), ("no centroid", _GREY)):
            rows = [row for row in bits if name in row["codec"]]
            measured = [row["measures"]["RR@10"] for row in rows]
            errors = [
                [one["difference"] - one["interval"][0] for one in measured],
                [one["interval"][1] - one["difference"] for one in measured],
            ]
            means, sizes = [one["mean"] for one in measured], [row["bytes"] for row in rows]
            quality.errorbar(sizes, means, yerr=errors, marker="o", capsize=3, color=colour, label=name)
        quality.axhline(bits[0]["measures"]["RR@10"]["mean"], color="#59636e", linestyle=":", label="256 bytes")
        quality.set(xlabel="bytes a vector", ylabel="RR@10, interval of the difference", title="Bits", ylim=(0.64, 0.74))
        for axis in depths:
            _depths_of_retrieval(axis, found["settings"]["measured"])
        for axis in axes:
            axis.legend(frameon=False, fontsize=7, loc="lower right")


def _depths_of_retrieval(axis: Any, rows: list[dict[str, Any]]) -> None:
    for bits, style in ((1, "--"), (2, "-")):
        for probes, colour in ((1, _GREY), (2, _ORANGE), (4, _BLUE)):
            points = [(row["candidates"], row["R@50"]) for row in rows if (row["bits"], row["probes"]) == (bits, probes)]
            axis.plot(
                *zip(*points, strict=True), style, marker="o", markersize=3, color=colour, label=f"bits {bits}, probes {probes}"
            )
    axis.set(xscale="log", xlabel="candidates", ylabel="R@50", title="Probes and candidates", ylim=(0.86, 0.96))


def faults(folder: Path) -> None:
    """Acknowledged changes under killed processes, cut connections and full disks; none was lost."""
    rows = sorted(_json("chaos"), key=lambda row: row["acknowledged"])
    lost, duplicated, violations = (sum(row[name] for row in rows) for name in ("lost", "duplicated", "violations"))
    with _figure(folder / "faults.svg", 1, height=6.6, width=8.5) as (bars,):
        names = [row["case"].replace("`", "") for row in rows]
        bars.barh(names, [row["acknowledged"] for row in rows], color=_BLUE, height=0.65)
        for place, row in enumerate(rows):
            bars.text(
                row["acknowledged"] + 200,
                place,
                f"{row['faults']:,} fault{'s'[: row['faults'] != 1]}",
                va="center",
                fontsize=8,
                color="#59636e",
            )
        bars.set(
            xlabel="passages whose change was acknowledged",
            xlim=(0, max(row["acknowledged"] for row in rows) * 1.18),
            ylim=(-0.6, len(rows) - 0.4),
        )
        bars.set_title(f"{lost} lost, {duplicated} duplicated, {violations} violations", loc="left")
        bars.tick_params(axis="y", labelsize=8)
        bars.grid(axis="y", alpha=0)


def calls(folder: Path, stem: str) -> None:
    """Share of a cross-encoder's ranking that a search finds, against its calls."""
    results = next(iter(_json(stem).values()))["recall"]
    chosen = {
        "ANNCUR, 5 rounds": _BLUE,
        "ANNCUR": _GREEN,
        "late interaction, then 4 rounds": _ORANGE,
        "late interaction, reranked": _GREY,
        "words, reranked": "#59636e",
    }
    with _figure(folder / f"{stem}.svg", 3, width=12) as axes:
        for axis, depth in zip(axes, (1, 10, 100), strict=True):
            for method, colour in chosen.items():
                points = sorted(
                    (int(key.partition("@")[2]), mean(value))
                    for key, value in results[method].items()
                    if key.startswith(f"{depth}@")
                )
                axis.plot(*zip(*points, strict=True), marker="o", markersize=4, color=colour, label=method)
            axis.set(xscale="log", xlabel="calls of the cross-encoder", title=f"the best {depth}", ylim=(0, 1.05))
            axis.minorticks_off()
            axis.set_xticks([calls for calls, _ in points], [f"{calls:,}" for calls, _ in points])
        axes[0].set_ylabel("share found")
        axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(chosen), frameon=False)


def numbers(folder: Path, stem: str) -> None:
    """Recall of ANNCUR by numbers of anchor queries and anchor items, as a heat map: the paper's choices and ours."""
    results = _json(stem)
    measured = results["numbers"]
    titles = {"paper": "random anchor items, plain inverse", "ours": "greedy anchor items, regularised inverse"}
    with _figure(folder / f"{stem}.svg", 2) as axes:
        for axis, (name, title) in zip(axes, titles.items(), strict=True):
            axis.grid(visible=False)
            axis.pcolormesh(measured[name], cmap="Blues", vmin=0, vmax=1.3, edgecolors="white")
            for row, cells in enumerate(measured[name]):
                for column, cell in enumerate(cells):
                    axis.text(column + 0.5, row + 0.5, f"{cell:.3f}".lstrip("0"), ha="center", va="center")
            axis.set_xticks([place + 0.5 for place in range(len(cells))], results["sizes"]["anchor_items"])
            axis.set_yticks([place + 0.5 for place in range(row + 1)], results["sizes"]["anchor_queries"])
            axis.set(xlabel="anchor items", ylabel="anchor queries", title=title)


@contextmanager
def _figure(path: Path, panels: int, height: float = 3.4, width: float = 9.5) -> Iterator[Any]:
    """Axes of a figure with a white background, saved at the end."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    style = {
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "svg.fonttype": "none",
        "svg.hashsalt": "pgretrieval",
    }
    with mpl.rc_context(style):
        figure, axes = pyplot.subplots(1, panels, figsize=(width, height), constrained_layout=True, squeeze=False)
        yield axes[0]
        figure.savefig(path, metadata={"Date": None}, facecolor="white")
        pyplot.close(figure)


def _json(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _table(name: str) -> list[list[str]]:
    """The rows of the first Markdown table of a results page, without its header."""
    lines = [line for line in (RESULTS / f"{name}.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


if __name__ == "__main__":
    main()
