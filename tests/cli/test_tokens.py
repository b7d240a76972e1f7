"""Collections scored by retrieved tokens, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fixtures.cli import Command


def test_index_and_search(command: Command, tmp_path: Path):
    """Options reach the search with their types and are compared with the collection's settings."""
    corpus = tmp_path / "corpus.jsonl"
    texts = ["green tea and water", "pressing coffee", "a loaf of bread", "milk for tea"]
    corpus.write_text("\n".join(json.dumps({"id": text[:4], "text": text}) for text in texts), encoding="utf-8")
    options = ("--scorer", "colxtr", "--rerank", "maxsim", "--no-unit-vectors")
    for _ in range(2):
        code, _, told = command("index", "kitchen", corpus, "--encoder", "minilm", *options)
        assert code == 0, told
    code, _, told = command("index", "kitchen", corpus, "--scorer", "xtr")
    assert (code, "was created with scorer colxtr, but --scorer is xtr" in told) == (1, True)

    code, out, _ = command("search", "kitchen", "bread", "-k", "2", "--json", "--probes", "1000", "--k-tokens", "1000")
    hits = [json.loads(line) for line in out.splitlines()]
    assert (code, hits[0]["id"]) == (0, "a lo")
    knobs = ("--imputation", "0.5", "--reduction", "mean", "--rerank", "none", "--k-tokens", "1", "--explain")
    code, out, told = command("search", "kitchen", "bread", "-k", "1", "--json", *knobs)
    assert code == 0, told
    assert "tokens retrieved" in told
    assert 0 < json.loads(out)["score"] < hits[0]["score"]
    code, _, told = command("search", "kitchen", "bread", "--imputation", "most")
    assert (code, "imputation is 'most'" in told) == (1, True)

    code, out, _ = command("stats", "kitchen", "--json")
    held = json.loads(out)
    assert (held["scorer"], held["rerank"], held["unit_vectors"]) == ("colxtr", "maxsim", False)
    assert held["encoder"] == {"kind": "minilm", "version": "2", "lengths": "kept"}
    assert held["bytes"]["posting_code"] > 0
