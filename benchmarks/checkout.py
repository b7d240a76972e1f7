"""A benchmark script that runs with another checkout's package, and answers line by line."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any


def commit_of(checkout: Path) -> str:
    """Return the short name of the checkout's commit."""
    return subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=checkout, text=True).strip()


@contextlib.contextmanager
def running(script: Path, checkout: Path, source: Path, *arguments: str) -> Iterator[tuple[Any, Callable[[str], Any]]]:
    """Run `script --serve SOURCE FOLDER ARGUMENTS` with the package of a checkout, in a FOLDER of its own.

    The script writes one JSON line when it is ready, and one for each line that it reads. Returns the first, and a function that
    sends a line and returns the answer.
    """
    with tempfile.TemporaryDirectory(prefix="pgretrieval-bench-") as folder:
        command: Sequence[str] = [sys.executable, str(script), "--serve", str(source), folder, *arguments]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            to, answers = process.stdin, process.stdout
            if to is None or answers is None or not (first := answers.readline()):
                sys.exit(f"{checkout} did not start")

            def ask(line: str = "again") -> Any:
                to.write(f"{line}\n")
                to.flush()
                return json.loads(answers.readline())

            yield json.loads(first), ask
            to.close()
