"""Token vectors of a test collection, computed once into a cache folder, in the form that the peers read too."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pgretrieval.corpus.jsonl import read_passages, read_queries
from pgretrieval.encode.registry import load_encoder
from pgretrieval.evaluate.qrels import read_qrels
from pgretrieval.types import Float32Array, Int64Array, Passage

_BATCH = 2048


@dataclass(frozen=True)
class Vectors:
    """A collection's passages, judged queries and qrels, with their token vectors below one another."""

    folder: Path
    passages: list[Passage]
    query_ids: list[str]
    qrels: dict[str, dict[str, int]]
    documents: Float32Array
    document_offsets: Int64Array
    queries: list[Float32Array]


def data_folder() -> Path:
    """Where the test collections lie: PGRETRIEVAL_DATA, else `shared/data` beside the checkout."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PGRETRIEVAL_DATA") or default)
    if not folder.is_dir():
        sys.exit(f"no test collections in {folder}: set PGRETRIEVAL_DATA to a folder with scifact/corpus.jsonl.gz and the like")
    return folder


def load(name: str, cache: Path, encoder: str = "minilm") -> Vectors:
    """Read the collection, and its vectors from the cache, where they are put first if they are missing."""
    source, folder = data_folder() / name, cache / f"{name}-{encoder}"
    passages = list(read_passages(source / "corpus.jsonl.gz"))
    qrels = read_qrels(source / "qrels.tsv")
    queries = [(query_id, text) for query_id, text in read_queries(source / "queries.jsonl.gz") if query_id in qrels]
    if not (folder / "done.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        loaded = load_encoder(encoder)
        _save(folder, "query", loaded.encode_query([text for _, text in queries]))
        encoded: list[Float32Array] = []
        for start in range(0, len(passages), _BATCH):
            part = loaded.encode_document([passage.encoded_text for passage in passages[start : start + _BATCH]])
            encoded.extend(array.astype(np.float16) for array in part)
            print(f"{name}: {len(encoded):,} of {len(passages):,} passages encoded", file=sys.stderr)
        _save(folder, "document", encoded)
        (folder / "done.json").write_text(json.dumps({"passages": len(passages), "queries": len(queries)}))
    documents, document_offsets = _read(folder, "document")
    query_vectors, query_offsets = _read(folder, "query")
    return Vectors(
        folder,
        passages,
        [query_id for query_id, _ in queries],
        qrels,
        documents,
        document_offsets,
        np.split(query_vectors, query_offsets[1:-1]),
    )


def _save(folder: Path, side: str, arrays: list[Float32Array]) -> None:
    np.save(folder / f"{side}_vectors.npy", np.concatenate(arrays).astype(np.float16))
    np.save(folder / f"{side}_lengths.npy", np.array([len(array) for array in arrays], dtype=np.int32))


def _read(folder: Path, side: str) -> tuple[Float32Array, Int64Array]:
    vectors = np.load(folder / f"{side}_vectors.npy").astype(np.float32)
    lengths = np.load(folder / f"{side}_lengths.npy")
    return vectors, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
