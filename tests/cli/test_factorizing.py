"""`factorize`, and searches by a cross-encoder, with a tiny random model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import pgretrieval
from pgretrieval.rerank import load_cross_encoder
from tests.fixtures.cli import Command
from tests.fixtures.models import WORDS
from tests.support.vectors import clustered


def test_factorize_and_search_by_a_cross_encoder(command: Command, tiny_bert: Path, tmp_path: Path, database_url: str):
    """Costs are printed, a dry run scores nothing, and a search keeps its budget."""
    import torch

    from pgretrieval.rerank.markers import new_cross_encoder

    torch.manual_seed(0)
    model = tmp_path / "model"
    new_cross_encoder(tiny_bert, "cls", max_length=24, device="cpu").save(str(model), create_model_card=False)
    corpus, queries = tmp_path / "corpus.jsonl", tmp_path / "queries.jsonl"
    texts = [f"{first} {second}" for first in WORDS for second in WORDS]
    corpus.write_text("".join(json.dumps({"id": f"p{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    queries.write_text("".join(json.dumps({"id": f"q{n}", "text": f"{text} to"}) + "\n" for n, text in enumerate(texts[:24])))
    with pgretrieval.connect(database_url) as database:
        docs = database.create_collection("docs")
        docs.add([json.loads(line) for line in corpus.read_text().splitlines()], vectors=clustered(len(texts)))
    asked = ("factorize", "docs", "--cross-encoder", model, "--anchor-queries", queries, "--anchor-items", "15", "--queries", "20")
    code, out, err = command(*asked, "--dry-run")
    assert (code, out) == (0, "")
    assert "2,000 pairs to score: 0.0 MiB" in err
    code, _, err = command(*asked)
    assert code == 0
    assert "factorised 'docs': 100 passages embedded with 2,000 cross-encoder calls, 15 anchor items chosen" in err
    code, _, err = command(*asked)
    assert "0 passages embedded with 0 cross-encoder calls, 15 anchor items as before" in err
    code, _, err = command(*asked, "--preset", "anncur", "--split", "auto")
    assert "preset anncur, ANNCUR (Yadav et al. 2022): selection random, regularisation none\n" in err
    assert "15 anchor items chosen" in err
    code, _, err = command(*asked, "--selection", "greedy", "--regularisation", "auto", "--split", "auto")
    search = ("search", "docs", "the river", "--json", "-k", "3", "--explain")
    code, out, err = command(*search, "--scorer", "cross_encoder", "--budget", "40", "--rounds", "4")
    assert code == 0
    assert re.search(r"cross encoder calls +40\b", err)
    assert len(out.splitlines()) == 3
    scorer = load_cross_encoder(model, device="cpu")
    best = [json.loads(line) for line in out.splitlines()]
    assert [hit["score"] for hit in best] == pytest.approx(scorer.predict([("the river", hit["text"]) for hit in best]), abs=1e-4)
    code, out, err = command(*search, "--generator", "text", "--rerank", model, "--rerank-depth", "7")
    assert code == 0
    assert re.search(r"cross encoder calls +7\b", err)
    code, out, _ = command("stats", "docs", "--json")
    assert json.loads(out)["factorization"]["anchor_items"] == 15
    code, _, err = command(*search, "--scorer", "cross_encoder", "--budget", "2")
    assert (code, "budget is 2, less than k, 3" in err) == (1, True)
