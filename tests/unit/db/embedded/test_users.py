"""The list of processes that use a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pgretrieval.db.embedded import users

LIST = "pgretrieval.users"


def test_only_running_processes_count(tmp_path: Path):
    """A killed process does not count, nor does a later process with its number."""
    other = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1)
    began = users.start_time(other.pid)
    assert began is not None
    users.join(tmp_path, None)
    assert not users.others(tmp_path)
    written = json.loads((tmp_path / LIST).read_text())
    assert written == [[os.getpid(), users.start_time(os.getpid())]]
    (tmp_path / LIST).write_text(json.dumps([*written, [other.pid, began], [1, "another one"]]))
    assert users.others(tmp_path)
    assert users.leave(tmp_path, None)
    assert json.loads((tmp_path / LIST).read_text()) == [[other.pid, began]]
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # a zombie
    assert users.start_time(other.pid) is None
    assert not users.others(tmp_path)
    other.communicate()
    assert users.start_time(other.pid) is None


@pytest.mark.parametrize("text", ["[123, ", "", "null", "7", "[[1]]", '["a", "b"]', '{"a": 1}', "[[1e400, 2]]", "\0", "é" * 9])
def test_a_list_that_cannot_be_read_counts_as_empty(tmp_path: Path, text: str):
    """An unreadable list, left by a crash during a write, counts as empty."""
    (tmp_path / LIST).write_bytes(text.encode("latin-1"))
    assert not users.others(tmp_path)
    users.join(tmp_path, None)
    assert len(json.loads((tmp_path / LIST).read_text())) == 1


def test_start_times_do_not_depend_on_the_wall_clock(monkeypatch: pytest.MonkeyPatch):
    """Processes are identified independently of the wall clock, from which psutil computes start times."""
    before = users.start_time(os.getpid())
    monkeypatch.setattr("psutil.Process.create_time", lambda process: 1.0)
    assert users.start_time(os.getpid()) == before or sys.platform != "linux"
