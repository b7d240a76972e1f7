"""Entry point. It imports the command's modules, which can take seconds and be interrupted."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

INTERRUPTED = 130
INTERRUPTION = "interrupted; run the same command again to finish the work"


def main() -> None:
    """Run a command; exit code 0 only on success."""
    held = signal.getsignal(signal.SIGINT)
    waits = threading.current_thread() is threading.main_thread() and callable(held) and "pgretrieval.cli.app" not in sys.modules
    if waits:
        signal.signal(signal.SIGINT, _leave)
    try:
        from pgretrieval.cli.app import run
    finally:
        if waits:
            signal.signal(signal.SIGINT, held)
    run()


def _leave(_number: int, _frame: Any) -> None:
    """Exit at once: no work has started, and an exception would interrupt an import."""
    os.write(2, f"{INTERRUPTION}\n".encode())
    os._exit(INTERRUPTED)
