"""Pages about cross-encoders say what their stored numbers say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import anchors  # noqa: E402

RESULTS = sorted((ROOT / "benchmarks" / "results").glob("anchors-*.json"))


@pytest.mark.parametrize("stored", RESULTS, ids=lambda path: path.stem)
def test_page_is_that_of_the_stored_numbers(stored: Path) -> None:
    assert stored.with_suffix(".md").read_text(encoding="utf-8") == anchors.page(json.loads(stored.read_text(encoding="utf-8")))


def test_two_steps_and_rounds_are_judged_separately() -> None:
    """Each is compared with the best reranked search of the same depth and cost."""
    shares = {"ANNCUR": 0.4, "ANNCUR, 5 rounds": 0.8, "popular, reranked": 0.2, "words, reranked": 0.6}
    measured = {name: {column: [share] * 20 for column in anchors.COLUMNS} for name, share in shares.items()}
    assert "| 10@100 | 0.400 | words | 0.600 | -0.200 | -0.200 … -0.200 |" in anchors.differences(measured, "ANNCUR")
    assert "| 10@100 | 0.800 | words | 0.600 | +0.200 | +0.200 … +0.200 |" in anchors.differences(measured, "ANNCUR, 5 rounds")
    assert anchors.verdict(measured, "ANNCUR").startswith("Better at 0 of 19, worse at 19 (1@50, 1@100, ")
    assert anchors.verdict(measured, "ANNCUR, 5 rounds") == "Better at 19 of 19, worse at 0; the intervals of the others contain 0."
