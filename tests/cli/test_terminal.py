"""Terminal output, standard input, and interrupts during start-up."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

import pgretrieval
from pgretrieval.cli import console
from pgretrieval.cli.main import INTERRUPTED, INTERRUPTION
from pgretrieval.types import Hit
from tests.fixtures.cli import Command

NAMES = ["[bold]docs[/bold]", "docs [1]", "[/]", "[red", ":smile:", "a\x1b]0;title\x07b"]
ESCAPE = "\x1b[31mred\x1b]0;title\x07\x9b1m"


@pytest.mark.parametrize("name", NAMES)
def test_names_are_printed_as_they_are(command: Command, database: pgretrieval.RetrievalDatabase, name: str):
    """Names are printed without interpreting markup or control characters."""
    database.create_collection(name, encoder="none").add([{"id": "[b]x[/b]", "text": "a word"}])
    shown = console.visible(name)
    code, out, _ = command("stats", name)
    assert (code, shown in out) == (0, True)
    for arguments in (["check", name], ["delete", name, "[b]x[/b]"], ["drop", name]):
        code, out, err = command(*arguments)
        assert code == 0, err
        assert "\x1b" not in out + err
        assert repr(name) in err
    code, _, err = command("stats", name)
    assert (code, repr(name) in err) == (1, True)


def test_hits_do_not_command_the_terminal(capsys: pytest.CaptureFixture[str]):
    """Control characters and line breaks of hits are escaped in text output."""
    console.print_hits([Hit(1, f"[id]{ESCAPE}", 1.5, f"[b]title[/b]\n{ESCAPE}", f"[i]text {ESCAPE}", {})])
    out = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\x9b"} & set(out)
    assert "[b]title[/b] \\x1b[31mred\\x1b]0;title\\x07\\x9b1m   [[id]\\x1b[31mred" in out
    assert "[i]text" in out
    assert len(out.splitlines()) == 2


def test_json_does_not_command_the_terminal(capsys: pytest.CaptureFixture[str]):
    """JSON output escapes control characters beyond ASCII."""
    console.print_json({"a": ESCAPE + "é"})
    out = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\x9b"} & set(out)
    assert json.loads(out) == {"a": ESCAPE + "é"}
    assert "é" in out


def _run(url: str, *arguments: str, given: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "COLUMNS": "200", **variables}
    whole = [sys.executable, "-W", "ignore", "-m", "pgretrieval", "--database", url, *arguments]
    return subprocess.run(whole, input=given, capture_output=True, timeout=120, env=environment, check=False)


def test_a_terminal_that_is_not_utf_8(database: pgretrieval.RetrievalDatabase, database_url: str):
    """Output works on terminals that are not UTF-8, and JSON stays valid."""
    database.create_collection("naïve 検索", encoder="none").add([{"id": "é", "text": "wörd"}])
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    listed = _run(database_url, "list", PYTHONIOENCODING="latin-1")
    assert (listed.returncode, listed.stdout) == (0, b"na\xefve \\u691c\\u7d22\n")
    stats = _run(database_url, "stats", "naïve 検索", "--json", **ascii_only)
    assert json.loads(stats.stdout)["name"] == "naïve 検索"
    assert _run(database_url, "stats", "naïve 検索", **ascii_only).returncode == 0
    missing = _run(database_url, "stats", "ünknown", **ascii_only)
    assert (missing.returncode, missing.stderr.count(b"\n"), b"Traceback" in missing.stderr) == (1, 1, False)


CORPUS = b'{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n'


def test_a_corpus_from_standard_input(database_url: str):
    """A corpus on standard input, which can be read once, is indexed completely."""
    for number, name in enumerate(("-", "/dev/stdin")):
        done = _run(database_url, "index", f"docs{number}", name, "--encoder", "none", given=CORPUS)
        assert (done.returncode, b"2 passages added" in done.stderr) == (0, True), done.stderr
    wrong = _run(database_url, "index", "docs", "-", "--encoder", "none", given=CORPUS + b"{}\n")
    assert (wrong.returncode, b"standard input:3: the id is missing" in wrong.stderr) == (1, True)


def test_a_corpus_from_a_pipe(command: Command, tmp_path: Path):
    """A corpus in a pipe is indexed without a second read."""
    pipe = tmp_path / "corpus.jsonl"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=[CORPUS], daemon=True).start()
    code, _, err = command("index", "docs", pipe, "--encoder", "none")
    assert (code, "2 passages added" in err) == (0, True), err


SLOW = """
import pathlib, time
pathlib.Path({marker!r}).touch()
for _ in range({steps}):
    time.sleep(.05)
whole = True
"""


def _interrupted(process: subprocess.Popen[str], marker: Path) -> tuple[str, str]:
    until = time.monotonic() + 60
    while not marker.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)


def _hear_interrupts() -> None:
    """Restore what shells turn off for commands in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_command_that_is_interrupted_while_torch_is_imported(tmp_path: Path, database_url: str):
    """An interrupt during the import of torch ends the command with one line."""
    marker = tmp_path / "marker"
    with psycopg.connect(database_url) as connection:
        connection.execute("select pgretrieval.create_collection('docs', 64)")
    (tmp_path / "torch.py").write_text(SLOW.format(marker=str(marker), steps=20))
    path = os.pathsep.join([str(tmp_path), str(Path(pgretrieval.__file__).parent.parent)])
    process = subprocess.Popen(
        [sys.executable, "-m", "pgretrieval", "--database", database_url, "search", "docs", "text"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        preexec_fn=_hear_interrupts,
    )
    assert _interrupted(process, marker) == ("", INTERRUPTION + "\n")
    assert process.returncode == INTERRUPTED


def test_an_interrupted_import_can_be_repeated(tmp_path: Path):
    """An interrupted import leaves no partial module in the process."""
    marker = tmp_path / "marker"
    (tmp_path / "slow.py").write_text(SLOW.format(marker=str(marker), steps=10))
    code = """
import sys
from pgretrieval.importing import whole
try:
    whole("slow")
except KeyboardInterrupt:
    print("interrupted", sys.modules["slow"].whole)
"""
    path = os.pathsep.join([str(tmp_path), str(Path(pgretrieval.__file__).parent.parent)])
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        preexec_fn=_hear_interrupts,
    )
    assert _interrupted(process, marker) == ("interrupted True\n", "")


def test_a_stream_that_cannot_be_set_up_is_no_error(command: Command, monkeypatch: pytest.MonkeyPatch):
    """Standard output may be any writable object."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stdout", written)
    assert command("list")[0] == 0
