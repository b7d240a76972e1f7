"""Where there is no browser."""

from __future__ import annotations

import pytest

from tests.support.browser import VARIABLE, chromium_command


def test_no_browser_is_said(monkeypatch: pytest.MonkeyPatch):
    """Tests of the page are skipped with a reason that says what to install or set."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"there is no Chromium: install one, or name it in {VARIABLE}"):
        chromium_command()
    monkeypatch.setenv(VARIABLE, "/opt/chromium")
    assert chromium_command() == "/opt/chromium"
