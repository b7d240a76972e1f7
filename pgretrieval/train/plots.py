"""Plot of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_SECONDARY = {"learning_rate", "grad_norm"}
_NO_CURVE = {"step", "epoch"}


def plot_metrics(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot losses above, learning rate and gradient norm below, over the steps."""
    from matplotlib.figure import Figure  # without pyplot: no window system, no global state

    curves: dict[str, tuple[list[int], list[float]]] = {}
    for entry in history:
        if "train_runtime" in entry:
            continue
        for key, value in entry.items():
            if key not in _NO_CURVE and not key.endswith(("_runtime", "_per_second")):
                steps, values = curves.setdefault(key, ([], []))
                steps.append(int(entry["step"]))
                values.append(float(value))
    if not curves:
        return
    figure = Figure(figsize=(7, 6), layout="constrained")
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    for key, (steps, values) in sorted(curves.items()):
        axis = rates if key in _SECONDARY else losses
        shown = [value / max(values) if max(values) > 0 else value for value in values] if axis is rates else values
        axis.plot(steps, shown, label=f"{key} / {max(values):.2g}" if axis is rates else key, marker="." if len(steps) < 30 else "")
    losses.set_ylabel("loss")
    rates.set_ylabel("share of the largest")
    rates.set_xlabel("step")
    for axis in (losses, rates):
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize="small")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
