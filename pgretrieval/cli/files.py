"""Files that commands read; they can be pipes, such as the shell's `<(…)`, or standard input (`-`)."""

from __future__ import annotations

from pathlib import Path

from pgretrieval.corpus.jsonl import read_queries
from pgretrieval.corpus.lines import STANDARD_INPUT, held
from pgretrieval.errors import ConfigError
from pgretrieval.evaluate.qrels import read_qrels
from pgretrieval.evaluate.runs import Run, read_run


def refuse_standard_input_twice(**given: Path | None) -> None:
    """Raise ConfigError where several options are `-`, by name; what reads first would leave nothing to the others."""
    named = ["--" + name.replace("_", "-") for name, path in given.items() if path == STANDARD_INPUT]
    if len(named) > 1:
        msg = f"{' and '.join(named)} are all -, and standard input can be read once; put all but one into files"
        raise ConfigError(msg)


def queries_of(path: Path) -> dict[str, str]:
    """Read query texts by id."""
    with held([path]) as [file]:
        return dict(read_queries(*file))


def qrels_of(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements by query id and passage id."""
    with held([path]) as [file]:
        return read_qrels(*file)


def run_of(path: Path) -> Run:
    """Read a run file."""
    with held([path]) as [file]:
        return read_run(*file)
