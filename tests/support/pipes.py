"""Pipes like the shell's `<(…)`, which can be read once."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def piped(path: Path, number: int = 0) -> Path:
    """A pipe with the bytes of a file, for one reader."""
    pipe = path.with_name(f"pipe-{number}-{path.name}")
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=[path.read_bytes()], daemon=True).start()
    return pipe
