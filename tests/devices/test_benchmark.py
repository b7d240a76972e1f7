"""The benchmark of a device: every part runs on the second device, and the command leaves its files on a processor."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from benchmarks.rates import PARTS, SMALL, Measured
from tests.support.pretended import DEVICE, DONE

COMMAND = [sys.executable, gpu.__file__, "--device", "cpu", "--small"]


@pytest.mark.parametrize("part", PARTS)
def test_results_are_the_processors(part: str):
    """Each part computes on the device and finds its results to be the processor's."""
    before = DONE.total()
    measured = PARTS[part][0](DEVICE, replace(SMALL, seconds=0))
    assert DONE.total() > before
    assert [row for row in measured.checks if not row["holds"]] == []
    assert measured.checks
    assert all(row["value"] > 0 for row in measured.rates)


def test_the_command_leaves_a_page_and_a_file(tmp_path: Path):
    """Parts run one after the other, without the weights of MiniLM."""
    chosen = ["products", "search", "training"]
    command = [*COMMAND, "--random-weights", "--parts", *chosen, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-4_000:]
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["passed"]
    assert list(found["parts"]) == chosen
    assert found["machine"]["weights"].startswith("random")
    text = (tmp_path / "gpu.md").read_text()
    for name, part in found["parts"].items():
        assert f"## {name}" in text
        assert all(row["what"] in text for row in [*part["rates"], *part["checks"]])
    assert str(tmp_path) not in text


def test_a_part_that_takes_too_long_is_reported(tmp_path: Path):
    """A part ends at its limit, the next one runs, and the exit status says that one failed."""
    command = [*COMMAND, "--parts", "search", "products", "--minutes", "0.02", "--out", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 1
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert "took longer" in parts["search"]["failed"]
    assert set(parts) == {"search", "products"}
    assert "**Failed: it took longer" in (tmp_path / "gpu.md").read_text()


def test_a_part_that_fails_is_reported():
    """An error of a part is reported with what it said."""
    failed = gpu.run_part("products", 60, ["--device", "abacus"], None)
    assert failed["failed"] == "exit status 1"
    assert "abacus" in failed["said"]
    assert not gpu.passed(failed)


@pytest.mark.parametrize(("value", "holds"), [(0.5, True), (1.5, False), (float("nan"), False), (torch.tensor(-1.0), True)])
def test_a_difference_holds_up_to_its_bound(value: Any, holds: bool):
    """A difference above its bound, or that is not a number, fails the part."""
    measured = Measured()
    measured.check("something", value, 1)
    assert gpu.passed({"checks": measured.checks}) == holds
