"""`evaluate` on datasets and run files, and `compare`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pgretrieval.evaluate.benchmarks import Benchmark
from tests.fixtures.cli import Command
from tests.support.pipes import piped

ANIMALS = ["cat", "dog", "horse", "eagle", "salmon", "frog"]
DEEDS = ["sleeps all day", "hunts at night", "eats green leaves", "sings in spring"]
DOCUMENTS = {f"{animal}-{d}": f"the {animal} {deed}" for animal in ANIMALS for d, deed in enumerate(DEEDS)}
QUERIES = {f"q{number}": f"a {animal} in spring" for number, animal in enumerate(ANIMALS)}
MODES = ["hybrid", "late", "words", "dense"]
QRELS = {f"q{number}": {f"{animal}-3": 2, f"{animal}-0": 1} for number, animal in enumerate(ANIMALS)}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The corpus, queries and judgements as files."""
    paths = {name: tmp_path / name for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv")}
    for name, records in (("corpus.jsonl", DOCUMENTS), ("queries.jsonl", QUERIES)):
        paths[name].write_text("".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in records.items()))
    rows = [f"{query} 0 {passage} {grade}\n" for query, grades in QRELS.items() for passage, grade in grades.items()]
    paths["qrels.tsv"].write_text("".join(rows))
    return paths


@pytest.fixture
def registered(tmp_path: Path) -> str:
    """The same as a registered ir-datasets name, read from files."""
    import ir_datasets

    for name, records in (("docs", DOCUMENTS), ("queries", QUERIES)):
        (tmp_path / f"{name}.tsv").write_text("".join(f"{key}\t{text}\n" for key, text in records.items()))
    rows = [f"{query} 0 {passage} {grade}\n" for query, grades in QRELS.items() for passage, grade in grades.items()]
    (tmp_path / "qrels").write_text("".join(rows))
    made = ir_datasets.create_dataset(
        docs_tsv=str(tmp_path / "docs.tsv"), queries_tsv=str(tmp_path / "queries.tsv"), qrels_trec=str(tmp_path / "qrels")
    )
    registry = ir_datasets.registry
    name = f"animals-{tmp_path.name}/test"
    registry.register(name, made)
    return name


def test_runs_are_written_measured_and_compared(command: Command, files: dict[str, Path], tmp_path: Path):
    """A run file gives the numbers of its search, and `compare` those of both runs."""
    assert command("index", "animals", files["corpus.jsonl"])[0] == 0
    judged = ["--queries", files["queries.jsonl"], "--qrels", files["qrels.tsv"], "--json", "--metrics", "nDCG@10 P@1"]
    run = tmp_path / "run.trec"
    code, out, err = command("evaluate", "animals", *judged, "--write-run", run)
    assert code == 0, err
    measured = json.loads(out)["metrics"]
    code, out, err = command("evaluate", "--run", run, "--qrels", files["qrels.tsv"], "--metrics", "nDCG@10 P@1", "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"] == pytest.approx(measured)
    other = tmp_path / "other.trec"
    other.write_text("".join(f"{query} Q0 nothing 1 1.0 x\n" for query in QUERIES))
    code, out, err = command("compare", other, "animals", *judged)
    assert code == 0, err
    row = json.loads(out)["metrics"]["nDCG@10"]
    assert (row["a"], row["b"]) == (0, pytest.approx(measured["nDCG@10"]))
    assert row["difference"] == pytest.approx(measured["nDCG@10"])
    assert 0 < row["interval"][0] <= row["difference"] <= row["interval"][1]
    code, out, err = command("compare", run, "animals", *judged[:4])
    assert code == 0, err
    assert "+0.0000 … +0.0000" in out


def test_each_mode_is_measured_and_all_are_compared(command: Command, files: dict[str, Path], tmp_path: Path):
    """--mode measures its search, by default that of `search`; --compare-modes prints the same means with intervals."""
    assert command("index", "animals", files["corpus.jsonl"])[0] == 0
    judged = ["animals", "--queries", files["queries.jsonl"], "--qrels", files["qrels.tsv"], "--metrics", "nDCG@10 P@1"]
    reports, runs = {}, {}
    for mode in MODES:
        code, out, err = command("evaluate", *judged, "--json", "--mode", mode, "--write-run", tmp_path / mode)
        assert code == 0, err
        reports[mode], runs[mode] = json.loads(out), (tmp_path / mode).read_text()
        assert reports[mode]["mode"] == mode
        searched = command("search", "animals", QUERIES["q0"], "--mode", mode, "--json")[1].splitlines()
        ids = [line.split()[2] for line in runs[mode].splitlines() if line.startswith("q0 ")]
        assert ids == [json.loads(line)["id"] for line in searched]
    assert len(set(runs.values())) == len(MODES)
    code, out, err = command("evaluate", *judged, "--json", "--compare-modes")
    assert code == 0, err
    compared = json.loads(out)
    assert (compared["queries"], compared["confidence"], list(compared["modes"])) == (6, 0.95, MODES)
    for mode, row in compared["modes"].items():
        assert {name: one["mean"] for name, one in row["metrics"].items()} == pytest.approx(reports[mode]["metrics"])
        assert all(0 <= one["interval"][0] <= one["mean"] <= one["interval"][1] <= 1 for one in row["metrics"].values())
        assert row["milliseconds"]["search"]["p50"] > 0
    code, out, err = command("evaluate", *judged, "--compare-modes")
    assert "6 queries, 95% intervals" in out
    for mode, report in reports.items():
        assert re.search(rf"^{mode} +{report['metrics']['nDCG@10']:.4f} \(\d\.\d+ … \d\.\d+\)", out, re.MULTILINE)
    code, out, err = command("evaluate", *judged)
    assert re.search(r"^mode +hybrid *$", out, re.MULTILINE)
    assert f"{reports['hybrid']['metrics']['nDCG@10']:.4f}" in out
    code, out, err = command("evaluate", *judged, "--exact", "--json")
    assert json.loads(out)["mode"] == "late"
    code, out, err = command("compare", tmp_path / "words", *judged, "--mode", "words", "--json")
    assert json.loads(out)["metrics"]["nDCG@10"]["difference"] == 0


def test_files_that_can_be_read_once(command: Command, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Pipes are read once, runs from pipes are recognised, and "-" is standard input."""
    assert command("index", "animals", files["corpus.jsonl"])[0] == 0
    run, measures = tmp_path / "run.trec", ["--metrics", "P@1", "--json"]
    asked = ["--queries", piped(files["queries.jsonl"]), "--qrels", piped(files["qrels.tsv"])]
    code, out, err = command("evaluate", "animals", *asked, *measures, "--write-run", run)
    assert code == 0, err
    measured = json.loads(out)["metrics"]
    code, out, err = command("evaluate", "--run", piped(run), "--qrels", piped(files["qrels.tsv"], 1), *measures)
    assert (code, json.loads(out)["metrics"]) == (0, measured), err
    for number, (a, b) in enumerate([("animals", "animals"), (piped(run, 2), "animals")], start=3):
        judged = ["--qrels", piped(files["qrels.tsv"], number), "--queries", piped(files["queries.jsonl"], number)]
        code, out, err = command("compare", a, b, *judged, *measures)
        assert code == 0, err
        row = json.loads(out)["metrics"]["P@1"]
        assert row["a"] == row["b"] == measured["P@1"]
    with files["queries.jsonl"].open() as given:
        monkeypatch.setattr(sys, "stdin", given)
        code, out, err = command("evaluate", "animals", "--queries", "-", "--qrels", files["qrels.tsv"], *measures)
    assert (code, json.loads(out)["metrics"]) == (0, measured), err


@pytest.mark.parametrize(
    ("arguments", "twice"),
    [
        ("evaluate animals --queries - --qrels -", "--queries and --qrels are all -"),
        ("evaluate --run - --qrels -", "--qrels and --run are all -"),
        ("compare animals others --qrels - --queries -", "--queries and --qrels are all -"),
        ("mine animals --queries - --qrels - --output mined", "--queries and --qrels are all -"),
        ("train colbert --output run --corpus - --queries -", "--corpus and --queries are all -"),
        ("train xtr --output run --corpus c.jsonl --queries - --qrels -", "--queries and --qrels are all -"),
        ("index animals - -", "is given 2 times"),
    ],
)
def test_standard_input_is_refused_for_two_files(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: str, twice: str
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", None)  # nothing of it is read
    code, out, err = command(*arguments.split())
    assert (code, out) == (1, "")
    assert twice in err
    assert "can be read once" in err
    assert command("list")[1] == ""


def test_a_dataset_is_indexed_once_and_measured(command: Command, registered: str):
    """A dataset is indexed completely and once, and evaluated with its judgements."""
    code, out, err = command("evaluate", "--dataset", registered, "--json", "--metrics", "nDCG@10 Success@5")
    assert code == 0, err
    assert json.loads(out)["queries"] == 6
    assert json.loads(out)["metrics"]["Success@5"] > 0.8
    code, out, err = command("evaluate", "--dataset", registered, "--json", "--metrics", "nDCG@10")
    assert code == 0, err
    assert "encoding" not in err
    assert registered.replace("/", "_").replace("-", "_") in command("list")[1]


@pytest.fixture
def own_queries(files: dict[str, Path]) -> dict[str, Path]:
    """Queries that are passages, with equal id and text; another passage of the same animal is relevant."""
    chosen = [f"{animal}-0" for animal in ANIMALS]
    files["queries.jsonl"].write_text("".join(json.dumps({"id": key, "text": DOCUMENTS[key]}) + "\n" for key in chosen))
    files["qrels.tsv"].write_text("".join(f"{key} 0 {key[:-1]}1 1\n" for key in chosen))
    return files


def test_queries_that_are_passages_do_not_find_themselves(command: Command, own_queries: dict[str, Path], tmp_path: Path):
    """--drop-identical removes the query's own passage and returns k others."""
    assert command("index", "animals", own_queries["corpus.jsonl"])[0] == 0
    judged = ["--queries", own_queries["queries.jsonl"], "--qrels", own_queries["qrels.tsv"]]
    kept, run = tmp_path / "kept.trec", tmp_path / "run.trec"
    code, out, err = command("evaluate", "animals", *judged, "--metrics", "RR@10", "--json", "--mode", "late", "--write-run", kept)
    assert code == 0, err
    whole = json.loads(out)
    assert "dropped" not in whole
    options = ["--drop-identical", "--metrics", "RR@10", "--json", "--write-run", run, "--exact"]
    code, out, err = command("evaluate", "animals", *judged, *options)
    assert code == 0, err
    report = json.loads(out)
    assert report["dropped"] == 6
    assert report["metrics"]["RR@10"] > whole["metrics"]["RR@10"]
    assert report["exact"]["metrics"]["RR@10"] >= report["metrics"]["RR@10"] - 0.1
    assert report["fidelity@10"] > 0.9
    rows = [line.split() for line in run.read_text().splitlines()]
    assert all(query != passage for query, _, passage, *_ in rows)
    assert len(rows) == 6 * 10 or len(rows) == 6 * (len(DOCUMENTS) - 1)
    code, out, err = command(
        "evaluate", "--run", kept, "--qrels", own_queries["qrels.tsv"], "--drop-identical", "--metrics", "RR@9", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["metrics"]["RR@9"] == pytest.approx(report["metrics"]["RR@10"], abs=0.02)
    assert json.loads(out)["dropped"] == 6
    code, out, err = command(
        "compare", kept, "animals", *judged, "--mode", "late", "--drop-identical", "--metrics", "Success@5", "--json"
    )
    assert code == 0, err
    row = json.loads(out)["metrics"]["Success@5"]
    assert row["a"] == row["b"] > 0
    code, out, err = command("evaluate", "animals", *judged, "--drop-identical", "--metrics", "RR@10")
    assert "hits with their query's id, dropped" in out


def test_datasets_whose_queries_are_passages(command: Command, registered: str, monkeypatch: pytest.MonkeyPatch):
    """The option is on for BEIR's ArguAna and Quora only."""
    names = {"beir/arguana": True, "beir/quora/test": True, "beir/quora": True, "beir/scifact/test": False, "beir/quoras": False}
    assert {name: benchmark_of(name).drops_identical for name in names} == names
    evaluated = ["evaluate", "--dataset", registered, "--json", "--metrics", "RR@10"]
    assert "dropped" not in json.loads(command(*evaluated)[1])
    assert json.loads(command(*evaluated, "--drop-identical")[1])["dropped"] == 0
    monkeypatch.setattr(Benchmark, "drops_identical", True)
    assert json.loads(command(*evaluated)[1])["dropped"] == 0
    assert "dropped" not in json.loads(command(*evaluated, "--keep-identical")[1])


def benchmark_of(name: str) -> Benchmark:
    """Name of a dataset, without reading it."""
    made = object.__new__(Benchmark)
    made.name = name
    return made


def test_a_dataset_that_cannot_be_downloaded(database_url: str, tmp_path: Path):
    """The error of a failed download names the remedy."""
    nowhere = "http://127.0.0.1:9"
    environment = {**os.environ, "IR_DATASETS_HOME": str(tmp_path), "IR_DATASETS_DL_TRIES": "1", "COLUMNS": "200"}
    environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), nowhere)
    done = subprocess.run(
        [sys.executable, "-m", "pgretrieval", "--database", database_url, "evaluate", "--dataset", "beir/scifact/test"],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert done.returncode == 1
    assert "dataset 'beir/scifact/test' cannot be read" in done.stderr
    assert "needs a network; otherwise give files with --queries" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "animals"], "give a collection with --queries and --qrels, or --dataset"),
        (["evaluate", "--dataset", "no/such"], "ir-datasets has no dataset 'no/such'"),
        (["evaluate", "--dataset", "beir/scifact"], "dataset 'beir/scifact' has no qrels; give a split"),
        (["evaluate", "--dataset", "beir/scifact/test", "--qrels", "QRELS"], "has queries and qrels of its own"),
        (["evaluate", "animals", "--run", "QRELS", "--qrels", "QRELS"], "--run needs --qrels; apart from these"),
        (["evaluate", "--mode", "late", "--run", "QRELS", "--qrels", "QRELS"], "--run needs --qrels; apart from these"),
        (["evaluate", "--compare-modes", "--run", "QRELS", "--qrels", "QRELS"], "--run needs --qrels; apart from these"),
        (["evaluate", "animals", "--mode", "words", "--exact"], "--mode is 'words', but --exact compares late interaction"),
        (["evaluate", "animals", "--mode", "words", "--compare-modes"], "--compare-modes measures every mode; leave --mode"),
        (["evaluate", "animals", "--exact", "--compare-modes"], "--compare-modes measures every mode; leave --mode"),
        (["evaluate", "animals", "--write-run", "run", "--compare-modes"], "leave --mode, --exact and --write-run out"),
        (["compare", "animals", "others", "--qrels", "QRELS"], "'animals' is not a file, and a collection needs --queries"),
    ],
)
def test_contradictory_options_are_refused(command: Command, files: dict[str, Path], arguments: list[str], said: str):
    """Contradictory options are refused."""
    code, out, err = command(*[str(files["qrels.tsv"]) if part == "QRELS" else part for part in arguments])
    assert (code, out) == (1, "")
    assert said in " ".join(err.split())
