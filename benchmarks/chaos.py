"""The tests of faults in their long form, counted.

    python benchmarks/chaos.py [ARGUMENTS OF PYTEST]

Writes benchmarks/results/chaos.md where everything passed; it takes an hour or more. `make chaos` runs it.
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
    """What was counted, as a table."""
    lines = [
        "# Faults survived",
        "",
        "`make chaos`: every case of `tests/chaos` in its long form. `acknowledged` are the passages whose change was told to be",
        "stored; `lost` those of them that were not as told afterwards; `violations` what [`check`](../../docs/sql.md#check)",
        "found after every run.",
        "",
        machine.as_lines(machine.describe()),
        "",
        "| case | runs | faults injected | acknowledged | lost | duplicated | violations | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [str(row["case"]), *(f"{row[name]:,}" for name in COUNTED), str(row["note"])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Run them all, or those that the arguments choose."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        environment = {**os.environ, "PGRETRIEVAL_TEST_CHAOS": "long", "PGRETRIEVAL_TEST_CHAOS_REPORT": str(report)}
        command = [sys.executable, "-m", "pytest", "-o", "timeout=0", *(sys.argv[1:] or ["tests/chaos"])]
        outcome = subprocess.run(command, check=False, cwd=ROOT, env=environment).returncode
        rows = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
    written = page(rows)
    print(written)
    if outcome:
        sys.exit(outcome)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "chaos.md").write_text(written)


if __name__ == "__main__":
    main()
