"""Run the long form of the fault-injection tests and count their results.

    python benchmarks/chaos.py [ARGUMENTS OF PYTEST]

Takes most of an hour; `make chaos` runs it. Each case that passes replaces its row in benchmarks/results/chaos.json, from which
benchmarks/results/chaos.md is generated; arguments select cases, and the rows of others stay.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
COUNTED = ("runs", "faults", "acknowledged", "lost", "duplicated", "violations")


def page(rows: list[dict[str, object]]) -> str:
    """The counts as a table."""
    properties = {name: value for name, value in machine.describe().items() if name not in ("date", "commit")}
    lines = [
        "# Fault injection",
        "",
        "`make chaos`: every case of `tests/chaos` in its long form. `acknowledged` counts passages in acknowledged changes;",
        "`lost` those that were missing or different afterwards; `violations` what",
        "[`check`](../../docs/reference/sql.md#check) found after every run. A kill after the work was done",
        "counts as a run, not as a fault.",
        "",
        machine.as_lines(properties),
        "",
        "| case | runs | faults injected | acknowledged | lost | duplicated | violations | | date | commit |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        told = [str(row[name]) for name in ("note", "date", "commit")]
        lines.append(f"| {' | '.join([str(row['case']), *(f'{row[name]:,}' for name in COUNTED), *told])} |")
    return "\n".join([*lines, ""])


def keep(rows: list[dict[str, object]]) -> None:
    """Replace the rows of the same cases, and write the page."""
    kept = RESULTS / "chaos.json"
    held = {row["case"]: row for row in json.loads(kept.read_text())} if kept.exists() else {}
    now = machine.describe()
    held |= {row["case"]: {**row, "date": now["date"], "commit": now["commit"]} for row in rows}
    RESULTS.mkdir(exist_ok=True)
    kept.write_text(json.dumps(list(held.values()), indent=1) + "\n")
    (RESULTS / "chaos.md").write_text(page(list(held.values())))


def main() -> None:
    """Run all cases, or those selected by the arguments."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        environment = {**os.environ, "PGRETRIEVAL_TEST_CHAOS": "long", "PGRETRIEVAL_TEST_CHAOS_REPORT": str(report)}
        command = [sys.executable, "-m", "pytest", "-o", "timeout=0", *(sys.argv[1:] or ["tests/chaos"])]
        outcome = subprocess.run(command, check=False, cwd=ROOT, env=environment).returncode
        if report.exists():
            keep([json.loads(line) for line in report.read_text().splitlines()])
    sys.exit(outcome)


if __name__ == "__main__":
    main()
