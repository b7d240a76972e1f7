"""Measurement of `pgretrieval benchmark zeshel`: searches by a cross-encoder, each charged the calls that it makes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pgretrieval.cli import console
from pgretrieval.evaluate.published.calls import DEPTHS, MethodResult, SearchWithin, search_within
from pgretrieval.evaluate.published.expected import expected_values
from pgretrieval.evaluate.published.zeshel import World
from pgretrieval.evaluate.runs import read_run, write_run
from pgretrieval.rerank import PairScorer, load_cross_encoder
from pgretrieval.types import Passage

if TYPE_CHECKING:
    from pgretrieval.collection import Collection


def measure_linking(
    collection: Collection, world: World, tested: Sequence[str], cross_encoder: str, budgets: Sequence[int], output: Path
) -> dict[str, Any]:
    """Return recall by method, budget and depth, for a collection factorised by this cross-encoder; write run files."""
    output.mkdir(parents=True, exist_ok=True)
    scorer = load_cross_encoder(cross_encoder)
    exact = _exact_rankings(collection, world, tested, scorer, output)
    methods = _methods(collection, world, scorer, cross_encoder)
    with console.progress_bar(f"searching {collection.name}", len(tested) * len(methods) * len(budgets)) as advance:
        results = search_within(tested, methods, budgets, advance)
    return {
        "judged": len(tested),
        "results": [_reported(result, exact, collection.name, output) for result in results],
        "exact_run": str(_exact_file(collection, scorer, output)),
    }


def expected_recall(world: str) -> list[dict[str, Any]]:
    """Return the reported values of a world."""
    return [
        {"measure": one.measure, "system": one.system, "value": one.value, "paper": one.paper}
        for one in expected_values("zeshel", world)
    ]


def _exact_file(collection: Collection, scorer: PairScorer, output: Path) -> Path:
    return output / f"{collection.name}-exact-{re.sub(r'[^0-9a-z]', '', scorer.fingerprint)[-12:]}.trec"


def _exact_rankings(
    collection: Collection, world: World, tested: Sequence[str], scorer: PairScorer, output: Path
) -> dict[str, list[str]]:
    """Score every entity for every test mention; finished mentions are read from the run file of an earlier call."""
    path = _exact_file(collection, scorer, output)
    rankings = {query: list(hits.items()) for query, hits in read_run(path).items()} if path.exists() else {}
    missing = [query for query in tested if query not in rankings]
    if missing:
        entities = list(world.entities())
        with console.progress_bar("exact scores of all entities", len(missing) * len(entities)) as advance:
            for query in missing:
                rankings[query] = _best(scorer, world.mentions[query], entities, advance)
                part = path.with_suffix(".part")
                write_run(part, rankings)
                part.replace(path)
    return {query: [key for key, _ in rankings[query]] for query in tested}


def _best(
    scorer: PairScorer, query: str, entities: Sequence[Passage], progress: Callable[[int], None] | None = None
) -> list[tuple[str, float]]:
    """Return ids and scores of the best entities."""
    scores = scorer.predict([(query, entity.encoded_text) for entity in entities], progress)
    order = np.argsort(-scores, kind="stable")[: DEPTHS[-1]].tolist()
    return [(entities[place].id, float(scores[place])) for place in order]


def _methods(collection: Collection, world: World, scorer: PairScorer, model: str) -> dict[str, SearchWithin]:
    """Return the methods by name; every one spends its whole budget on calls of the cross-encoder."""

    def by_collection(query: str, k: int, **options: Any) -> tuple[list[str], int]:
        explained = collection.explain(world.mentions[query], k, **options)
        return [hit.id for hit in explained.hits], explained.cross_encoder_calls

    def within(query: str, budget: int, k: int, **options: Any) -> tuple[list[str], int]:
        return by_collection(query, k, scorer="cross_encoder", budget=budget, **options)

    def reranked(query: str, budget: int, k: int, **options: Any) -> tuple[list[str], int]:
        return by_collection(query, k, rerank=model, rerank_depth=budget, **options)

    def published(query: str, budget: int, k: int) -> tuple[list[str], int]:
        found = collection.get(world.candidates.get(query, [])[:budget])
        return [key for key, _ in _best(scorer, world.mentions[query], list(found.values()))][:k], len(found)

    by_tokens: dict[str, SearchWithin] = {
        "late interaction, then ANNCUR": partial(within, generator="auto"),
        "late interaction, reranked": reranked,
    }
    return {
        "ANNCUR": within,
        "ANNCUR, 5 rounds": partial(within, rounds=5),
        **({} if collection.settings.texts_alone else by_tokens),
        "words, reranked": partial(reranked, generator="text"),
        **({"published TF-IDF, reranked": published} if world.candidates else {}),
    }


def _reported(result: MethodResult, exact: dict[str, list[str]], name: str, output: Path) -> dict[str, Any]:
    slug = re.sub(r"\W+", "-", result.method.lower())
    run = output / f"{name}-{slug}-{result.budget}.trec"
    ranked = {
        query: [(key, float(len(found) - place)) for place, key in enumerate(found)] for query, found in result.rankings.items()
    }
    write_run(run, ranked)
    recall = {depth: result.recall(exact, depth) for depth in DEPTHS if depth <= result.budget}
    return {
        "method": result.method,
        "budget": result.budget,
        "calls": float(np.mean(result.spent)),
        "recall": {str(depth): {"mean": mean, "interval": [low, high]} for depth, (mean, low, high) in recall.items()},
        "run": str(run),
    }
