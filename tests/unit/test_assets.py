"""The shipped SQL files, and the creation order of functions."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pgretrieval import assets
from pgretrieval.errors import SchemaError


def test_a_function_comes_after_those_that_it_calls():
    """Functions are created after those that they call, because Postgres binds names at creation."""
    order = [path.stem for path in assets.function_files()]
    assert order.index("probe") < order.index("candidates_in_sql") < order.index("search")
    assert order.index("detach") < order.index("drop_collection")


def test_no_two_files_have_one_name():
    """File names are unique across folders."""
    there = sorted(path.stem for path in (assets.SQL / "functions").rglob("*.sql"))
    assert there == sorted(path.stem for path in assets.function_files())


def test_a_file_holds_the_function_of_its_name():
    """A file creates the function of its name and no other, because the order is computed from file names."""
    for path in assets.function_files():
        created = re.findall(
            r"^create (?:or replace )?(?:function|aggregate) pgretrieval\.(\w+)", path.read_text("utf-8"), re.MULTILINE
        )
        assert set(created) == {path.stem}, path


def test_a_new_function_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A new function needs one new file and no other change."""
    shutil.copytree(assets.SQL, tmp_path / "sql")
    monkeypatch.setattr(assets, "SQL", tmp_path / "sql")
    new = tmp_path / "sql" / "functions" / "anncur" / "aaa.sql"
    new.write_text("create function pgretrieval.aaa() returns text language sql begin atomic select pgretrieval.zzz(); end;\n")
    called = tmp_path / "sql" / "functions" / "search" / "zzz.sql"
    called.write_text(
        "create function pgretrieval.zzz() returns text language sql begin atomic select 'z'; end; -- pgretrieval.aaa\n"
    )
    order = assets.function_files()
    assert order.index(called) < order.index(new)


def test_functions_in_a_circle_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The error of a cycle names its functions."""
    (tmp_path / "functions" / "search").mkdir(parents=True)
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / "functions" / "search" / f"{name}.sql").write_text(f"… pgretrieval.{other}() …")
    monkeypatch.setattr(assets, "SQL", tmp_path)
    with pytest.raises(SchemaError, match="in a cycle: one, two, one"):
        assets.function_files()


def test_the_order_is_the_same_in_every_process():
    """The order, on which the digest depends, is the same in every process."""
    code = "from pgretrieval import assets; print(assets.functions_digest())"
    environment = [{"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(assets.__file__).parents[1])} for seed in ("1", "2")]
    digests = {
        subprocess.run([sys.executable, "-c", code], env=each, capture_output=True, text=True, check=True).stdout
        for each in environment
    }
    assert len(digests) == 1
