"""Chromium, if the machine has one, driven by Playwright; and a page that is watched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

VARIABLE = "PGRETRIEVAL_TEST_BROWSER"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_MILLISECONDS = 15_000


def chromium_command() -> str:
    """Return the program. Skips the test with a reason, which the summary shows, if there is none."""
    command = os.environ.get(VARIABLE) or next(filter(None, map(shutil.which, _NAMES)), None)
    if command is None:
        pytest.skip(f"there is no Chromium: install one, or name it in {VARIABLE}; the service is tested all the same")
    return command


@contextmanager
def chromium(command: str) -> Iterator[Browser]:
    """A browser without a window."""
    expect.set_options(timeout=_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=command, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def watched_page(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A page of the service. Raises AssertionError at the end if it wrote an error, missed a file or called another host."""
    context = browser.new_context(base_url=url, locale="en", **options)
    context.set_default_timeout(_MILLISECONDS)
    wrong: list[str] = []
    _watch(context, url, wrong)
    try:
        yield context.new_page()
    finally:
        context.close()
    assert not wrong, wrong


def _watch(context: BrowserContext, url: str, wrong: list[str]) -> None:
    context.on("weberror", lambda error: wrong.append(f"error: {error.error}"))
    context.on("request", lambda request: None if request.url.startswith((url, "data:")) else wrong.append(f"calls {request.url}"))
    context.on(
        "console",
        lambda message: (
            wrong.append(f"{message.type}: {message.text}")
            if message.type in ("error", "warning") and not _of_the_interface(message)
            else None
        ),
    )


def _of_the_interface(message: ConsoleMessage) -> bool:
    """True for what the browser itself logs of a request that fails; the page shows the failure."""
    return message.text.startswith("Failed to load resource") and "/v1/" in message.location["url"]
