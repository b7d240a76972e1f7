"""Every option and argument of every command with one wrong value at a time: one line of error, exit code 1 or 2.

Commands are found by inspection, so new ones and new options are tested automatically.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from pgretrieval import RetrievalDatabase
from pgretrieval.cli.app import app
from pgretrieval.cli.main import main
from tests.support.wrong import limited

WRONG = ["", "-1", "nan", "9" * 19, "a \udcff", "x" * 5_000]
"""Values as a shell passes them: a lone surrogate stands for a byte that is not UTF-8."""
USAGE = 2
BAR = "━"
"""Remainder of a progress bar."""
ARGUMENTS = {"name": "docs", "names": "docs", "query": "water", "ids": "nobody"}
"""Valid arguments; files do not exist, so that nothing is trained or written if a value is valid."""
ALWAYS = {("worker",): ["--once"]}
"""Prevents a worker without work from waiting."""


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, (*path, name))
    if not getattr(command, "commands", {}):
        yield path, command


COMMANDS = {path: command for path, command in _commands(typer.main.get_command(app)) if command.params[:-1] or path == ("drop",)}


@pytest.fixture(scope="module")
def url(module_database: RetrievalDatabase) -> str:
    """A database with a collection of texts."""
    docs = module_database.create_collection("docs", encoder="none")
    docs.add([{"id": "a", "text": "water"}])
    return module_database.url


def _calls(path: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """Name of the wrong value, and the command's words."""
    valued = [each for each in COMMANDS[path].params if each.name != "help" and not getattr(each, "is_flag", False)]
    for wrong in valued:
        for value in WRONG:
            given = {each.name: ARGUMENTS.get(each.name, "nothing there") for each in valued if each.required} | {wrong.name: value}
            options = [word for each in valued if each.opts and each.param_type_name == "option" and each.name in given
                       for word in (each.opts[0], given[each.name])]  # fmt: skip
            arguments = [given[each.name] for each in valued if each.param_type_name == "argument" and each.name in given]
            yield f"{wrong.name} {value[:20]!r}", [*path, *ALWAYS.get(path, []), *options, "--", *arguments]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_wrong_value_is_one_line(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: tuple[str, ...]
):
    """A wrong value prints one line, without a traceback, and exits in time with a failure."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    faults = []
    for what, words in _calls(path):
        monkeypatch.setattr(sys, "argv", ["pgretrieval", "--database", url, *words])
        capsys.readouterr()
        code: Any = 0
        with limited():
            try:
                main()
            except SystemExit as stop:
                code = stop.code or 0
            except Exception:
                code = traceback.format_exc().splitlines()[-1]
        _, told = capsys.readouterr()
        lines = [line for line in told.splitlines() if line.strip() and BAR not in line]
        plain = code in (0, USAGE) or (code == 1 and len(lines) == 1 and lines[0].startswith("error: "))
        if not plain or "Traceback" in told or (code == USAGE and "Usage" not in told):
            faults.append(f"{what}: {code} {told[-200:]!r}")
    assert not faults, "\n".join(["", *faults])
