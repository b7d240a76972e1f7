"""Checks of `pgretrieval doctor`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Any, Literal

from pgretrieval import assets
from pgretrieval.db import embedded, schema
from pgretrieval.db.connection import Database
from pgretrieval.db.errors import describe_server
from pgretrieval.db.tables import attachments
from pgretrieval.errors import SchemaError

_SQL = assets.statements("server")
_SAFE_PARALLEL_BUILDS = (0, 8, 4)
_LATE = 600  # seconds that a change may wait for a worker
_BYTES = {"B": 1, "kB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the report of `pgretrieval doctor`.

    Attributes:
        level: "ok", "advice" (works, could be better) or "problem" (will not work).
        text: What was found, and what to change.
    """

    level: Literal["ok", "advice", "problem"]
    text: str


def diagnose(database: Database) -> list[Finding]:
    """Check server, extension, schema, device and settings; each finding has its remedy."""
    settings = _read_settings(database)
    return [
        Finding("ok", f"connected to {describe_server(database.url)}, PostgreSQL {settings['server_version']}"),
        _extension(settings.get("pgvector")),
        *_schema(database),
        _device(),
        *_settings(settings),
        *_attachments(database),
    ]


def _read_settings(database: Database) -> dict[str, Any]:
    """Return the server's version, pgvector's, and the relevant settings."""
    with database.connection("reading server settings") as connection:
        return dict(connection.execute(_SQL["server_settings"]).fetchall())


def _extension(version: str | None) -> Finding:
    if version is None:
        return Finding(
            "problem", "the extension pgvector is missing in this database; `pgretrieval migrate` creates it or names the remedy"
        )
    if _numbers(version) < (0, 8):
        return Finding("problem", f"pgvector {version} is too old; update the package, then ALTER EXTENSION vector UPDATE")
    if _numbers(version) < _SAFE_PARALLEL_BUILDS:
        return Finding(
            "advice",
            f"pgvector {version} has faults in parallel index builds and vacuum that 0.8.4 mends; update it, or set "
            "max_parallel_maintenance_workers = 0",
        )
    return Finding("ok", f"pgvector {version}")


def _schema(database: Database) -> list[Finding]:
    try:
        schema.verify(database)
    except SchemaError as error:
        return [Finding("problem", str(error))]
    return [Finding("ok", f"schema at revision {schema.head_revision()}"), *_functions(database)]


def _functions(database: Database) -> list[Finding]:
    digest, number = schema.functions_of(database)
    if digest == assets.functions_digest():
        return []
    ours = assets.functions_number()
    if number > ours:
        text = f"the SQL functions in this database are of set {number}, newer than this client's, which is {ours}"
        return [Finding("advice", f"{text}; upgrade the package: pip install --upgrade pgretrieval")]
    text = f"the SQL functions in this database are another version's ({f'set {number}' if number else 'an old one'})"
    remedy = "`pgretrieval migrate` puts this client's in their place"
    if schema.belongs_to_extension(database):
        remedy = f"to put this client's in their place, {schema.BY_EXTENSION}"
    return [Finding("problem", f"{text} than this client's; {remedy}")]


def _device() -> Finding:
    installed = version_of("torch")
    if not installed.endswith("+cpu"):  # importing torch takes a second, which a build for processors alone does not need
        import torch

        if torch.cuda.is_available():
            return Finding("ok", f"torch {installed} sees {torch.cuda.get_device_name(0)}")
    return Finding("ok", f"torch {installed}, no GPU: encoding runs on the processor")


def _settings(settings: dict[str, str]) -> list[Finding]:
    """The advice assumes a server on a machine of this size."""
    findings = []
    for name, advised in embedded.recommended_settings().items():
        current = settings.get(name)
        if current is None or _enough(current, advised):
            continue
        findings.append(Finding("advice", f"{name} is {current}; {advised} suits a machine with this one's memory"))
    return findings or [Finding("ok", "memory and planner settings suit a machine with this one's memory")]


def _attachments(database: Database) -> list[Finding]:
    """Check that attached collections have their triggers, and that workers keep up with the queues."""
    try:
        states = attachments.states(database)
    except SchemaError:  # reported by the check of the schema
        return []
    return [finding for name, state in states.items() for finding in _attachment(name, state)]


def _attachment(name: str, state: dict[str, Any]) -> list[Finding]:
    table, findings = state["attached"], []
    if state["triggers"] == "no table":
        findings.append(Finding("problem", f"collection {name!r} follows {table}, which is not there any more; detach it"))
    elif state["triggers"] != "enabled":
        text = (
            f"triggers of {table} for collection {name!r} are {state['triggers']}, so that changes are not queued; enable them, or "
            "detach and attach it"
        )
        findings.append(Finding("problem", text))
    if state["parked"]:
        first = state["parked_keys"][0]
        text = (
            f"{state['parked']:,} rows of {table} are parked and not in collection {name!r} as they are now, the first "
            f"{first['key']!r}: {first['error']}. Change them, or queue them again with resync"
        )
        findings.append(Finding("problem", text))
    if state["queued"] and (state["oldest"] or 0) > _LATE:
        text = (
            f"{state['queued']:,} changes for collection {name!r} wait, the oldest for {state['oldest'] / 60:,.0f} minutes; "
            "does `pgretrieval worker` run?"
        )
        findings.append(Finding("advice", text))
    return findings or [Finding("ok", f"collection {name!r} follows {table}")]


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
