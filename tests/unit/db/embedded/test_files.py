"""Files in a directory of the server's user, who may be hostile, and the lock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pgretrieval.db.embedded.accounts import Account
from pgretrieval.db.embedded.files import FolderLock, append_to, read_text, replace_text
from pgretrieval.errors import DatabaseUnavailableError

NOBODY = Account("nobody", 65534, 65534)


def test_a_file_is_replaced_as_a_whole_and_no_planted_link_is_followed(tmp_path: Path):
    """Files are replaced atomically, and symbolic links of the server's user are not followed."""
    target, path = tmp_path / "target", tmp_path / "list"
    target.write_text("of somebody else")
    (tmp_path / "list.new").symlink_to(target)
    path.symlink_to(target)
    replace_text(path, "ours", None)
    assert (path.read_text(), path.is_symlink(), target.read_text()) == ("ours", False, "of somebody else")
    assert path.stat().st_mode & 0o777 == 0o600
    held = path.open()
    replace_text(path, "new", None)
    assert (held.read(), read_text(path)) == ("ours", "new")


def test_nothing_is_read_or_appended_through_a_link(tmp_path: Path):
    """Root neither reads nor appends through a link of the server's user."""
    secret, link = tmp_path / "secret", tmp_path / "log"
    secret.write_text("secret")
    link.symlink_to(secret)
    with pytest.raises(OSError, match="links"):
        read_text(link)
    with pytest.raises(OSError, match="links"):
        append_to(link, None)
    assert read_text(tmp_path / "nothing") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_log_that_is_another_file_by_a_second_name_is_refused(tmp_path: Path):
    """A log with a second hard link is refused."""
    (tmp_path / "theirs").write_text("")
    os.link(tmp_path / "theirs", tmp_path / "log")
    with pytest.raises(OSError, match="not a file of the server's own"):
        append_to(tmp_path / "log", NOBODY)
    assert (tmp_path / "theirs").stat().st_uid == 0
    os.close(append_to(tmp_path / "made", NOBODY))
    assert (tmp_path / "made").stat().st_uid == NOBODY.uid


def test_one_process_at_a_time_has_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One process holds the lock; the death of its holder releases it."""
    code = "import sys\nfrom pathlib import Path\nfrom pgretrieval.db.embedded.files import FolderLock\n"
    code += "with FolderLock(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=-1, stdout=-1, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    monkeypatch.setattr("pgretrieval.db.embedded.files._LOCK_SECONDS", 0.2)
    with pytest.raises(DatabaseUnavailableError, match="another process has been starting or stopping"), FolderLock(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with FolderLock(tmp_path):
        pass


def test_a_waiting_process_locks_the_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A process that waited for the lock of a replaced folder locks the new folder."""
    folder, fresh = tmp_path / "postgres", tmp_path / "fresh"
    folder.mkdir()
    fresh.mkdir()
    before = os.open(folder, os.O_RDONLY)
    with FolderLock(folder) as lock:
        lock.move(fresh)
        assert not os.path.samestat(os.fstat(before), folder.stat())
        assert lock._handle is not None
        assert os.path.samestat(os.fstat(lock._handle), folder.stat())
        assert not FolderLock(folder)._try()
    monkeypatch.setattr("pgretrieval.db.embedded.files._open_for_lock", lambda folder, by_file: before)  # opened before the change
    assert not FolderLock(folder)._try()
    monkeypatch.undo()
    with FolderLock(folder):
        pass
