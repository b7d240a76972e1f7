"""What `pgretrieval doctor` looks at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pgretrieval.db import catalog, embedded, schema
from pgretrieval.db.connection import Database
from pgretrieval.db.errors import describe_server
from pgretrieval.errors import SchemaError

_SAFE_PARALLEL_BUILDS = (0, 8, 4)
_BYTES = {"B": 1, "kB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    level: Literal["ok", "advice", "problem"]
    text: str


def diagnose(database: Database) -> list[Finding]:
    """Server, extension, schema, device and settings, each with what to change."""
    settings = catalog.server_settings(database)
    return [
        Finding("ok", f"connected to {describe_server(database.url)}, PostgreSQL {settings['server_version']}"),
        _extension(settings.get("pgvector")),
        _schema(database),
        _device(),
        *_settings(settings),
    ]


def _extension(version: str | None) -> Finding:
    if version is None:
        return Finding("problem", "pgvector is not created in this database; `pgretrieval migrate` tells what to do")
    if _numbers(version) < (0, 8):
        return Finding("problem", f"pgvector {version} is too old; update the package, then ALTER EXTENSION vector UPDATE")
    if _numbers(version) < _SAFE_PARALLEL_BUILDS:
        return Finding(
            "advice",
            f"pgvector {version} has faults in parallel index builds and vacuum that 0.8.4 mends; update it, or set "
            "max_parallel_maintenance_workers = 0",
        )
    return Finding("ok", f"pgvector {version}")


def _schema(database: Database) -> Finding:
    try:
        schema.verify(database)
    except SchemaError as error:
        return Finding("problem", str(error))
    return Finding("ok", f"schema at revision {schema.head_revision()}")


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("ok", f"torch {torch.__version__} sees {torch.cuda.get_device_name(0)}")
    return Finding("ok", f"torch {torch.__version__}, no GPU: encoding runs on {torch.get_num_threads()} CPU threads")


def _settings(settings: dict[str, str]) -> list[Finding]:
    """The advice holds for a server that runs on a machine like this one."""
    findings = []
    for name, advised in embedded.recommended_settings().items():
        current = settings.get(name)
        if current is None or _enough(current, advised):
            continue
        findings.append(Finding("advice", f"{name} is {current}; {advised} suits a machine with this one's memory"))
    return findings or [Finding("ok", "memory and planner settings suit a machine with this one's memory")]


def _enough(current: str, advised: str) -> bool:
    have, want = _size(current), _size(advised)
    if have is not None and want is not None:
        return have >= want / 2
    return current == advised


def _size(text: str) -> float | None:
    match = re.fullmatch(r"(\d+)(B|kB|MB|GB|TB)", text)
    return int(match[1]) * _BYTES[match[2]] if match else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
