"""Encoder "minilm" beside the library's own loop: one query, and passages a second.

    python benchmarks/encoding.py [--passages N] [--rounds N] [--threads N]

Encodes docstrings of the Python standard library in alternating rounds, on this processor and as on one with AVX2 alone. Times are
seconds of the processor (user and system), the least of all rounds, since machines are shared; wall times of the same rounds stand
beside them. Writes benchmarks/results/encoding.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from benchmarks import machine
from pgretrieval.corpus.docstrings import standard_library_passages
from pgretrieval.encode.library import quiet
from pgretrieval.encode.minilm import MiniLMEncoder, build_model
from pgretrieval.numerics.hardware import multiplies_bf16

RESULTS = Path(__file__).parent / "results"
QUERY = "how do I run a function in several processes"  # eleven tokens with both markers
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
_LIBRARY, _HALF = "library, float32", "library, bfloat16"
_STRIDE = 31  # of the corpus, so that passages are of many modules and lengths
_QUERIES = 30  # a round


def measure(passages: int, rounds: int, half: bool) -> dict[str, Any]:
    """Seconds by encoder, and cosines with the library's vectors in float32."""
    texts = [passage.encoded_text for passage in islice(standard_library_passages(), 0, passages * _STRIDE, _STRIDE)]
    encoders = {_LIBRARY: _library(torch.float32)}
    if half:
        encoders |= {_HALF: _library(torch.bfloat16)}
    encoders |= {"minilm": _own()}
    queries: dict[str, list[tuple[float, float]]] = {name: [] for name in encoders}
    loops: dict[str, list[tuple[float, float]]] = {name: [] for name in encoders}
    vectors: dict[str, list[Any]] = {}
    for _ in range(rounds):
        for name, encode in encoders.items():
            encode([QUERY], query=True)
            queries[name] += [_timed(lambda encode=encode: encode([QUERY], query=True))[0] for _ in range(_QUERIES)]
            spent, vectors[name] = _timed(lambda encode=encode: encode(texts, query=False))
            loops[name].append(spent)
    asked = {name: _unit(encode([QUERY], query=True)[0]) for name, encode in encoders.items()}
    tokens = sum(map(len, vectors[_LIBRARY]))
    exact = np.concatenate([_unit(rows) for rows in vectors[_LIBRARY]])
    rows = {}
    for name in encoders:
        cosines = (np.concatenate([_unit(some) for some in vectors[name]]) * exact).sum(axis=1)
        rows[name] = {
            "query": 1e3 * min(cpu for cpu, _ in queries[name]),
            "query_wall": 1e3 * statistics.median(wall for _, wall in queries[name]),
            "passages": passages / min(cpu for cpu, _ in loops[name]),
            "tokens": tokens / min(cpu for cpu, _ in loops[name]),
            "difference": float(abs(asked[name] - asked[_LIBRARY]).max()),
            "cosine": float(cosines.mean()),
            "least": float(cosines.min()),
        }
    return rows


def _library(dtype: torch.dtype) -> Callable[..., list[Any]]:
    with quiet():
        model = build_model("cpu", dtype)

    def encode(texts: list[str], query: bool) -> list[Any]:
        of_kind = model.encode_query if query else model.encode_document
        return list(of_kind(texts, batch_size=32, convert_to_numpy=True, show_progress_bar=False))

    return encode


def _own() -> Callable[..., list[Any]]:
    encoder = MiniLMEncoder("cpu")
    return lambda texts, query: encoder.encode_query(texts) if query else encoder.encode_document(texts)


def _timed(encode: Callable[[], list[Any]]) -> tuple[tuple[float, float], list[Any]]:
    cpu, wall = time.process_time(), time.perf_counter()
    vectors = encode()
    return (time.process_time() - cpu, time.perf_counter() - wall), vectors


def _unit(rows: Any) -> Any:
    rows = np.asarray(rows, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _table(measured: dict[str, Any]) -> list[str]:
    base = measured[_LIBRARY]
    lines = [
        "| encoder | query, ms | of the library | difference | passages/s | tokens/s | times the library | cosine, mean, least |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in measured.items():
        alike = row if name.startswith("library") else measured.get(_HALF, base)
        lines.append(
            f"| {name} | {row['query']:.2f} ({row['query_wall']:.1f} wall) | {row['query'] / alike['query']:.2f} "
            f"| {row['difference']:.0e} | {row['passages']:.0f} | {row['tokens']:,.0f} | {row['passages'] / base['passages']:.2f} "
            f"| {row['cosine']:.5f}, {row['least']:.5f} |"
        )
    return lines


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--passages", type=int, default=256)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--part", choices=("native", "avx2"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.part:
        torch.set_num_threads(options.threads)
        half = options.part == "native" and multiplies_bf16()
        print(json.dumps(measure(options.passages, options.rounds, half)))
        return
    found = {}
    for part, variables in (("native", {}), ("avx2", AVX2)):
        command = [sys.executable, "-W", "ignore", *sys.argv, "--part", part]
        done = subprocess.run(command, env=os.environ | variables, stdout=subprocess.PIPE, text=True, check=True)
        found[part] = json.loads(done.stdout.splitlines()[-1])
    page = [
        "# Encoding with minilm",
        "",
        f"`python benchmarks/encoding.py --passages {options.passages} --rounds {options.rounds} --threads {options.threads}`",
        "",
        "Docstrings of the Python standard library and one query of eleven tokens, in alternating rounds. Processor time, "
        'the least of all rounds. "library" is `MultiVectorEncoder` of sentence-transformers with batches of 32. Cosines are those '
        "of token vectors with the library's in float32, as is the greatest difference of a coordinate of the query's. Queries are "
        "compared with the library in the precision that this processor computes fastest, passages with its default, float32.",
        "",
        machine.as_lines(machine.describe()),
        "",
        "## This processor",
        "",
        *_table(found["native"]),
        "",
        "## AVX2 alone",
        "",
        f"The same with {' '.join(f'{name}={value}' for name, value in AVX2.items())}.",
        "",
        *_table(found["avx2"]),
        "",
    ]
    (RESULTS / "encoding.md").write_text("\n".join(page), encoding="utf-8")
    print("\n".join(page))


if __name__ == "__main__":
    main()
