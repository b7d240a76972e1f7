"""Small benchmarks in exactly the layouts in which they are published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ANIMALS = ["cat", "dog", "horse", "eagle", "salmon", "frog"]
DEEDS = ["sleeps all day", "hunts at night", "eats green leaves", "sings in spring"]
PASSAGES = [f"the {animal} {deed}" for animal in ANIMALS for deed in DEEDS]
"""Passage 4 n + m is what animal n does as deed m."""
SINGING = {number: f"a {animal} in spring" for number, animal in enumerate(ANIMALS)}


def write_lotte(folder: Path, topic: str = "writing", split: str = "test") -> Path:
    """Search queries ask for singing, forum queries for hunting."""
    place = folder / "lotte" / topic / split
    place.mkdir(parents=True)
    _tabs(place / "collection.tsv", enumerate(PASSAGES))
    for kind, deed, words in (("search", 3, "in spring"), ("forum", 1, "at night")):
        asked = {number: f"a {animal} {words}" for number, animal in enumerate(ANIMALS)}
        _tabs(place / f"questions.{kind}.tsv", asked.items())
        rows = [{"qid": number, "query": text, "answer_pids": [4 * number + deed]} for number, text in asked.items()]
        _objects(place / f"qas.{kind}.jsonl", rows)
    return folder


def write_beir(folder: Path, name: str, *, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]) -> Path:
    """The corpus has a passage with a title only, and one without anything."""
    place = folder / name
    (place / "qrels").mkdir(parents=True)
    rows = [{"_id": f"d{number}", "title": "", "text": text, "metadata": {}} for number, text in enumerate(PASSAGES)]
    rows += [{"_id": "titled", "title": "a newt", "text": ""}, {"_id": "blank", "title": "", "text": " "}]
    _objects(place / "corpus.jsonl", rows)
    _objects(place / "queries.jsonl", [{"_id": key, "text": text, "metadata": {}} for key, text in queries.items()])
    judged = [(query, key, grade) for query, grades in qrels.items() for key, grade in grades.items()]
    _tabs(place / "qrels" / "test.tsv", [("query-id", "corpus-id", "score"), *judged])
    return folder


def write_msmarco(folder: Path) -> Path:
    """Relevance in four columns with tabs; queries have no header."""
    folder.mkdir(exist_ok=True)
    _tabs(folder / "collection.tsv", enumerate(PASSAGES))
    _tabs(folder / "queries.dev.small.tsv", ((100 + number, text) for number, text in SINGING.items()))
    _tabs(folder / "qrels.dev.small.tsv", ((100 + number, 0, 4 * number + 3, 1) for number in SINGING))
    return folder


def write_dpr(folder: Path) -> Path:
    """Wikipedia's passages have a header and quoted texts; a question's answers are a Python list."""
    folder.mkdir(exist_ok=True)
    rows = [(number + 1, f'"{text}, it ""says"""', ANIMALS[number // 4]) for number, text in enumerate(PASSAGES)]
    _tabs(folder / "psgs_w100.tsv", [("id", "text", "title"), *rows])
    asked = [(f"which animal {deed}", f"['{ANIMALS[number]}', 'unicorn']") for number, deed in enumerate(DEEDS)]
    _tabs(folder / "nq-test.qa.csv", [*asked, ("who eats no leaves", '"[""it \'barks\'""]"')])
    return folder


def write_colbert_qas(folder: Path) -> Path:
    """ColBERT's file of questions instead of DPR's."""
    write_dpr(folder)
    (folder / "nq-test.qa.csv").unlink()
    _objects(folder / "qas.json", [{"qid": 7, "question": "which animal sings in spring", "answers": ["Frog"]}])
    return folder


def _tabs(path: Path, rows: Any) -> None:
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")


def _objects(path: Path, rows: Any) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_zeshel(folder: Path, words: list[str], world: str = "yugioh", *, candidates: bool = False) -> Path:
    """An entity for each pair of words; its document mentions the first of them, in context of the second."""
    for part in ("documents", "mentions", *(["tfidf_candidates"] if candidates else [])):
        (folder / part).mkdir(parents=True)
    pairs = [(first, second) for first in words for second in words]
    rows = [{"document_id": f"E{n}", "title": first, "text": f"{first} of {second}"} for n, (first, second) in enumerate(pairs)]
    _objects(folder / "documents" / f"{world}.json", rows)
    mentions = [
        {
            "mention_id": f"M{n}",
            "context_document_id": f"E{n}",
            "corpus": world,
            "start_index": 2,
            "end_index": 2,
            "text": second,
            "label_document_id": f"E{n}",
            "category": "LOW_OVERLAP",
        }
        for n, (_, second) in enumerate(pairs)
    ]
    other = {**mentions[0], "mention_id": "other", "corpus": "lego", "context_document_id": "elsewhere"}
    for number, part in enumerate(("train", "val", "test")):
        _objects(folder / "mentions" / f"{part}.json", [*mentions[number::3], other])
        if candidates:
            found = [
                {"mention_id": row["mention_id"], "tfidf_candidates": [f"E{n}" for n in range(12)]} for row in mentions[number::3]
            ]
            _objects(folder / "tfidf_candidates" / f"{part}.json", found)
    return folder
