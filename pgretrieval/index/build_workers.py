"""Processes on this machine that take parts of a build, and are replaced if they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from typing_extensions import Self

from pgretrieval import validate
from pgretrieval.db.connection import Database
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.encode.registry import name_of
from pgretrieval.errors import BuildWorkerError, ConfigError

MAX_WORKERS = 256
_MAIN = "from pgretrieval.index.build_worker import main; main()"
_PACKAGES = str(Path(__file__).resolve().parents[2])
_REPLACEMENTS = 5  # of one worker
_GRACE = 5  # seconds from the request to end until a worker is killed


@dataclass(frozen=True, slots=True)
class Processes:
    """How many worker processes a build starts, and the torch devices that they take in turn; none for the default."""

    count: int
    devices: Sequence[str]


def read_processes(workers: Any, devices: Any) -> Processes | None:
    """Return the processes to start; None for a build in this process. Raises ConfigError."""
    named = list(validate.listed("devices", devices, "names of torch devices"))
    named = [validate.text("devices", device, most=validate.MAX_NAME) for device in named]
    count = validate.whole_or_none("workers", workers, most=MAX_WORKERS)
    if count is not None and count < len(named):
        msg = f"workers is {count}, but {len(named)} devices are named; give at least one worker for each device, or name fewer"
        raise ConfigError(msg)
    if named:
        return Processes(count or len(named), named)
    return None if count in (None, 1) else Processes(int(count), named)


class BuildWorkers:
    """The worker processes of one build, for a `with` block. They start at the first `tend`.

    A worker ends when its standard input does, so none outlives this process, however it ends.
    """

    def __init__(
        self, processes: Processes, database: Database, collection: CollectionRow, encoder: CollectionEncoder | None, threads: int
    ) -> None:
        name = None if encoder is None else name_of(encoder.spec)
        self._task = {
            "url": database.url,
            "collection": collection.name,
            "identity": str(collection.identity),
            "encoder": name,
            "unit": encoder is None or encoder.unit,
            "token_pooling": 1 if encoder is None else encoder.token_pooling,
        }
        self.encode = name is not None
        devices: Sequence[str | None] = processes.devices or [None]
        environment = _environment(max(1, threads // processes.count))
        self._workers = [
            _Worker(number, self._task | {"device": devices[number % len(devices)]}, environment)
            for number in range(processes.count)
        ]

    def tend(self, parts: int) -> None:
        """Start workers that do not run, at most one for each part. Raises BuildWorkerError if one has ended too often."""
        for worker in self._workers[:parts]:
            worker.tend()

    def stop(self) -> None:
        """End all workers; what they have not committed is left to others."""
        for worker in self._workers:
            worker.ask_to_end()
        for worker in self._workers:
            worker.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


class _Worker:
    """One worker process, and those that replaced it."""

    def __init__(self, number: int, task: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._number = number
        self._task = task
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: IO[bytes] | None = None
        self._ended = 0

    def tend(self) -> None:
        """Start the process, or another in place of one that has ended."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._ended += 1
            message = self._last_message()
            self.end()
            if self._ended > _REPLACEMENTS:
                msg = (
                    f"worker {self._number + 1} of the build ended {self._ended} times, at last with {_shown(code)}{message}. "
                    "Finished parts are kept. Repeat the call to go on; if memory ran out, with fewer workers"
                )
                raise BuildWorkerError(msg)
        self._start()

    def _start(self) -> None:
        self._messages = tempfile.TemporaryFile(prefix="pgretrieval-")  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._messages,
            env=dict(self._environment),
            start_new_session=True,  # Ctrl-C reaches only this process, which ends the workers
        )
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(self._task).encode() + b"\n")
                self._process.stdin.flush()

    def _last_message(self) -> str:
        if self._messages is None:
            return ""
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        return f" ({lines[-1].strip().rstrip('.')})" if lines else ""

    def ask_to_end(self) -> None:
        """Ask the process to end."""
        if self._process is not None:
            if self._process.stdin is not None:
                with suppress(BrokenPipeError):
                    self._process.stdin.close()
            self._process.terminate()

    def end(self) -> None:
        """Wait for the process, and kill it if it does not end."""
        if self._process is not None:
            self.ask_to_end()
            try:
                self._process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._messages is not None:
            self._messages.close()
            self._messages = None


def _environment(threads: int) -> dict[str, str]:
    """Return the environment of a worker: the modules of this process but those of the working directory, and its threads."""
    path = os.pathsep.join([_PACKAGES, *(part for part in sys.path if part)])
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": str(threads)}


def _shown(code: int) -> str:
    """Return an exit code, with the name of its signal."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"exit code {code}, {signal.Signals(-code).name}"
    except ValueError:
        return f"exit code {code}"
