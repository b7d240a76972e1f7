"""ZESHEL: documents/WORLD.json, mentions/{train,val,test}.json and, optionally, tfidf_candidates of the same names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pgretrieval.errors import InputError
from pgretrieval.evaluate.published.rows import find_file, held_passages, object_rows, passage_of, put_once
from pgretrieval.types import Passage

WORLDS = (
    "american_football",
    "coronation_street",
    "doctor_who",
    "elder_scrolls",
    "fallout",
    "final_fantasy",
    "forgotten_realms",
    "ice_hockey",
    "lego",
    "military",
    "muppets",
    "pro_wrestling",
    "star_trek",
    "starwars",
    "world_of_warcraft",
    "yugioh",
)
PAGE = "https://github.com/lajanugen/zeshel"
_PARTS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class World:
    """Entities of a world, and its mentions in their contexts by id; `candidates` are published ones, best first."""

    entities: Callable[[], Iterator[Passage]]
    mentions: dict[str, str]
    candidates: dict[str, list[str]]

    def split(self, anchors: int, tested: int, seed: int) -> tuple[list[str], list[str]]:
        """Draw mentions for anchor queries, and other ones for tests, from distinct texts. Raises InputError for too few."""
        distinct = list({text: key for key, text in reversed(self.mentions.items())}.values())[::-1]
        if anchors + tested > len(distinct):
            msg = (
                f"{anchors} anchor queries and {tested} test queries are asked for, but the world has {len(distinct)} different "
                "mentions; give smaller numbers"
            )
            raise InputError(msg)
        order = np.random.default_rng(seed).permutation(len(distinct))[: anchors + tested].tolist()
        return [distinct[place] for place in order[:anchors]], [distinct[place] for place in order[anchors:]]


def read_zeshel(folder: Path, name: str, context: int) -> World:
    """Read a world; a mention is its text between [START] and [END] with `context` words on each side."""
    path = find_file(folder, f"documents/{name}.json")
    texts = {row["document_id"]: row["text"] for _, row in object_rows(path, document_id=str, title=str, text=str)}
    mentions: dict[str, str] = {}
    candidates: dict[str, list[str]] = {}
    for part in _PARTS:
        file = find_file(folder, f"mentions/{part}.json")
        fields = {"mention_id": str, "context_document_id": str, "corpus": str, "start_index": int, "end_index": int, "text": str}
        for where, row in object_rows(file, **fields):
            if row["corpus"] != name:
                continue
            if row["context_document_id"] not in texts:
                msg = f"{where}: the context document {row['context_document_id']!r} is not in {path.name}"
                raise InputError(msg)
            words = texts[row["context_document_id"]].split()
            text = _in_context(where, words, row["start_index"], row["end_index"], row["text"], context)
            put_once(mentions, where, row["mention_id"], text)
        candidates |= _candidates(folder, part, mentions)
    if not mentions:
        msg = f"{folder}: the mentions of {', '.join(_PARTS)} have none of the world {name!r}; take all files of the download"
        raise InputError(msg)
    return World(partial(_entities, path), mentions, candidates)


def _entities(path: Path) -> Iterator[Passage]:
    rows = object_rows(path, document_id=str, title=str, text=str)
    yield from held_passages((passage_of(where, row["document_id"], row["text"], row["title"]) for where, row in rows), path)


def _in_context(where: str, words: list[str], start: int, end: int, mention: str, context: int) -> str:
    if " ".join(words[start : end + 1]) != " ".join(mention.split()):
        msg = f"{where}: the words {start} to {end} of the context document are not {mention!r}; take all files of one download"
        raise InputError(msg)
    left, right = words[max(0, start - context) : start], words[end + 1 : end + 1 + context]
    return " ".join([*left, "[START]", *words[start : end + 1], "[END]", *right])


def _candidates(folder: Path, part: str, mentions: dict[str, str]) -> dict[str, list[str]]:
    if not (folder / "tfidf_candidates").is_dir():
        return {}
    rows = object_rows(find_file(folder, f"tfidf_candidates/{part}.json"), mention_id=str, tfidf_candidates=list)
    return {row["mention_id"]: list(map(str, row["tfidf_candidates"])) for _, row in rows if row["mention_id"] in mentions}
