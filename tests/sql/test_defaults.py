"""Defaults in SQL equal those of Python, or differ as docs/design/stages.md documents."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval import validate
from pgretrieval.buckets import MAX_BUCKETS
from pgretrieval.index import vectors
from pgretrieval.index.options import MAX_TITLE_WEIGHT
from pgretrieval.numerics.bitpack import SUPPORTED_BITS
from pgretrieval.numerics.proxy_model import RANK
from pgretrieval.search import fusion, imputation, options, plaid, words, xtr
from pgretrieval.search.loaded import CollectionStatistics
from pgretrieval.search.options import ScanOptions
from pgretrieval.types import GENERATORS, LEVELS, REDUCTIONS, RERANKS, SCORERS

Connection = psycopg.Connection[Any]


@pytest.mark.parametrize("keep_vectors", [False, True])
@pytest.mark.parametrize("vectors_per_passage", [None, 16, 64])
@pytest.mark.parametrize("passages", [100, 9_999, 10_000, 39_999, 40_000, 10**6])
def test_settings_of_a_search_by_all_tokens(
    connection: Connection, passages: int, vectors_per_passage: int | None, keep_vectors: bool
):
    """SQL probes three times as many centroids as Python, of pooled passages as many; it compares and decodes no more passages."""
    collection = connection.execute(
        "select pgretrieval.create_collection('docs', 48, vectors_per_passage => %s, keep_vectors => %s)",
        [vectors_per_passage, keep_vectors],
    ).fetchone()[0]
    for each in (vectors_per_passage,) if vectors_per_passage else (4, 60, 250, 1000):
        tokens = passages * each
        connection.execute("update pgretrieval.collection set codebook_id = null")
        connection.execute("delete from pgretrieval.codebook")
        connection.execute(
            """with made as (
                   insert into pgretrieval.codebook (collection_id, dim, bits, cutoffs, weights, centroid_count, passages, tokens)
                   values (%s, 48, 1, '{0}', '{-1,1}', 1, %s, %s) returning codebook_id)
               update pgretrieval.collection set codebook_id = made.codebook_id from made""",
            [collection, passages, tokens],
        )
        statistics = CollectionStatistics(passages, tokens, "auto", has_proxies=False, vectors_per_passage=vectors_per_passage)
        for k in (1, 10, 49, 50, 100, 1000):
            python = plaid.choose_settings(k, statistics, ScanOptions(), in_sql=True)
            probes, candidates, pruning = connection.execute(
                """select probes, candidates, pruning
                   from pgretrieval.plaid_settings(pgretrieval.known_collection('docs'), %s, null, null, 15)""",
                [k],
            ).fetchone()
            compared = 60_000 if vectors_per_passage else 34_000 if keep_vectors else 40_000
            assert probes == python.probes * (1 if vectors_per_passage else 3)
            assert k <= candidates <= python.candidates
            assert k <= pruning <= python.pruning
            assert candidates == max(5 * k, min(1024, max(64, compared * passages // tokens)))


@pytest.mark.parametrize(
    ("function", "written"),
    [
        ("retrieved_passages", f"k_tokens := coalesce(k_tokens, {options.DEFAULT_K_TOKENS});"),
        ("retrieved_passages", f"tokens_wanted := {xtr._READ_PER_RETRIEVED} * k_tokens::bigint;"),
        ("retrieved_passages", f"enough constant real := {xtr._SUFFICIENT};"),
        ("retrieved_passages", f"all_tokens constant integer := {xtr._ALL_TOKENS};"),
        ("xtr_search", f"greatest({xtr._RERANKED}, {xtr._RERANKED_PER_HIT} * k)"),
        ("hybrid_search", f"greatest({xtr._RERANKED}, {xtr._RERANKED_PER_HIT} * k)"),
        ("hybrid_search", f"greatest(candidates, {fusion._WORDS_AT_MOST})"),
        ("hybrid_search", f"by_words[:greatest({fusion._JOINING}, {fusion._JOINING_PER_HIT} * k)]"),
        ("hybrid_search", f"query_dense, greatest({fusion._JOINING}, {fusion._JOINING_PER_HIT} * k)"),
        ("hybrid_search", f"abs(weight) <= 1e{math.log10(fusion.MAX_WEIGHT):.0f}"),
        ("check_search", f"hits not between 1 and {words._MOST}"),
        ("score_tokens", f"sqrt({imputation.WARP_TOKENS} * sum(size.tokens)) as tokens"),
        ("xtr_search", f"k_tokens not between 1 and {words._MOST}"),
        ("xtr_search", f"reduction not in {REDUCTIONS}"),
        ("search", f"reduction not in {REDUCTIONS}"),
        ("check_min_score", f"abs(min_score) <= {options.MAX_SCORE:.1e}".replace("e+", "e")),
        ("xtr_search", f"rerank not in {RERANKS}"),
        ("xtr_search", f"[+-]?[0-9]{{1,{math.log10(options.MAX_IMPUTATION):.0f}}}"),
        ("candidates_by_proxy", f"halfvec({RANK})"),
        ("create_collection", f"length(create_collection.name) > {validate.MAX_NAME}"),
        ("create_collection", f"dim not between {vectors.MIN_DIM} and {vectors.MAX_DIM}"),
        ("create_collection", f"buckets not between 1 and {MAX_BUCKETS}"),
        ("create_collection", f"bits not in {SUPPORTED_BITS}"),
        ("create_collection", f"levels not in {LEVELS}"),
        ("create_collection", f"generator not in {GENERATORS}"),
        ("create_collection", f"title_weight between 0 and {MAX_TITLE_WEIGHT:.0f}"),
        ("create_collection", f"scorer not in {SCORERS}"),
        ("add_passage", f"octet_length(add_passage.id) > {validate.MAX_ID_BYTES}"),
        ("add_passage", f"@.abs() >= 1e{validate.MAX_INTEGER_BITS * math.log10(2):.0f}"),
        ("add_passage", f"abs(number) > {np.finfo(np.float16).max:.0f}"),
        ("checked_dense", f"vector_dims(dense) > {vectors.MAX_DENSE_DIM}"),
    ],
)
def test_constants_of_sql_are_those_of_python(connection: Connection, function: str, written: str):
    """Constants of SQL and Python are equal."""
    source = connection.execute("select pg_get_functiondef(('pgretrieval.' || %s)::regproc)", [function]).fetchone()[0]
    assert written in source


@pytest.mark.parametrize("function", ["search", "xtr_search", "text_search", "dense_search", "hybrid_search"])
def test_default_arguments_of_searches(connection: Connection, function: str):
    """Common arguments have the same default; null in SQL is None in Python."""
    method = getattr(pgretrieval.Collection, "search" if function == "xtr_search" else function)
    python = {name: each.default for name, each in inspect.signature(method).parameters.items()}
    arguments = connection.execute("select pg_get_function_arguments(('pgretrieval.' || %s)::regproc)", [function]).fetchone()[0]
    compared = []
    for name in ("k", "fusion", "weights", "rank_constant"):
        if name in python:
            default = next(each for each in arguments.split(", ") if each.startswith(f"{name} ")).split(" DEFAULT ")[1]
            value = connection.execute(f"select {default}").fetchone()[0]
            assert (tuple(value) if isinstance(value, list) else value) == python[name], name
            compared.append(name)
    assert compared == (["k", "fusion", "weights", "rank_constant"] if function == "hybrid_search" else ["k"])


def test_a_collection_made_in_sql_is_one_made_in_python(database: pgretrieval.RetrievalDatabase, connection: Connection):
    """Both store the same settings by default."""
    database.create_collection("python")
    connection.execute("select pgretrieval.create_collection('sql')")
    rows = connection.execute(
        "select to_jsonb(c) - '{collection_id,name,identity,created_at}'::text[] from pgretrieval.collection as c order by name"
    ).fetchall()
    assert rows[0] == rows[1]
