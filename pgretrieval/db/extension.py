"""Files of the extension `pgretrieval`: `create extension pgretrieval` installs what `migrate` installs."""

from __future__ import annotations

import os
import re
from importlib.metadata import version as version_of
from pathlib import Path

from pgretrieval import assets, validate
from pgretrieval.db import schema
from pgretrieval.errors import ConfigError, SchemaError

_NAME = "pgretrieval"
_HEADER = re.compile(r"-- pgretrieval \S+, revision (?P<revision>\w+), functions (?P<number>\d{1,9})\n")


def package(folder: str | os.PathLike[str]) -> list[Path]:
    """Write control file and script of this version to a server's folder of extensions, and a script for each older version there.

    Returns the files. Raises ConfigError if it is no folder, SchemaError if it has the script of a newer version.
    """
    there, version = Path(validate.path("folder", folder)), version_of(_NAME)
    if not there.is_dir():
        msg = (
            f"{validate.shown(str(there))} is no folder; give the server's folder of extensions: $(pg_config --sharedir)/extension"
        )
        raise ConfigError(msg)
    texts = {f"{_NAME}--{version}.sql": _script(version, None)}
    for file in sorted(there.glob(f"{_NAME}--*.sql")):
        older = file.stem.removeprefix(f"{_NAME}--")
        if older != version and "--" not in older:
            texts[f"{_NAME}--{older}--{version}.sql"] = _script(version, _revision_of(file))
    texts[f"{_NAME}.control"] = assets.extension_file("pgretrieval.control", VERSION=version)  # last, as it names the script
    for name, text in texts.items():
        (there / name).write_text(text, encoding="utf-8", newline="\n")
    return [there / name for name in texts]


def _script(version: str, since: str | None) -> str:
    """Return the script that installs this version, or upgrades an extension that is at revision `since`."""
    return "\n".join(
        [
            assets.extension_file(
                "extension_begin.sql",
                VERSION=version,
                REVISION=schema.head_revision(),
                NUMBER=str(assets.functions_number()),
            ),
            *([assets.extension_file("extension_create.sql")] if since is None else []),
            schema.upgrade_script(since),
            assets.extension_file("extension_end.sql"),
        ]
    )


def _revision_of(file: Path) -> str:
    """Return the revision that an older version's script installs."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        found = _HEADER.match(lines.readline(200))
    if found is None:
        msg = f"{validate.shown(str(file))} does not begin with its version; remove it, or write it again with its package"
        raise SchemaError(msg)
    if int(found["number"]) > assets.functions_number():
        msg = f"{validate.shown(str(file))} is of a newer version than this package; upgrade it: pip install --upgrade {_NAME}"
        raise SchemaError(msg)
    return found["revision"]
