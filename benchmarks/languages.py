"""Search in German, French, Spanish and Japanese: "multilingual" beside "minilm" and words, in every mode.

    apt-get install manpages-de manpages-fr manpages-es manpages-ja
    python benchmarks/languages.py [--manuals /usr/share/man] [--pages N] [--languages de fr ...]

The passages are translated manual pages without their first section. The query is what the first section says of the page in a
line, such as "Verzeichnisinhalte auflisten", and the page is the only relevant passage. Nothing was tuned on them. Pages whose
line is in English, as untranslated ones have it, are left out by their words. Writes benchmarks/results/languages.md.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import pgretrieval
from benchmarks import machine
from benchmarks.run import RESULTS, say
from pgretrieval.evaluate.bootstrap import bootstrap_interval

LANGUAGES = {"de": "german", "fr": "french", "es": "spanish", "ja": "simple"}
"""Text search configuration of each language."""
ENCODERS = ("minilm", "multilingual")
SHORTEST_LINE, SHORTEST_PAGE, LONGEST_PAGE = 8, 300, 1_500  # characters
ENGLISH = re.compile(r"\b(the|of|and|for|with|from|into|a)\b")
_MACRO = re.compile(r"[.'](SH|SS|B|I|BR|BI|IR|RB|RI|IB|Nm|Nd|Ar|Fl|Cm|Pa|Xr|Em|Li|Dq|Ql)\b(.*)")
_ESCAPES = [
    (r"\\f(\[[A-Z]*\]|[A-Z])", ""),
    (r"\\-", "-"),
    (r"\\\(aq", "'"),
    (r"\\(\(..|\[[^\]]*\])", " "),
    (r"\\[&/,|^ ]|\\s[+-]?\d", ""),
]


def text_of(line: str) -> str:
    """The words of a line of troff."""
    if line.startswith((".", "'")):
        macro = _MACRO.match(line)
        line = macro[2].replace('"', "") if macro else ""
    for pattern, plain in _ESCAPES:
        line = re.sub(pattern, plain, line)
    return line.strip()


def pages(folder: Path) -> Iterator[tuple[str, str]]:
    """The line about each page and the rest of the page."""
    for file in sorted(folder.glob("man[1-8]/*.gz")):
        try:
            source = gzip.decompress(file.read_bytes()).decode()
        except UnicodeDecodeError:
            continue
        _, *sections = re.split(r"^\.S[Hh]\b.*$", source, flags=re.MULTILINE)
        first, *others = [" ".join(filter(None, map(text_of, part.splitlines()))) for part in sections] or [""]
        about = re.match(r".*?\s-{1,2}\s+(.*)", first)
        rest = " ".join(others)
        if about and len(about[1]) >= SHORTEST_LINE and len(rest) >= SHORTEST_PAGE and not ENGLISH.search(about[1]):
            yield about[1], rest[:LONGEST_PAGE]


def drawn(folder: Path, count: int) -> list[tuple[str, str]]:
    """So many pages with different lines, by seed."""
    different = sorted(dict(pages(folder)).items())
    return random.Random(0).sample(different, min(count, len(different)))


def gains(search: Callable[[str], Any], items: list[tuple[str, str]]) -> np.ndarray:
    """nDCG@10 of each query: its page is the only relevant one."""
    found = [[hit.id for hit in search(line)] for line, _ in items]
    places = [ids.index(number) if number in ids else None for number, ids in zip(map(str, range(len(items))), found, strict=True)]
    return np.array([0.0 if place is None else 1 / np.log2(place + 2) for place in places])


def measured(database: pgretrieval.RetrievalDatabase, language: str, items: list[tuple[str, str]]) -> dict[str, np.ndarray]:
    """The gains of each way to search."""
    rows: dict[str, np.ndarray] = {}
    for encoder in ENCODERS:
        collection = database.create_collection(f"{language}-{encoder}", encoder=encoder, language=LANGUAGES[language])
        collection.add({"id": str(number), "text": text} for number, (_, text) in enumerate(items))
        collection.build()
        if encoder == ENCODERS[0]:
            rows["words"] = gains(lambda line, on=collection: on.text_search(line, k=10), items)
        rows[f"{encoder}, dense"] = gains(lambda line, on=collection: on.dense_search(line, k=10), items)
        rows[f"{encoder}, late interaction"] = gains(lambda line, on=collection: on.search(line, k=10), items)
        rows[f"{encoder}, fused"] = gains(lambda line, on=collection: on.hybrid_search(line, k=10), items)
        say({"language": language, **{name: round(float(values.mean()), 4) for name, values in rows.items()}})
    return rows


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manuals", type=Path, default=Path("/usr/share/man"), help="a folder of manual pages by language")
    parser.add_argument("--pages", type=int, default=300, help="of each language, fewer where there are fewer")
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=list(LANGUAGES))
    options = parser.parse_args()
    items = {language: drawn(options.manuals / language, options.pages) for language in options.languages}
    if missing := [language for language, found in items.items() if not found]:
        sys.exit(f"no translated manual pages of {', '.join(missing)} in {options.manuals}: apt-get install manpages-{missing[0]}")
    with tempfile.TemporaryDirectory(prefix="pgretrieval-bench-") as folder, pgretrieval.connect(data_dir=folder) as database:
        rows = {language: measured(database, language, found) for language, found in items.items()}
    lines = [
        "# Languages",
        "",
        "`python benchmarks/languages.py`: nDCG@10 with the 95 % interval over queries. Passages are translated manual pages",
        "of Debian without their first section; the query is that section's line about the page, and the page is its only",
        "relevant passage. Words are BM25 by the text search configuration; of Japanese, pairs of characters (`simple`).",
        "",
        machine.as_lines(machine.describe()),
        "",
        "| search | " + " | ".join(f"{language}, {len(found)} pages" for language, found in items.items()) + " |",
        "|---|" + "---|" * len(items),
    ]
    names = next(iter(rows.values()))
    lines.extend(f"| {name} | " + " | ".join(cell(rows[language][name]) for language in items) + " |" for name in names)
    text = "\n".join([*lines, ""])
    (RESULTS / "languages.md").write_text(text)
    print(text)


def cell(values: np.ndarray) -> str:
    """The mean with its interval."""
    low, high = bootstrap_interval(values.tolist())
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
