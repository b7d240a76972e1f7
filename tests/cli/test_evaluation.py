"""`evaluate` on datasets and run files, and `compare`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.cli import Command

ANIMALS = ["cat", "dog", "horse", "eagle", "salmon", "frog"]
DEEDS = ["sleeps all day", "hunts at night", "eats green leaves", "sings in spring"]
DOCUMENTS = {f"{animal}-{d}": f"the {animal} {deed}" for animal in ANIMALS for d, deed in enumerate(DEEDS)}
QUERIES = {f"q{number}": f"a {animal} in spring" for number, animal in enumerate(ANIMALS)}
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
    """The same as an ir-datasets name, read from files."""
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
    """A run file does not give the numbers of the search it was written from, or a comparison has other ones."""
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


def test_a_dataset_is_indexed_once_and_measured(command: Command, registered: str):
    """Passages are missing, judgements of the dataset are not used, or everything is encoded again."""
    code, out, err = command("evaluate", "--dataset", registered, "--json", "--metrics", "nDCG@10 Success@5")
    assert code == 0, err
    assert json.loads(out)["queries"] == 6
    assert json.loads(out)["metrics"]["Success@5"] > 0.8
    code, out, err = command("evaluate", "--dataset", registered, "--json", "--metrics", "nDCG@10")
    assert code == 0, err
    assert "encoding" not in err
    assert registered.replace("/", "_").replace("-", "_") in command("list")[1]


def test_a_dataset_that_cannot_be_downloaded(database_url: str, tmp_path: Path):
    """The error is that of the network client, and nothing says what to do."""
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
    assert "needs a network; without one give files with --queries" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "animals"], "name a collection with --queries and --qrels, or a --dataset"),
        (["evaluate", "--dataset", "no/such"], "ir-datasets knows no dataset 'no/such'"),
        (["evaluate", "--dataset", "beir/scifact"], "dataset 'beir/scifact' has no qrels; name a split"),
        (["evaluate", "--dataset", "beir/scifact/test", "--qrels", "QRELS"], "has queries and qrels of its own"),
        (["evaluate", "animals", "--run", "QRELS", "--qrels", "QRELS"], "--run measures a file with --qrels; leave"),
        (["compare", "animals", "others", "--qrels", "QRELS"], "'animals' is no file, so it names a collection"),
    ],
)
def test_what_does_not_go_together_is_refused(command: Command, files: dict[str, Path], arguments: list[str], said: str):
    """An option is silently ignored."""
    code, out, err = command(*[str(files["qrels.tsv"]) if part == "QRELS" else part for part in arguments])
    assert (code, out) == (1, "")
    assert said in " ".join(err.split())
