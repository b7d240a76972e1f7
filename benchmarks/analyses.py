"""The analyses of ColBERTv2's appendices on SciFact: residuals and clusters (A), bits (B), probes and candidates (C).

    python benchmarks/analyses.py --cache DIR [--parts space bits settings] [--queries 300]

Each part writes its section of benchmarks/results/analyses.json, from which benchmarks/results/analyses.md and a picture are
generated.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import machine, pictures, vectors
from benchmarks.run import RESULTS, build, say, serving, unit
from benchmarks.vectors import Vectors
from pgretrieval.encode.minilm import MAX_TOKENS, model_folder
from pgretrieval.evaluate.bootstrap import paired_bootstrap
from pgretrieval.evaluate.metrics import parse_metrics, query_metrics, run_from_ranking
from pgretrieval.numerics.codebook import Codebook, train_codebook
from pgretrieval.numerics.kmeans import centroid_count
from pgretrieval.numerics.maxsim import maxsim_many
from pgretrieval.numerics.residual import fit_codec
from pgretrieval.types import Float32Array, Int64Array, Levels

SET = "scifact"
MEASURES = parse_metrics("RR@10 nDCG@10 R@50")
DEPTH = 50
CODECS: tuple[tuple[int, Levels], ...] = ((4, "lloyd-max"), (2, "lloyd-max"), (1, "lloyd-max"), (2, "quantile"), (1, "quantile"))
WITHOUT_CENTROIDS = (2, 1)
SETTING_BITS, PROBES, CANDIDATES = (1, 2), (1, 2, 4), (64, 256, 1024, 4096)
SHARES = tuple(place / 20 for place in range(21))
_SAMPLE = 200_000
_PASSAGES_AT_ONCE = 512
_SEED = 0

Measured = dict[str, Any]


def sampled(data: Vectors) -> Float32Array:
    """Vectors of passages in a random order, about as many as a build trains on."""
    starts, ends = data.document_offsets[:-1], data.document_offsets[1:]
    order = np.random.default_rng(_SEED).permutation(len(starts))
    taken = order[: np.searchsorted(np.cumsum((ends - starts)[order]), _SAMPLE)]
    return unit(np.concatenate([data.documents[starts[place] : ends[place]] for place in taken.tolist()]).astype(np.float32))


def codebook_of(data: Vectors, sample: Float32Array, bits: int, levels: Levels, trained: Codebook | None = None) -> Codebook:
    """A codebook with the number of centroids of a build, or with the centroids of another."""
    if trained is None:
        return train_codebook(sample, centroid_count(int(data.document_offsets[-1])), bits, levels, _SEED)
    held_out = sample[: len(sample) // 20]
    ids, packed = trained.encode(held_out)
    del packed
    residuals = torch.from_numpy(held_out - trained.centroids[ids])
    return Codebook(trained.centroids, fit_codec(residuals, bits, levels))


def space(data: Vectors, trained: Codebook) -> Measured:
    """Appendix A: lengths of residuals beside those of random vectors, tokens of each centroid, centroids of each token."""
    total, dim = int(data.document_offsets[-1]), data.documents.shape[1]
    places = np.sort(np.random.default_rng(_SEED).choice(total, _SAMPLE, replace=False))
    rows = unit(data.documents[places].astype(np.float32))
    random = unit(np.random.default_rng(_SEED).standard_normal((2 * _SAMPLE, dim)).astype(np.float32))
    of_random = train_codebook(random[_SAMPLE:], len(trained.centroids), 1, "quantile", _SEED)
    ids = trained.encode(rows)[0].astype(np.int64)
    words = token_ids(data)[places]
    pairs = np.unique(np.stack([ids, words]), axis=1)
    return {
        "centroids": len(trained.centroids),
        "vectors": len(rows),
        "residuals": quantiles(np.linalg.norm(rows - trained.centroids[ids], axis=1)),
        "residuals_of_random": quantiles(
            np.linalg.norm(random[:_SAMPLE] - of_random.centroids[of_random.encode(random[:_SAMPLE])[0]], axis=1)
        ),
        "tokens_of_centroid": quantiles(np.unique(pairs[0], return_counts=True)[1]),
        "centroids_of_token": quantiles(np.unique(pairs[1], return_counts=True)[1]),
        "centroids_with_at_most_16_tokens": float(np.mean(np.unique(pairs[0], return_counts=True)[1] <= 16)),
    }


def token_ids(data: Vectors) -> Int64Array:
    """The vocabulary's number of every vector."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    rows = [np.array(one.ids) for one in tokenizer.encode_batch([passage.encoded_text for passage in data.passages])]
    if [len(row) for row in rows] != np.diff(data.document_offsets).tolist():
        sys.exit("the cached vectors are not those of this tokenizer; use another --cache")
    return np.concatenate(rows)


def quantiles(values: NDArray[Any]) -> list[float]:
    """Values at the shares of SHARES, for a cumulative distribution."""
    return [round(float(value), 5) for value in np.quantile(values, SHARES)]


def bits_and_quality(data: Vectors, sample: Float32Array, trained: Codebook) -> list[Measured]:
    """Appendix B: exact MaxSim over decoded vectors, so that the codec alone differs; the binary baselines have no centroids."""
    dim, number = data.documents.shape[1], 2 if len(trained.centroids) <= 2**16 else 4
    exact = by_query(data, None, None)
    rows = [row("half precision", 2.0 * dim, exact, exact)]
    for bits, levels in CODECS:
        codebook = codebook_of(data, sample, bits, levels, trained)
        rows.append(row(f"residual, {bits} bits, {levels}", number + dim * bits / 8, by_query(data, codebook, None), exact))
        say(rows[-1])
    for bits in WITHOUT_CENTROIDS:
        zero = Codebook(np.zeros((1, dim), dtype=np.float32), fit_codec(torch.from_numpy(sample), bits, "quantile"))
        rows.append(row(f"no centroid, {bits} bits", dim * bits / 8, by_query(data, zero, 0), exact))
        say(rows[-1])
    return rows


def by_query(data: Vectors, codebook: Codebook | None, centroid: int | None) -> dict[str, dict[str, float]]:
    """Measures by query of exact MaxSim over decoded vectors, scaled to length one as in the paper."""
    scores = []
    for first in range(0, len(data.passages), _PASSAGES_AT_ONCE):
        offsets = data.document_offsets[first : first + _PASSAGES_AT_ONCE + 1]
        block = unit(data.documents[offsets[0] : offsets[-1]].astype(np.float32))
        if codebook is not None:
            ids, packed = codebook.encode(block)
            block = unit(codebook.decode(ids if centroid is None else np.full_like(ids, centroid), packed))
        scores.append(maxsim_many(data.queries, block, offsets - offsets[0]))
    best = np.argsort(-np.concatenate(scores, axis=1), axis=1, kind="stable")[:, :DEPTH]
    run = {
        query: run_from_ranking([data.passages[place].id for place in places])
        for query, places in zip(data.query_ids, best.tolist(), strict=True)
    }
    return query_metrics(MEASURES, {query: data.qrels[query] for query in data.query_ids}, {DEPTH: run})


def row(name: str, size: float, found: dict[str, dict[str, float]], exact: dict[str, dict[str, float]]) -> Measured:
    """Means, and paired differences from half precision with their intervals."""
    measured: Measured = {"codec": name, "bytes": size, "share": size / 256, "measures": {}}
    for measure, values in found.items():
        difference = paired_bootstrap(list(exact[measure].values()), list(values.values()))
        mean = sum(values.values()) / len(values)
        measured["measures"][measure] = {"mean": mean, "difference": difference.mean, "interval": [difference.low, difference.high]}
    return measured


def settings(data: Vectors) -> list[Measured]:
    """Appendix C: probes x candidates x bits with the retrieval of ColBERTv2 (lower bounds from the probed lists)."""
    rows = []
    for bits in SETTING_BITS:
        with serving() as database:
            collection, _ = build(database, data, "measured", bits=bits, levels="quantile")
            for probes in PROBES:
                for candidates in CANDIDATES:
                    options = {"generator": "lower_bound", "probes": probes, "candidates": candidates}
                    hits = collection.search_many(vectors=data.queries, k=DEPTH, **options)
                    run = {
                        query: run_from_ranking([hit.id for hit in found])
                        for query, found in zip(data.query_ids, hits, strict=True)
                    }
                    judged = {query: data.qrels[query] for query in data.query_ids}
                    means = {
                        name: sum(values.values()) / len(values)
                        for name, values in query_metrics(MEASURES, judged, {DEPTH: run}).items()
                    }
                    rows.append({"bits": bits, "probes": probes, "candidates": candidates, **means})
                    say(rows[-1])
    return rows


def page(found: Measured) -> str:
    """The page of results."""
    lines = [
        "# Analyses of ColBERTv2's appendices",
        "",
        "`python benchmarks/analyses.py --cache DIR`; SciFact, MiniLM's token vectors (`minilm@2`, 128 dimensions).",
        "",
        "![Residuals, clusters, and bits against quality](../../docs/pictures/analyses.svg)",
    ]
    if "space" in found:
        lines += _space_section(found["space"])
    if "bits" in found:
        lines += _bits_section(found["bits"])
    if "settings" in found:
        lines += _settings_section(found["settings"])
    return "\n".join([*lines, ""])


def _space_section(section: Measured) -> list[str]:
    held = section["measured"]
    picked = [SHARES.index(share) for share in (0.1, 0.25, 0.5, 0.75, 0.9)]
    named = {
        "length of a residual": "residuals",
        "the same, random vectors": "residuals_of_random",
        "different tokens of a centroid": "tokens_of_centroid",
        "centroids of a token": "centroids_of_token",
    }
    table = [f"| {title} | {' | '.join(f'{held[key][place]:.3g}' for place in picked)} |" for title, key in named.items()]
    return [
        "",
        "## Residuals and clusters (Appendix A)",
        "",
        f"{held['vectors']:,} vectors drawn from all, {held['centroids']:,} centroids. Random vectors of length one have centroids "
        "of their own. "
        f"{held['centroids_with_at_most_16_tokens']:.0%} of the centroids have at most 16 different tokens among these vectors.",
        "",
        machine.as_lines(section["machine"]),
        "",
        "| quantile | 10 % | 25 % | 50 % | 75 % | 90 % |",
        "|---|---|---|---|---|---|",
        *table,
    ]


def _bits_section(section: Measured) -> list[str]:
    def cells(one: Measured) -> str:
        return " | ".join(
            "{:.4f} ({:+.4f}; {:+.4f} … {:+.4f})".format(value["mean"], value["difference"], *value["interval"])
            for value in one["measures"].values()
        )

    return [
        "",
        "## Bits and quality (Appendix B)",
        "",
        f"Exact MaxSim over decoded vectors, {section['queries']} queries: only the codec differs. In brackets, the difference "
        "from half precision with its 95 % interval (paired bootstrap). Without a centroid, each dimension is quantised alone, "
        "which with 1 bit is the binary baseline.",
        "",
        machine.as_lines(section["machine"]),
        "",
        f"| codec | bytes a vector | of 256 | {' | '.join(map(str, MEASURES))} |",
        f"|---|---|---|{'---|' * len(MEASURES)}",
        *(f"| {one['codec']} | {one['bytes']:g} | {one['share']:.0%} | {cells(one)} |" for one in section["measured"]),
    ]


def _settings_section(section: Measured) -> list[str]:
    def cells(one: Measured) -> str:
        return " | ".join(f"{one[str(measure)]:.4f}" for measure in MEASURES)

    rows = [f"| {one['bits']} | {one['probes']} | {one['candidates']:,} | {cells(one)} |" for one in section["measured"]]
    return [
        "",
        "## Probes, candidates and bits (Appendix C)",
        "",
        f'`generator="lower_bound"`, quantile levels, {section["queries"]} queries, k = {DEPTH}.',
        "",
        machine.as_lines(section["machine"]),
        "",
        f"| bits | probes | candidates | {' | '.join(map(str, MEASURES))} |",
        f"|---|---|---|{'---|' * len(MEASURES)}",
        *rows,
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts, and write results and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    parser.add_argument("--parts", nargs="+", default=["space", "bits", "settings"], choices=["space", "bits", "settings"])
    parser.add_argument("--queries", type=int, default=None, help="first judged queries; all by default")
    options = parser.parse_args(arguments)
    data = vectors.first_queries(vectors.load(SET, options.cache), options.queries)
    kept = RESULTS / "analyses.json"
    found = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    sample, trained = None, None
    if {"space", "bits"} & set(options.parts):
        sample = sampled(data)
        trained = codebook_of(data, sample, 4, "lloyd-max")
    for part in options.parts:
        if part == "settings" or sample is None or trained is None:
            measured: Any = settings(data)
        else:
            measured = space(data, trained) if part == "space" else bits_and_quality(data, sample, trained)
        found[part] = {"machine": machine.describe(), "queries": len(data.queries), "measured": measured}
        kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "analyses.md").write_text(page(found), encoding="utf-8")
    if {"space", "bits"} <= found.keys():
        pictures.analyses(pictures.PICTURES)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
