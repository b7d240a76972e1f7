"""Values that papers report, from expected.json: percentages by benchmark, set and measure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Expected:
    """Value of one system in a paper, as a share of 1."""

    measure: str
    system: str
    value: float
    paper: str


def expected_values(benchmark: str, name: str) -> list[Expected]:
    """Return the reported values of a set, such as "writing/test/search" of "lotte", in the order of the papers."""
    papers, tables = _read()
    return [
        Expected(table["measure"], system, round(value / 100, 6), papers[table["paper"]])
        for table in tables
        if table["benchmark"] == benchmark
        for system, value in zip(table["systems"], table["rows"].get(name, []), strict=name in table["rows"])
        if value is not None
    ]


@cache
def _read() -> tuple[dict[str, str], list[dict[str, Any]]]:
    content = json.loads(Path(__file__).with_name("expected.json").read_text(encoding="utf-8"))
    return content["papers"], content["tables"]
