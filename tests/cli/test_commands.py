"""Commands as a user runs them: exit codes, output streams, and JSON."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.cli.main import main
from pgretrieval.database import open_database
from pgretrieval.db import schema
from pgretrieval.db.embedded.binaries import installation
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.catalog import catalogue

ANIMALS = ["cat", "dog", "horse", "eagle", "salmon", "frog"]
DEEDS = ["sleeps all day", "hunts at night", "eats green leaves", "sings in spring", "swims across the lake"]
PLACES = ["in the old barn", "near the river"]
CORPUS = [
    {"id": f"{animal}-{d}-{p}", "title": animal.title(), "text": f"the {animal} {deed} {place}", "metadata": {"legs": 4}}
    for animal in ANIMALS
    for d, deed in enumerate(DEEDS)
    for p, place in enumerate(PLACES)
]


@dataclass(frozen=True, slots=True)
class Done:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        """Standard output as JSON, one value per line."""
        return [json.loads(line) for line in self.out.splitlines()]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "pgretrieval", *map(str, arguments)]


def run(*arguments: str | Path, **variables: str) -> Done:
    """Run a command to its end, with a wide terminal so that lines are not wrapped."""
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **variables}
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120, env=environment)
    return Done(done.returncode, done.stdout, done.stderr)


def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path, width: int = 200) -> Done:
    """Run a command in this process, which saves the imports."""
    monkeypatch.setattr(sys, "argv", ["pgretrieval", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    capsys.readouterr()
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    return Done(code, *capsys.readouterr())


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    """Write a .jsonl or .jsonl.gz file."""
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture(scope="module")
def url(postgres: PostgresUnderTest) -> Iterator[str]:
    """A migrated database shared by the tests of this module."""
    created = postgres.create_database()
    yield created
    postgres.drop_database(created)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The corpus in two files, the second one compressed."""
    folder = tmp_path_factory.mktemp("corpus")
    return [write(folder / "first.jsonl", CORPUS[:40]), write(folder / "second.jsonl.gz", CORPUS[40:])]


@pytest.fixture(scope="module")
def indexed(url: str, files: list[Path]) -> Done:
    """`index animals` over both files."""
    return run("--database", url, "index", "animals", *files)


def test_index_reports_on_standard_error(indexed: Done):
    """Progress goes to standard error, and all files are read."""
    assert (indexed.code, indexed.out) == (0, ""), indexed.err
    assert "60 passages added, 0 already stored; 'animals' now contains 60 passages" in indexed.err


def test_index_again_adds_nothing(
    url: str, indexed: Done, files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A second run adds nothing."""
    done = run_here(monkeypatch, capsys, "--database", url, "index", "animals", *files)
    assert done.code == 0, done.err
    assert "0 passages added, 60 already stored; 'animals' now contains 60 passages" in done.err


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--bits", "2"], "created with bits 4, but --bits is 2"),
        (["--encoder", "some/model"], "was created with encoder {'kind': 'minilm', 'version': '2'}"),
    ],
)
def test_index_with_other_settings_is_refused(
    url: str,
    indexed: Done,
    files: list[Path],
    option: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """A changed option is refused."""
    done = run_here(monkeypatch, capsys, "--database", url, "index", "animals", *files, *option)
    assert (done.code, done.out) == (1, "")
    assert said in done.err


def test_search_prints_json_lines(url: str, indexed: Done):
    """Each line is a JSON object with the documented keys."""
    done = run("--database", url, "search", "animals", "which bird hunts when it is dark", "-k", "3", "--json", "--explain")
    assert done.code == 0, done.err
    assert [list(hit) for hit in done.objects] == [["rank", "id", "score", "title", "text", "metadata"]] * 3
    assert [hit["rank"] for hit in done.objects] == [1, 2, 3]
    assert done.objects[0]["id"].startswith("eagle-1-")
    assert (done.objects[0]["title"], done.objects[0]["metadata"]) == ("Eagle", {"legs": 4})
    for counted in ("encode", "maxsim", "probes", "postings read", "candidates", "passages decoded", "bytes moved"):
        assert counted in done.err


def test_search_scores_what_its_words_find(url: str, indexed: Done):
    """--generator text scores the passages that the search by words finds, and no others."""
    search = ("search", "animals", "a frog or a salmon", "-k", "20", "--json", "--explain")
    done = run("--database", url, *search, "--generator", "text", "--candidates", "40")
    assert done.code == 0, done.err
    assert {hit["id"].split("-")[0] for hit in done.objects} == {"frog", "salmon"}
    assert len(done.objects) == 20
    assert re.search(r"passages decoded +20\b", done.err)


def test_a_mode_of_search_is_chosen(url: str, indexed: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """A search is hybrid by default, late with an option of late interaction, and otherwise as --mode says."""
    search = ("--database", url, "search", "animals", "frog near water", "-k", "5", "--json")
    default = run_here(monkeypatch, capsys, *search)
    with pgretrieval.connect(url) as database:
        animals = database.get_collection("animals")
        expected = {
            "hybrid": animals.hybrid_search("frog near water", 5),
            "late": animals.search("frog near water", 5),
            "words": animals.text_search("frog near water", 5),
        }
        wide = animals.search("frog near water", 5, probes=3)
    assert default.objects == [hit.as_dict() for hit in expected["hybrid"]]
    for mode, hits in expected.items():
        assert run_here(monkeypatch, capsys, *search, "--mode", mode).objects == [hit.as_dict() for hit in hits]
    assert run_here(monkeypatch, capsys, *search, "--probes", "3").objects == [hit.as_dict() for hit in wide]
    refused = run_here(monkeypatch, capsys, *search, "--mode", "hybrid", "--probes", "3")
    assert (refused.code, refused.out) == (1, "")
    assert 'probes is 3, which mode "hybrid" does not use' in refused.err
    unknown = run_here(monkeypatch, capsys, *search, "--mode", "best")
    assert "mode is 'best'; choose" in unknown.err


def test_search_leaves_out_lower_scores(
    url: str, indexed: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """--reduction mean gives scores up to 1, --min-score leaves out lower ones, and a text for one is refused."""
    search = ("--database", url, "search", "animals", "frog near water", "-k", "5", "--json", "--reduction", "mean")
    every = run_here(monkeypatch, capsys, *search)
    scores = [hit["score"] for hit in every.objects]
    assert 1 >= scores[0] > scores[-1]
    some = run_here(monkeypatch, capsys, *search, "--min-score", str(scores[0]))
    assert (some.code, some.objects, some.err) == (0, [hit for hit in every.objects if hit["score"] == scores[0]], "")
    assert run_here(monkeypatch, capsys, *search, "--min-score", "2") == Done(0, "", "")
    refused = run_here(monkeypatch, capsys, *search, "--min-score", "nan")
    assert (refused.code, refused.out) == (1, "")
    assert "min_score is nan" in refused.err


def test_search_prints_for_reading(url: str, indexed: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Text output has rank, score, title and text; the environment's URL is used."""
    monkeypatch.setenv("PGRETRIEVAL_DATABASE_URL", url)
    done = run_here(monkeypatch, capsys, "search", "animals", "frog near water", "-k", "2", "--mode", "late")
    assert done.code == 0, done.err
    first = done.out.splitlines()[0]
    assert first.split()[0] == "1"
    assert float(first.split()[1]) > 1
    assert "Frog" in first
    assert "[frog-" in first
    assert "the frog" in done.out
    assert done.err == ""


def test_evaluate_prints_the_contracted_object(
    url: str, indexed: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The JSON has all documented keys, with the exact comparison."""
    queries = write(
        tmp_path / "queries.jsonl", [{"id": f"q{n}", "text": f"a {animal} in spring"} for n, animal in enumerate(ANIMALS)]
    )
    qrels = tmp_path / "qrels.tsv"
    lines = [f"q{n}\t{animal}-3-{place}\t1\n" for n, animal in enumerate(ANIMALS) for place in (0, 1)]
    qrels.write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    options = ["--queries", queries, "--qrels", qrels, "--exact", "--json", "--metrics", "nDCG@10 Success@5"]
    done = run_here(monkeypatch, capsys, "--database", url, "evaluate", "animals", *options)
    assert done.code == 0, done.err
    assert len(done.objects) == 1
    report = done.objects[0]
    assert set(report) == {"queries", "mode", "metrics", "milliseconds", "exact", "fidelity@10", "fidelity@100"}
    assert report["queries"] == 6
    assert set(report["metrics"]) == set(report["exact"]["metrics"]) == {"nDCG@10", "Success@5"}
    assert report["metrics"]["Success@5"] > 0.8
    for stage in ("encode", "search"):
        assert 0 < report["milliseconds"][stage]["p50"] <= report["milliseconds"][stage]["p95"]
    assert report["fidelity@10"] > 0.8
    assert report["fidelity@100"] == 1  # all 60 passages


def test_evaluate_names_the_line_of_a_bad_judgement(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The error of an invalid qrels line names it before any search."""
    queries = write(tmp_path / "queries.jsonl", [{"id": "q", "text": "x"}])
    (tmp_path / "qrels.txt").write_text("q 0 a 1\nq 0 b\n")
    options = ["--queries", queries, "--qrels", tmp_path / "qrels.txt"]
    done = run_here(monkeypatch, capsys, "--database", url, "evaluate", "animals", *options)
    assert (done.code, done.out) == (1, "")
    assert "qrels.txt:2" in done.err


def test_rebuild(url: str, indexed: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """A rebuild trains again and keeps passages; an unknown collection is an error."""
    query = ("--database", url, "search", "animals", "the cat sleeps all day in the old barn", "-k", "1", "--json")
    before = run_here(monkeypatch, capsys, *query)
    with psycopg.connect(url) as connection:
        old = connection.execute("select codebook_id from pgretrieval.collection where name = 'animals'").fetchone()
    done = run_here(monkeypatch, capsys, "--database", url, "rebuild", "animals")
    assert (done.code, done.out) == (0, "")
    assert "rebuilt 'animals': 60 passages" in done.err
    with psycopg.connect(url) as connection:
        assert connection.execute("select codebook_id from pgretrieval.collection where name = 'animals'").fetchone() > old
    assert run_here(monkeypatch, capsys, *query).objects[0]["id"] == before.objects[0]["id"]
    assert run_here(monkeypatch, capsys, "--database", url, "rebuild", "nobody").code == 1


def test_build(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """A collection is built once, on a named device if there is one; wrong options are one line."""
    with pgretrieval.connect(url) as database:
        database.create_collection("birds", encoder="minilm").add(CORPUS[:3])
    build = ("--database", url, "build", "birds")
    done = run_here(monkeypatch, capsys, *build, "--device", "nowhere")
    assert (done.code, "error: device 'nowhere' cannot be used" in done.err) == (1, True), done.err
    done = run_here(monkeypatch, capsys, *build, "--workers", "0")
    assert (done.code, "error: workers is 0; give a whole number from 1 to 256" in done.err) == (1, True), done.err
    done = run_here(monkeypatch, capsys, *build, "--device", "cpu", "--device", "cpu")
    assert (done.code, "'birds' is built: 3 passages" in done.err) == (0, True), done.err
    done = run_here(monkeypatch, capsys, *build)
    assert (done.code, "'birds' was built already: 3 passages" in done.err) == (0, True), done.err


def test_stats_prints_the_contracted_keys(
    url: str, indexed: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """All documented keys are printed, with bytes by table."""
    done = run("--database", url, "stats", "animals", "--json")
    assert (done.code, done.err) == (0, "")
    (stats,) = done.objects
    assert {"passages", "tokens", "centroids", "bits", "bytes"} <= set(stats)
    assert (stats["passages"], stats["bits"]) == (60, 4)
    assert {"token_code", "posting", "centroid", "passage"} <= set(stats["bytes"])
    plain = run_here(monkeypatch, capsys, "--database", url, "stats", "animals")
    assert plain.code == 0
    assert "passages" in plain.out


def test_list_and_drop(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`list` prints names unchanged, and `drop` prints nothing on standard output."""
    name = 'it\'s "odd" [bold]ünï[/bold]'
    with open_database(url) as database:
        database.create_collection(name, dim=64)
    listed = run("--database", url, "list")
    assert (listed.code, listed.err) == (0, "")
    assert name in listed.out.splitlines()
    dropped = run_here(monkeypatch, capsys, "--database", url, "drop", name)
    assert (dropped.code, dropped.out) == (0, "")
    with open_database(url) as database:
        assert name not in database.list_collections()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "x", "text": ', "bad.jsonl:3: not valid JSON"),
        ('{"id": "x", "text": ""}', "bad.jsonl:3 (id 'x'): the text is empty"),
        (json.dumps(CORPUS[0]), "the id 'cat-0-0' occurs twice in the corpus; nothing was stored"),
    ],
)
def test_a_bad_corpus_is_named_by_file_and_line_and_nothing_is_stored(
    url: str, tmp_path: Path, line: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The error names file and line, and neither passages nor a collection are stored."""
    path = write(tmp_path / "bad.jsonl", CORPUS[:2])
    path.write_text(path.read_text() + line + "\n")
    done = run_here(monkeypatch, capsys, "--database", url, "index", "bad", path)
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert "Traceback" not in done.err
    with open_database(url) as database:
        assert "bad" not in database.list_collections()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["search", "nobody", "query"], 1, "no collection 'nobody'"),
        (["stats", "nobody"], 1, "no collection 'nobody'"),
        (["drop", "nobody"], 1, "no collection 'nobody'"),
        (["search", "animals", " "], 1, "the query is ' '"),
        (["search", "animals", "query", "-k", "0"], 1, "k is 0"),
        (["index", "new", "/nowhere/corpus.jsonl"], 1, "/nowhere/corpus.jsonl: cannot be read"),
        (["search", "animals"], 2, "Missing argument"),
        (["search", "animals", "query", "-k", "many"], 2, "Invalid value for '-k'"),
        (["dance"], 2, "dance"),
    ],
)
def test_errors_go_to_standard_error_with_a_code(
    url: str,
    indexed: Done,
    arguments: list[str],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Errors go to standard error without a traceback, with an exit code."""
    done = run_here(monkeypatch, capsys, "--database", url, *arguments)
    assert (done.code, done.out) == (code, ""), done.err
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_server_that_is_down_and_two_targets(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Errors of the target have no traceback or password, and two targets are refused."""
    down = run("--database", "postgresql://someone:secret@127.0.0.1:1/x", "list")
    assert (down.code, down.out) == (1, "")
    assert "127.0.0.1:1" in down.err
    assert "secret" not in down.err
    both = run_here(monkeypatch, capsys, "--database", url, "--data-dir", tmp_path, "list")
    assert (both.code, both.out) == (1, "")
    assert "give one" in both.err


def test_migrate_and_doctor(empty_database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`doctor` reports a missing schema, and `migrate` installs it."""
    sick = run_here(monkeypatch, capsys, "--database", empty_database_url, "doctor")
    assert sick.code == 1
    assert "problem" in sick.out
    assert "pgretrieval --database URL migrate" in sick.out
    refused = run_here(monkeypatch, capsys, "--database", empty_database_url, "list")
    assert (refused.code, refused.out) == (1, "")
    assert "pgretrieval --database URL migrate" in refused.err
    migrated = run("--database", empty_database_url, "migrate")
    assert (migrated.code, migrated.out) == (0, "")
    assert schema.head_revision() in migrated.err
    healthy = run_here(monkeypatch, capsys, "--database", empty_database_url, "doctor")
    assert healthy.code == 0, healthy.out
    assert "problem" not in healthy.out
    assert "PostgreSQL" in healthy.out
    assert "pgvector" in healthy.out


def test_migrate_prints_sql_that_psql_runs(database_url: str, empty_database_url: str):
    """`migrate --sql` prints a script for plain psql without connecting."""
    printed = run("--database", "postgresql://nowhere.invalid/x", "migrate", "--sql")
    assert (printed.code, printed.err) == (0, "")
    psql = [installation(18).program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", empty_database_url]
    done = subprocess.run(psql, input=printed.out, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert catalogue(empty_database_url) == catalogue(database_url)


def test_an_interrupted_index_is_finished_by_running_it_again(database_url: str, tmp_path: Path):
    """Ctrl-C keeps whole batches, and a second run completes them."""
    texts = [{"id": f"n{number}", "text": f"number {number}"} for number in range(2500)]
    path = write(tmp_path / "corpus.jsonl", texts)
    process = subprocess.Popen(
        command("--database", database_url, "index", "numbers", path),
        stdout=-1,
        stderr=-1,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # background processes would inherit that SIGINT is ignored
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        deadline = time.monotonic() + 100
        while connection.execute("select count(*) from pgretrieval.passage").fetchone()[0] < 1024:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, ""), err
        assert "run the same command again" in err
        assert "Traceback" not in err
        stored = connection.execute("select count(*) from pgretrieval.passage").fetchone()[0]
        assert stored in (1024, 2048)
        again = run("--database", database_url, "index", "numbers", path)
        assert again.code == 0, again.err
        assert f"{2500 - stored:,} passages added, {stored:,} already stored" in again.err
        counted = connection.execute("select count(*), count(distinct key) from pgretrieval.passage").fetchone()
        assert counted == (2500, 2500)
        assert connection.execute("select count(*) from pgretrieval.token_code").fetchone() == (2500,)


def test_check_succeeds_only_where_nothing_is_wrong(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The exit code is 1 if any checked collection has violations."""
    with open_database(database_url) as database:
        for name in ("sound", "broken"):
            made = database.create_collection(name)
            made.add([{"id": "[b]a[/b]", "text": "a text"}], vectors=[np.eye(64)[:3]])
            made.build()
        broken = made._row.collection_id
    assert run_here(monkeypatch, capsys, "--database", database_url, "check").code == 0
    with psycopg.connect(database_url) as connection:
        connection.execute("delete from pgretrieval.token_code where collection_id = %s", [broken])
    sound = run_here(monkeypatch, capsys, "--database", database_url, "check", "sound")
    assert (sound.code, sound.out) == (0, "")
    assert "no violations in 'sound'" in sound.err
    for named in (["broken"], []):
        shown = run_here(monkeypatch, capsys, "--database", database_url, "check", *named)
        assert shown.code == 1
        assert re.search(r"broken +missing_codes +\[b\]a\[/b\] +no codes under codebook", shown.out)
        assert "sound" not in shown.out
    as_json = run_here(monkeypatch, capsys, "--database", database_url, "check", "--json")
    assert as_json.code == 1
    first = as_json.objects[0]
    assert (first.pop("detail").startswith("no codes"), first) == (
        True,
        {"collection": "broken", "rule": "missing_codes", "id": "[b]a[/b]", "total": 1},
    )
    nowhere = run_here(monkeypatch, capsys, "--database", database_url, "check", "nowhere")
    assert nowhere.code == 1
    assert "no collection 'nowhere'" in nowhere.err


def test_attach_worker_and_detach(postgres: PostgresUnderTest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """A refused attach leaves no collection, `worker --once` ends, and a running worker finishes its batch."""
    url = postgres.create_database()
    database = ("--database", url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            """create table articles (id integer primary key, title text, body text);
               insert into articles values (1, 'Tea', 'green leaves'), (2, 'Bread', 'brown crust'), (3, null, null)"""
        )
        options = ("--table", "public.articles", "--text", "title, body")
        refused = run_here(monkeypatch, capsys, *database, "attach", "docs", *options, "--metadata", "author")
        assert (refused.code, refused.out) == (1, "")
        assert "public.articles has no column 'author'" in refused.err
        assert run_here(monkeypatch, capsys, *database, "list").out == ""
        attached = run_here(monkeypatch, capsys, *database, "attach", "docs", *options)
        assert (attached.code, attached.err) == (0, "")
        assert "'docs' is attached to public.articles; 3 rows are queued. Run `pgretrieval worker`" in attached.out
        assert run_here(monkeypatch, capsys, *database, "stats", "docs", "--json").objects[0]["queued"] == 3
        once = run(*database, "worker", "--once")
        assert (once.code, once.out) == (0, "2 passages written, 0 deleted\n")
        assert "applying changes" in once.err
        assert "written" not in once.err

        process = subprocess.Popen(command(*database, "worker", "docs"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        connection.execute("delete from articles where id = 1")
        assert process.stdout is not None
        assert process.stderr is not None
        assert "collection 'docs': 0 passages written, 1 deleted" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert (process.stdout.read(), process.stderr.read()) == ("0 passages written, 1 deleted\n", "")

        detached = run_here(monkeypatch, capsys, *database, "detach", "docs")
        assert (detached.code, detached.err) == (0, "'docs' is detached; it keeps its passages\n")
        nothing = run_here(monkeypatch, capsys, *database, "worker", "docs", "--once")
        assert nothing.code == 1
        assert "collection 'docs' is not attached to a table; attach it first" in nothing.err
    postgres.drop_database(url)


def test_the_embedded_server_serves_the_command_line(data_dir: Path):
    """--data-dir is created and migrated, and its server stops with the command."""
    done = run("--data-dir", data_dir, "list")
    assert (done.code, done.out, done.err) == (0, "", "")
    checked = run("doctor", PGRETRIEVAL_DATA_DIR=str(data_dir))
    assert checked.code == 0, checked.out
    assert not (data_dir / "postgres" / "postmaster.pid").exists()


def test_help_explains_every_command_and_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Every command and option has a help text."""
    done = run_here(monkeypatch, capsys, "--help")
    assert done.code == 0
    for name in (
        "demo",
        "index",
        "search",
        "evaluate",
        "list",
        "stats",
        "drop",
        "migrate",
        "doctor",
        "check",
        "--database",
        "--data-dir",
    ):
        assert name in done.out
    assert "PGRETRIEVAL_DATABASE_URL" in done.out
    for name, options in {
        "index": ["--encoder", "--bits"],
        "search": ["-k", "--json", "--explain"],
        "evaluate": ["--queries", "--qrels", "--exact", "--metrics", "--json"],
    }.items():
        shown = run_here(monkeypatch, capsys, name, "--help").out
        assert all(option in shown for option in options)
