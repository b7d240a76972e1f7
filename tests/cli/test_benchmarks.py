"""`pgretrieval benchmark`, end to end on small folders of the published layouts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgretrieval
from pgretrieval.cli.files import run_of
from pgretrieval.evaluate.published.expected import expected_values
from pgretrieval.evaluate.published.zeshel import read_zeshel
from pgretrieval.rerank import load_cross_encoder
from tests.fixtures.cli import Command
from tests.fixtures.models import WORDS
from tests.support.published import (
    ANIMALS,
    PASSAGES,
    SINGING,
    write_beir,
    write_colbert_qas,
    write_dpr,
    write_lotte,
    write_msmarco,
    write_zeshel,
)


def measured(command: Command, *arguments: str | Path) -> dict[str, Any]:
    """The JSON report of a benchmark."""
    code, out, err = command("benchmark", *arguments, "--json")
    assert code == 0, err
    report: dict[str, Any] = json.loads(out)
    return report


@pytest.fixture
def output(tmp_path: Path) -> tuple[str, Path]:
    return "--output", tmp_path / "runs"


def test_lotte_measures_both_kinds_of_queries(command: Command, tmp_path: Path, output: tuple[str, Path]):
    """Each kind of query has its own judgements, run file and expected values; the collection is shared and reused."""
    folder = write_lotte(tmp_path)
    report = measured(command, "lotte", "writing", "--folder", folder, *output)
    assert (report["benchmark"], report["set"], report["passages"]) == ("lotte", "writing/test", len(PASSAGES))
    search, forum = report["results"]
    assert (search["queries"], forum["queries"]) == ("writing/test/search", "writing/test/forum")
    for result, deed in ((search, 3), (forum, 1)):
        run = [line.split() for line in Path(result["run"]).read_text().splitlines()]
        best = {query: {row[2] for row in run if row[0] == query and int(row[3]) <= 5} for query in map(str, SINGING)}
        share = sum(str(4 * int(query) + deed) in found for query, found in best.items()) / len(best)
        assert result["metrics"]["Success@5"]["mean"] == pytest.approx(share)
        low, high = result["metrics"]["Success@5"]["interval"]
        assert low <= share <= high
        reported = {(one["system"], one["value"]) for one in result["expected"]}
        assert ("ColBERTv2", 0.801 if result is search else 0.763) in reported
    code, out, err = command("benchmark", "lotte", "writing", "--queries", "forum", "--folder", folder, *output)
    assert code == 0, err
    assert "encoding and adding" not in err
    assert "lotte writing/test/forum: 24 passages, 6 queries of " in out
    assert "ColBERTv2, NAACL 2022" in out
    assert "writing/test/search" not in out


def test_lotte_of_another_split_is_another_collection(command: Command, tmp_path: Path, output: tuple[str, Path]):
    folder = write_lotte(write_lotte(tmp_path, "pooled", "dev"), "pooled", "test")
    for split in ("dev", "test"):
        report = measured(command, "lotte", "pooled", "--split", split, "--queries", "search", "--folder", folder, *output)
        assert report["collection"] == f"lotte_pooled_{split}"
    inner = folder / "lotte" / "pooled" / "dev"
    assert measured(command, "lotte", "pooled", "--split", "dev", "--folder", inner, *output)["passages"] == len(PASSAGES)


def test_beir_drops_the_passage_with_the_id_of_its_query(command: Command, tmp_path: Path, output: tuple[str, Path]):
    """Queries that are passages do not find themselves, and passages without any text are left out."""
    queries = {f"d{4 * number}": PASSAGES[4 * number] for number in range(len(ANIMALS))}
    qrels = {key: {f"d{int(key[1:]) + 1}": 2, f"d{int(key[1:]) + 3}": 1} for key in queries}
    folder = write_beir(tmp_path, "arguana", queries=queries, qrels=qrels)
    report = measured(command, "beir", "arguana", "--folder", folder, *output)
    assert report["passages"] == len(PASSAGES) + 1
    [result] = report["results"]
    assert result["dropped"] == len(queries)
    assert result["metrics"]["nDCG@10"]["mean"] > 0.5
    rows = [line.split() for line in Path(result["run"]).read_text().splitlines()]
    assert rows
    assert all(query != passage for query, _, passage, *_ in rows)
    assert {(one["measure"], one["system"]): one["value"] for one in result["expected"]}["nDCG@10", "ColBERTv2"] == 0.463


def test_beir_raises_the_length_of_queries_by_set(
    command: Command, tmp_path: Path, stanford_folder: Path, output: tuple[str, Path]
):
    """ArguAna's queries have as many tokens as the model reads, here 32; those of other sets have the model's own 12."""
    queries, qrels = {"q": "a cat in spring"}, {"q": {"d3": 1}}
    for name, tokens in (("arguana", 32), ("scifact", 12)):
        write_beir(tmp_path, name, queries=queries, qrels=qrels)
        report = measured(command, "beir", name, "--folder", tmp_path, "--encoder", stanford_folder, *output)
        assert report["results"][0]["query_tokens"] == tokens


def test_msmarco(command: Command, tmp_path: Path, output: tuple[str, Path]):
    report = measured(command, "msmarco", "--folder", write_msmarco(tmp_path / "msmarco"), *output)
    [result] = report["results"]
    assert set(result["metrics"]) == {"RR@10", "R@50", "R@1000"}
    assert result["metrics"]["R@50"]["mean"] == 1
    assert result["judged"] == 6
    systems = {(one["measure"], one["system"]): one["value"] for one in result["expected"]}
    assert systems["RR@10", "ColBERTv2"] == pytest.approx(0.397)
    assert systems["R@1000", "ColBERTv2"] == pytest.approx(0.984)


def test_open_questions_are_judged_by_their_answers(command: Command, tmp_path: Path, output: tuple[str, Path]):
    """A passage is relevant if its text, not its title, contains an answer; quotes of the file are removed."""
    folder = write_dpr(tmp_path / "dpr")
    report = measured(command, "openqa", "nq", "--folder", folder, *output, "--metrics", "Success@5 Success@20 P@24")
    [result] = report["results"]
    assert result["judged"] == 5
    assert result["metrics"]["Success@20"]["mean"] == pytest.approx(4 / 5)  # nobody barks
    assert result["metrics"]["P@24"]["mean"] == pytest.approx(4 * 4 / 24 / 5)  # four passages of an animal contain its name
    values = {one["system"]: one["value"] for one in result["expected"] if one["measure"] == "Success@5"}
    assert values["ColBERTv2"] == pytest.approx(0.689)
    other = write_colbert_qas(tmp_path / "colbert")
    report = measured(command, "openqa", "squad", "--folder", other, *output)
    assert report["results"][0]["metrics"]["Success@5"]["mean"] == 1


def test_settings_are_those_of_the_collection(command: Command, tmp_path: Path, output: tuple[str, Path], database_url: str):
    """--bits and --collection are used, and another value for an existing collection is refused."""
    asked = ("benchmark", "msmarco", "--folder", write_msmarco(tmp_path / "msmarco"), *output, "--collection", "mine")
    assert command(*asked, "--bits", "2")[0] == 0
    with pgretrieval.connect(database_url) as database:
        assert database.get_collection("mine").settings.bits == 2
    code, _, err = command(*asked, "--bits", "1")
    assert code == 1
    assert "was created with bits 2, but --bits is 1" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("lotte cooking", "topic is 'cooking'; choose writing, recreation, science, technology, lifestyle or pooled"),
        ("lotte writing --split train", "split is 'train'; choose test or dev"),
        ("lotte writing --queries long", "queries is 'long'; choose search, forum or both"),
        ("beir sciface", "set is 'sciface'; choose arguana, climate-fever"),
        ("openqa hotpot", "set is 'hotpot'; choose nq, trivia or squad"),
        ("lotte writing --folder EMPTY", "there is no collection.tsv; give --folder the unpacked download"),
        ("beir scifact --folder EMPTY", "there is no corpus.jsonl"),
        ("msmarco --folder EMPTY", "there is no collection.tsv"),
        ("openqa nq --folder EMPTY", "there is no psgs_w100.tsv or collection.tsv"),
        ("msmarco --metrics F1", "the metric 'F1' is unknown"),
    ],
)
def test_wrong_names_and_folders_are_refused(command: Command, tmp_path: Path, arguments: str, said: str):
    """The error lists the known names, or names the file that the folder lacks."""
    code, out, err = command("benchmark", *arguments.replace("EMPTY", str(tmp_path)).split())
    assert (code, out) == (1, "")
    assert said in " ".join(err.split())


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("collection.tsv", "24 no tab", "collection.tsv:25: found 1 columns; the layout has 2 with tabs: passage id, passage"),
        ("questions.search.tsv", "0\tagain", "questions.search.tsv:7: the id '0' occurs on an earlier line"),
        ("qas.search.jsonl", "{", "qas.search.jsonl:7: not valid JSON"),
        ("qas.search.jsonl", '{"qid": 6, "query": "x"}', "qas.search.jsonl:7: 'answer_pids' is missing; the layout has list"),
        ("qas.search.jsonl", '{"qid": "6", "answer_pids": [1]}', "qas.search.jsonl:7: 'qid' is str; the layout has int"),
        ("qas.search.jsonl", '{"qid": 9, "answer_pids": [1]}', "qas.search.jsonl:7: query 9 is not in questions.search.tsv"),
    ],
)
def test_malformed_rows_are_named(command: Command, tmp_path: Path, file: str, line: str, said: str):
    folder = write_lotte(tmp_path)
    with (folder / "lotte" / "writing" / "test" / file).open("a") as written:
        written.write(f"{line}\n")
    code, _, err = command("benchmark", "lotte", "writing", "--folder", folder)
    assert code == 1
    assert said in " ".join(err.split())


def test_without_a_network_the_error_names_the_address_and_the_remedy(database_url: str, tmp_path: Path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path), "COLUMNS": "400"}
    environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "pgretrieval", "--database", database_url, "benchmark", "beir", "scifact"],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets/scifact.zip cannot be downloaded" in said
    assert "give the folder with --folder" in said


def test_every_set_has_expected_values():
    """Each set of each benchmark, and each kind of query, has a reported value."""
    from pgretrieval.evaluate.published.benchmarks import BENCHMARKS

    for benchmark in BENCHMARKS.values():
        for name in benchmark.sets:
            for full in [f"{name}/{kind}" for kind in ("search", "forum")] if benchmark.name == "lotte" else [name]:
                assert any(0 < one.value < 1 for one in expected_values(benchmark.name, full)), full


@pytest.fixture(scope="module")
def cross_encoder(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny cross-encoder with random weights."""
    import torch

    from pgretrieval.rerank.markers import new_cross_encoder

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("cross") / "model"
    new_cross_encoder(tiny_bert, "cls", max_length=24, device="cpu").save(str(folder), create_model_card=False)
    return folder


ZESHEL = ("--anchor-queries", "30", "--test-queries", "5", "--anchor-items", "12", "--calls", "10", "--calls", "60")


def test_zeshel_charges_every_method_the_same(
    command: Command, tmp_path: Path, cross_encoder: Path, output: tuple[str, Path], database_url: str
):
    """Recall is the share of the exact ranking; no method spends more than its budget, and only published lists spend less."""
    folder = write_zeshel(tmp_path / "zeshel", WORDS, candidates=True)
    asked = ("zeshel", "yugioh", "--cross-encoder", cross_encoder, "--folder", folder, *ZESHEL, *output)
    report = measured(command, *asked)
    assert (report["passages"], report["judged"], report["index_calls"]) == (100, 5, 3_000)
    results = {(row["method"], row["budget"]): row for row in report["results"]}
    assert len(results) == 6 * 2
    for (method, budget), row in results.items():
        limited = method.startswith(("published", "words"))  # lists that can be shorter than the budget
        assert row["calls"] <= (min(budget, 12) if method.startswith("published") else budget), method
        assert limited or row["calls"] == budget, method
        assert set(row["recall"]) == {"1", "10"} | ({"50"} if budget == 60 else set())
    exact = run_of(Path(report["exact_run"]))
    assert [len(hits) for hits in exact.values()] == [100] * 5
    scorer = load_cross_encoder(cross_encoder, device="cpu")
    with pgretrieval.connect(database_url) as database:
        passages = database.get_collection("zeshel_yugioh").get(list(next(iter(exact.values()))))
    mentions = read_zeshel(folder, "yugioh", 32).mentions
    for query, hits in exact.items():
        scores = scorer.predict([(mentions[query], passages[key].encoded_text) for key in hits])
        np.testing.assert_allclose(scores, list(hits.values()), atol=1e-4)
        assert list(hits.values()) == sorted(hits.values(), reverse=True)
    for row in results.values():
        found = run_of(Path(row["run"]))
        for depth, recall in row["recall"].items():
            best = {query: set(list(hits)[: int(depth)]) for query, hits in exact.items()}
            shares = [len(best[query] & set(list(found[query])[: int(depth)])) / int(depth) for query in exact]
            assert recall["mean"] == pytest.approx(np.mean(shares))
    assert {one["system"] for one in report["expected"]} >= {"ANNCUR, random anchors", "RBE, greedy"}


def test_zeshel_resumes_from_its_exact_scores(command: Command, tmp_path: Path, cross_encoder: Path, output: tuple[str, Path]):
    """A second run scores no entity again, unless there are more mentions; the order of budgets does not matter."""
    folder = write_zeshel(tmp_path / "zeshel", WORDS)
    asked = ("benchmark", "zeshel", "yugioh", "--cross-encoder", cross_encoder, "--folder", folder, *ZESHEL, *output)
    code, out, err = command(*asked)
    assert code == 0, err
    assert "exact scores of all entities" in err
    assert "ANNCUR, 5 rounds" in out
    assert "top-50 recall" in out
    assert "published TF-IDF" not in out
    code, again, err = command(*asked)
    assert code == 0, err
    assert "exact scores of all entities" not in err
    assert again == out


def test_zeshel_of_the_paper_has_no_token_vectors(command: Command, tmp_path: Path, cross_encoder: Path, output: tuple[str, Path]):
    """The preset of ANNCUR stores texts only, so late interaction is left out; small budgets go to anchors."""
    folder = write_zeshel(tmp_path / "zeshel", WORDS)
    options = ("--cross-encoder", cross_encoder, "--folder", folder, "--preset", "anncur")
    report = measured(command, "zeshel", "yugioh", *options, *ZESHEL, *output)
    assert {row["method"] for row in report["results"]} == {"ANNCUR", "ANNCUR, 5 rounds", "words, reranked"}
    assert all(row["calls"] <= row["budget"] for row in report["results"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("zeshel atlantis", "world is 'atlantis'; choose american_football, coronation_street"),
        ("zeshel yugioh", "published at https://github.com/lajanugen/zeshel and cannot be downloaded by a command"),
        ("zeshel lego --folder ZESHEL", "there is no documents/lego.json"),
        ("zeshel yugioh --folder ZESHEL --calls 0", "calls is 0; give a whole number of at least 1"),
        ("zeshel yugioh --folder ZESHEL --anchor-queries 90 --test-queries 20", "90 anchor queries and 20 test queries are asked"),
        ("zeshel yugioh --folder ZESHEL --context-words -1", "context_words is -1"),
    ],
)
def test_zeshel_refuses_wrong_values(command: Command, tmp_path: Path, arguments: str, said: str):
    write_zeshel(tmp_path, WORDS)
    code, out, err = command("benchmark", *arguments.replace("ZESHEL", str(tmp_path)).split(), "--cross-encoder", "x")
    assert (code, out) == (1, "")
    assert said in " ".join(err.split())


def test_a_preset_is_that_of_the_collection(command: Command, tmp_path: Path, output: tuple[str, Path], database_url: str):
    folder = write_msmarco(tmp_path / "msmarco")
    report = measured(command, "msmarco", "--folder", folder, *output, "--preset", "plaid")
    with pgretrieval.connect(database_url) as database:
        settings = database.get_collection(report["collection"]).settings
    assert (settings.preset, settings.bits) == ("plaid", 2)
    code, _, err = command("benchmark", "msmarco", "--folder", folder, "--preset", "plaids")
    assert code == 1
    assert "preset is 'plaids'; choose colbertv2, plaid" in err
