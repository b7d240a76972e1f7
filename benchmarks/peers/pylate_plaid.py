"""Build and query pylate's own PLAID over stored token vectors, and write latencies and rankings as JSON.

Runs in its own environment (see README.md here): it imports nothing from pgretrieval.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.peers import common
else:
    import common

NBITS = 4
NAME = "plaid"
# pylate's name of each width: what Stanford's PLAID calls it
WIDTHS = {"n_ivf_probe": "ncells", "n_full_scores": "ndocs", "centroid_score_threshold": "centroid_score_threshold"}


class PylatePlaid(common.Peer):
    """Stanford's PLAID, in Python with C++ parts that torch compiles at first use."""

    packages = ("pylate", "torch")
    widths = (
        common.Width("P", "n_ivf_probe"),
        common.Width("S", "n_full_scores"),
        common.Width("C", "centroid_score_threshold", float),
    )
    required_widths = 2

    @classmethod
    def source(cls, args: Any) -> dict[str, Any]:
        return {**super().source(args), "nbits": NBITS, "backend": "stanford"}

    @classmethod
    def title(cls, source: dict[str, Any]) -> str:
        return f"pylate {source['pylate']} PLAID (Stanford)"

    def plaid(self, folder: Path, **options: Any) -> Any:
        """pylate's index in this folder."""
        indexes = import_module("pylate.indexes")
        return indexes.PLAID(
            index_folder=str(folder), index_name=NAME, use_fast=False, nbits=NBITS, embedding_size=self.dim, **options
        )

    def prepare(self) -> None:
        """Import pylate, and let torch compile the C++ parts with a small random index."""
        os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # where pip puts ninja
        self.torch = common.import_torch(self.args.threads)
        noise = list(self.torch.nn.functional.normalize(self.torch.randn(16, 64, self.dim), dim=-1))
        with tempfile.TemporaryDirectory() as folder, silence():
            index = self.plaid(Path(folder), override=True)
            index.add_documents(documents_ids=list(range(len(noise))), documents_embeddings=noise)
            index(noise[:1], k=1)

    def build(self, documents: list[NDArray[np.float16]]) -> None:
        index = self.plaid(self.args.index, override=True)
        index.add_documents(documents_ids=list(range(len(documents))), documents_embeddings=documents)

    def load(self) -> None:
        self.prepare()

    def use(self, setting: common.Widths, query: Any) -> common.Widths:
        """Load the index again, because pylate sets the widths of a search there."""
        with silence():
            index = self.plaid(self.args.index, override=False, **setting)
        self.retriever = import_module("pylate.retrieve").ColBERT(index=index)
        config = index._index.searcher.config
        return {name: getattr(config, stanford) for name, stanford in WIDTHS.items()}

    def name(self, widths: common.Widths) -> str:
        probes, scores, threshold = widths.values()
        return f"probe {probes} / {scores} scores / centroid score {threshold:g}"

    def convert(self, query: NDArray[np.float16]) -> Any:
        return [query]

    def search(self, query: Any, k: int) -> Any:
        return self.retriever.retrieve(queries_embeddings=query, k=k)

    def positions(self, found: Any) -> list[int]:
        return [passage["id"] for passage in found[0]]


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Suppress pylate's messages and progress bars."""
    with Path(os.devnull).open("w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
        yield


if __name__ == "__main__":
    common.run(PylatePlaid, __doc__)
