"""Token vectors of test collections, computed once into a cache folder, in a format that the peers also read."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from pgretrieval.corpus.jsonl import read_queries
from pgretrieval.corpus.reading import read_passages
from pgretrieval.encode.minilm import MAX_TOKENS, NEWEST, model_folder
from pgretrieval.encode.registry import load_encoder
from pgretrieval.evaluate.qrels import read_qrels
from pgretrieval.train.run import MODEL
from pgretrieval.types import Float32Array, Int64Array, Passage

PILE = ("medquad", "tldr_commands", "wiki_movies", "cpp_docs")
"""The collections of the pile, 160,429 passages in all."""
PART = 20_000  # passages of the pile for slow peers
_QUERIES_PER_COLLECTION = 75
_BATCH = 2048
_SEED = 0
DOCUMENTS = "document_vectors.npy"
"""File of the passages' token vectors in the folder of a collection."""


@dataclass(frozen=True)
class Vectors:
    """Passages, judged queries and qrels, with concatenated token vectors; `documents` is half precision, on disk."""

    folder: Path
    passages: list[Passage]
    query_ids: list[str]
    qrels: dict[str, dict[str, int]]
    documents: NDArray[np.float16]
    document_offsets: Int64Array
    queries: list[Float32Array]

    def arrays(self) -> Iterator[Float32Array]:
        """One (tokens, dim) array per passage, read on demand."""
        for start, end in zip(self.document_offsets[:-1].tolist(), self.document_offsets[1:].tolist(), strict=True):
            yield self.documents[start:end].astype(np.float32)


def data_folder() -> Path:
    """Folder of the test collections: PGRETRIEVAL_DATA, by default `shared/data` beside the checkout."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PGRETRIEVAL_DATA") or default)
    if not folder.is_dir():
        sys.exit(f"no test collections in {folder}: set PGRETRIEVAL_DATA to a folder with scifact/corpus.jsonl.gz and the like")
    return folder


ENCODER = f"minilm@{NEWEST}"
"""The default encoder with its version, so that vectors of other versions in the cache are not used."""


def called(encoder: str) -> str:
    """Name of an encoder; for a run's `model` folder, that of the run."""
    folder = Path(encoder)
    return folder.parent.name if folder.name == MODEL else folder.name


def load(name: str, cache: Path, encoder: str = ENCODER, *, at_most: tuple[int, int] | None = None) -> Vectors:
    """Read the collection, and its vectors from the cache, computing them if missing.

    `at_most` limits a larger collection to so many judged queries and passages, all that are judged among them, drawn by seed.
    Their vectors are copied if the cache has those of the whole collection.
    """
    source, folder = data_folder() / name, cache / f"{name}-{called(encoder)}"
    passages = whole = list(read_passages(source / "corpus.jsonl.gz", blank="title"))
    qrels = read_qrels(source / "qrels.tsv")
    queries = judged = [(query_id, text) for query_id, text in read_queries(source / "queries.jsonl.gz") if query_id in qrels]
    full = folder
    if at_most and (len(queries) > at_most[0] or len(passages) > at_most[1]):
        folder = cache / f"{name}-{at_most[0]}-{at_most[1]}-{called(encoder)}"
        order = np.random.default_rng(_SEED).permutation(len(queries))[: at_most[0]]
        queries = [queries[place] for place in np.sort(order).tolist()]
        qrels = {query_id: qrels[query_id] for query_id, _ in queries}
        passages = sample_passages(passages, relevant(qrels), at_most[1])
    if not (folder / "done.json").exists() and folder != full and (full / "done.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for side, all_ids, ids in (
            ("query", [query_id for query_id, _ in judged], [query_id for query_id, _ in queries]),
            ("document", [passage.id for passage in whole], [passage.id for passage in passages]),
        ):
            _save(folder, side, _chosen(full, side, all_ids, set(ids)))
        (folder / "done.json").write_text(json.dumps({"passages": len(passages), "queries": len(queries)}))
    if not (folder / "done.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        loaded = load_encoder(encoder)
        _save(folder, "query", loaded.encode_query([text for _, text in queries]))
        encoded: list[NDArray[np.float16]] = []
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
        np.split(query_vectors.astype(np.float32), query_offsets[1:-1]),
    )


def relevant(qrels: dict[str, dict[str, int]]) -> set[str]:
    """All judged passages."""
    return {key for grades in qrels.values() for key in grades}


def sample_passages(passages: list[Passage], wanted: Collection[str], count: int) -> list[Passage]:
    """All requested passages, and others up to `count`, drawn by seed, in the order of the corpus."""
    others = [place for place, passage in enumerate(passages) if passage.id not in wanted]
    drawn = np.random.default_rng(_SEED).permutation(len(others))[: max(count - len(wanted), 0)]
    taken = {others[place] for place in drawn.tolist()}
    return [passage for place, passage in enumerate(passages) if passage.id in wanted or place in taken]


def first_queries(data: Vectors, count: int | None) -> Vectors:
    """The same passages with only the first judged queries."""
    return data if count is None else replace(data, query_ids=data.query_ids[:count], queries=data.queries[:count])


@dataclass(frozen=True)
class Dense:
    """The single vectors of a collection: (passages, dense dim) and (judged queries, dense dim), unit rows."""

    documents: Float32Array
    queries: Float32Array


def load_dense(data: Vectors, name: str, encoder: str = ENCODER) -> Dense:
    """The encoder's single vectors, computed once and stored with the token vectors of `load`."""
    kept = data.folder / "dense.npz"
    if not kept.exists():
        loaded, texts = load_encoder(encoder), query_texts(name)
        queries = loaded.encode_query_with_dense([texts[query] for query in data.query_ids])[1]
        parts = []
        for start in range(0, len(data.passages), _BATCH):
            part = [passage.encoded_text for passage in data.passages[start : start + _BATCH]]
            parts.append(loaded.encode_document_with_dense(part)[1].astype(np.float16))
            print(f"{name}: {start + len(part):,} of {len(data.passages):,} passages encoded", file=sys.stderr)
        np.savez(kept, documents=np.concatenate(parts), queries=queries)
    held = np.load(kept)
    return Dense(held["documents"].astype(np.float32), held["queries"])


def save_token_ids(data: Vectors) -> None:
    """Write the vocabulary ids of the passages' tokens to the folder of the vectors, for peers that cluster by them."""
    kept = data.folder / "document_tokens.npy"
    if not kept.exists():
        tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        ids = [encoding.ids for encoding in tokenizer.encode_batch_fast([passage.encoded_text for passage in data.passages])]
        if [len(row) for row in ids] != np.diff(data.document_offsets).tolist():
            raise ValueError(f"{data.folder} has other numbers of tokens than minilm's tokenizer gives its passages")
        np.save(kept, np.concatenate(ids).astype(np.int32))


def query_texts(name: str) -> dict[str, str]:
    """Query id -> text, of a set or of joined ones."""
    parts = joined_names(name)
    texts = [dict(read_queries(data_folder() / part / "queries.jsonl.gz")) for part in parts]
    if len(parts) == 1:
        return texts[0]
    return {f"{part}/{key}": text for part, found in zip(parts, texts, strict=True) for key, text in found.items()}


def joined_names(name: str) -> tuple[str, ...]:
    """The sets of "pile", or of names joined by "+"."""
    return PILE if name == "pile" else tuple(name.split("+"))


def load_joined(name: str, cache: Path, passages: int | None = None) -> Vectors:
    """A set by name, or the first `passages` of several in a seeded order."""
    names = joined_names(name)
    return load(name, cache) if len(names) == 1 else load_pile(cache, passages, names)


def load_pile(cache: Path, passages: int | None = None, names: Sequence[str] = PILE) -> Vectors:
    """The first `passages` of the pile in a seeded order, by default all, with the same judged queries for every size.

    With other names, those of a pile of these sets.
    """
    whole = _pile(cache, names)
    if passages is None or passages >= len(whole.passages):
        return whole
    folder = cache / f"{_pile_name(names)}-{passages}-{ENCODER}"
    offsets = whole.document_offsets[: passages + 1]
    if not (folder / "done.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / DOCUMENTS, whole.documents[: offsets[-1]])
        np.save(folder / "document_lengths.npy", np.diff(offsets).astype(np.int32))
        _save(folder, "query", whole.queries)
        (folder / "done.json").write_text(json.dumps({"passages": passages, "queries": len(whole.queries)}))
    kept = whole.passages[:passages]
    passage_ids = {passage.id for passage in kept}
    qrels = {
        query: {passage: grade for passage, grade in judged.items() if passage in passage_ids}
        for query, judged in whole.qrels.items()
    }
    return replace(
        whole, folder=folder, passages=kept, qrels=qrels, documents=_read(folder, "document")[0], document_offsets=offsets
    )


def _pile_name(names: Sequence[str]) -> str:
    return "pile" if tuple(names) == PILE else "pile-of-" + "-".join(names)


def _pile(cache: Path, names: Sequence[str]) -> Vectors:
    parts = [_prefixed(name, load(name, cache)) for name in names]
    passages = [passage for part in parts for passage in part.passages]
    order = np.random.default_rng(_SEED).permutation(len(passages))
    lengths = np.concatenate([np.diff(part.document_offsets) for part in parts])[order]
    folder = cache / f"{_pile_name(names)}-{ENCODER}"
    query_ids, queries = _queries_of_pile(parts, {passages[i].id for i in order[:PART].tolist()})
    if not (folder / "done.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write_shuffled(folder, parts, order, lengths)
        _save(folder, "query", queries)
        (folder / "done.json").write_text(json.dumps({"passages": len(passages), "queries": len(queries)}))
    documents, offsets = _read(folder, "document")
    qrels = {query: part.qrels[query] for part in parts for query in part.qrels}
    chosen = {query: qrels[query] for query in query_ids}
    return Vectors(folder, [passages[i] for i in order.tolist()], query_ids, chosen, documents, offsets, queries)


def _prefixed(name: str, part: Vectors) -> Vectors:
    """Ids prefixed by the collection's name, because collections may share ids."""
    return replace(
        part,
        passages=[replace(passage, id=f"{name}/{passage.id}") for passage in part.passages],
        query_ids=[f"{name}/{query}" for query in part.query_ids],
        qrels={
            f"{name}/{query}": {f"{name}/{passage}": grade for passage, grade in judged.items()}
            for query, judged in part.qrels.items()
        },
    )


def _queries_of_pile(parts: Sequence[Vectors], passage_ids: set[str]) -> tuple[list[str], list[Float32Array]]:
    """An equal number of each collection's queries, all with a relevant passage among those given to slow peers."""
    query_ids: list[str] = []
    queries: list[Float32Array] = []
    for part in parts:
        answerable = [i for i, query in enumerate(part.query_ids) if passage_ids & part.qrels[query].keys()]
        for i in np.random.default_rng(_SEED).permutation(answerable)[:_QUERIES_PER_COLLECTION].tolist():
            query_ids.append(part.query_ids[i])
            queries.append(part.queries[i])
    return query_ids, queries


def _write_shuffled(folder: Path, parts: Sequence[Vectors], order: Int64Array, lengths: Int64Array) -> None:
    """The vectors of all collections in one file, passages in the given order."""
    sources = np.concatenate([np.full(len(part.passages), number) for number, part in enumerate(parts)])
    starts = np.concatenate([part.document_offsets[:-1] for part in parts])
    shape = int(lengths.sum()), parts[0].documents.shape[1]
    written = np.lib.format.open_memmap(folder / DOCUMENTS, mode="w+", dtype=np.float16, shape=shape)
    at = 0
    for position, length in zip(order.tolist(), lengths.tolist(), strict=True):
        start = int(starts[position])
        written[at : at + length] = parts[int(sources[position])].documents[start : start + length]
        at += length
    written.flush()
    np.save(folder / "document_lengths.npy", lengths.astype(np.int32))


def _save(folder: Path, side: str, arrays: Sequence[NDArray[np.floating]]) -> None:
    np.save(folder / f"{side}_vectors.npy", np.concatenate(arrays).astype(np.float16))
    np.save(folder / f"{side}_lengths.npy", np.array([len(array) for array in arrays], dtype=np.int32))


def _chosen(folder: Path, side: str, all_ids: Sequence[str], ids: Collection[str]) -> list[NDArray[np.float16]]:
    """The vectors of some passages or queries of a collection, in its order."""
    vectors, offsets = _read(folder, side)
    spans = zip(all_ids, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    return [vectors[start:end] for key, start, end in spans if key in ids]


def _read(folder: Path, side: str) -> tuple[NDArray[np.float16], Int64Array]:
    vectors = np.load(folder / f"{side}_vectors.npy", mmap_mode="r")
    lengths = np.load(folder / f"{side}_lengths.npy")
    return vectors, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
