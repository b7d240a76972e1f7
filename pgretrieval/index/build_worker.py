"""Process that takes parts of a build, started by `build_workers`. Its task is a line of JSON on standard input."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import closing
from typing import Any
from uuid import UUID

from pgretrieval.db.connection import Database
from pgretrieval.db.tables import collections
from pgretrieval.encode.registry import load_encoder
from pgretrieval.importing import whole


def main() -> None:
    """Take parts until standard input ends, or this process is ended."""
    task = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with closing(Database(task["url"], max_connections=1)) as database:
        _work(database, task)


def _end_with_parent() -> None:
    """End at once when the process that started this one has; the server undoes what is not committed."""
    sys.stdin.read()
    os._exit(0)


def _work(database: Database, task: dict[str, Any]) -> None:
    whole("torch")
    from pgretrieval.index.sharing import POLLED_SECONDS, Helper
    from pgretrieval.index.work import doing
    from pgretrieval.numerics.hardware import compute_device

    encoder = None
    if task["encoder"] is not None:
        encoder = load_encoder(task["encoder"], task["device"], unit=task["unit"], token_pooling=task["token_pooling"])
    row = collections.find(database, task["collection"])
    if row.identity != UUID(task["identity"]):
        raise collections.dropped(row.collection_id)
    with database.dedicated(doing(row)) as connection:
        helper = Helper(database, connection, row, encoder, compute_device(task["device"]))
        while True:
            if not helper.help():
                time.sleep(POLLED_SECONDS)
