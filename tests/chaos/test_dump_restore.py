"""Collections move to another major version, and are searched on a standby."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pgretrieval
from pgretrieval.db.embedded import open_server
from tests.fixtures.collections import Corpus
from tests.fixtures.postgres import reachable_directory
from tests.support.chaos import Tally
from tests.support.kinds import analyze, answers, fill, same
from tests.support.own_server import OwnServer, own_server
from tests.support.standby import standby_of, wait_for_replay


def move(old: OwnServer, new: OwnServer, dump: str, *, newer: OwnServer) -> None:
    """Dump and restore with the newer version's programs, as the manual says; to an older one without newer features."""
    dumped = newer.client("pg_dump", "--format=custom", "--file", dump, "--dbname", old.url)
    assert dumped.returncode == 0, dumped.stderr
    if newer is new:
        restored = new.client("pg_restore", "--exit-on-error", "--dbname", new.url, dump)
        assert restored.returncode == 0, restored.stderr
        return
    script = newer.client("pg_restore", "--file", "-", dump)
    assert script.returncode == 0, script.stderr
    known = re.sub(r"^SET transaction_timeout = 0;$|^\\(un)?restrict .*$", "", script.stdout, flags=re.MULTILINE)
    done = new.client("psql", "-X", "--quiet", "--set", "ON_ERROR_STOP=1", new.url, text=known)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("from_version", "to_version"), [(16, 18), (18, 16)])
def test_dump_and_restore_into_the_other_version(corpus: Corpus, from_version: int, to_version: int, tmp_path: Path):
    """A dump restores completely in the other version, with equal hits and scores."""
    tally = Tally(f"`pg_dump` of PostgreSQL {from_version}, restored into {to_version}", runs=1, faults=1)
    with own_server(from_version) as old, own_server(to_version, migrated=False) as new:
        with pgretrieval.connect(url=old.url) as database:
            tally.acknowledged = fill(database, corpus)
        analyze(old.url)
        expected = answers(old.url, corpus)
        move(old, new, str(tmp_path / "dump"), newer=new if to_version > from_version else old)
        analyze(new.url)
        same(answers(new.url, corpus), expected)
        tally.look(old.url)
        tally.look(new.url)
        with pgretrieval.connect(url=new.url) as database:  # changes work there, too
            docs = database.get_collection("docs")
            docs.add([{"id": "later", "text": "one more"}], vectors=[corpus.vectors[50]])
            docs.compact()
            assert {hit.id for hit in docs.search(vectors=corpus.vectors[50], k=2)} == {"later", "p50"}
        tally.look(new.url)
    tally.report()


def test_a_standby_answers_and_is_checked(corpus: Corpus):
    """A standby gives the same hits and can be checked."""
    tally = Tally("hot standby", runs=1, faults=1)
    with reachable_directory() as folder:
        server = open_server(folder / "primary")
        try:
            with pgretrieval.connect(data_dir=folder / "primary") as database, standby_of(server, folder) as standby:
                tally.acknowledged = fill(database, corpus)
                for change in (lambda: database.get_collection("docs").delete(["p3"]), database.get_collection("docs").compact):
                    wait_for_replay(server.url, standby)
                    same(answers(standby, corpus), answers(server.url, corpus))
                    tally.look(standby)
                    change()
        finally:
            server.close()
    tally.report()
