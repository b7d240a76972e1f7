"""Build and query a fast-plaid index over stored token vectors, and write latencies and rankings as JSON.

Runs in its own environment (see README.md here): it imports nothing from pgretrieval.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.peers import common
else:
    import common

NBITS = 4


class FastPlaid(common.Peer):
    """PLAID in Rust."""

    packages = ("fast-plaid", "torch")
    widths = (common.Width("P", "n_ivf_probe"), common.Width("S", "n_full_scores"))
    required_widths = 2
    not_index_files = frozenset({"plaid.lock"})

    @classmethod
    def source(cls, args: Any) -> dict[str, Any]:
        return {**super().source(args), "nbits": NBITS}

    @classmethod
    def title(cls, source: dict[str, Any]) -> str:
        return f"fast-plaid {'.'.join(source['fast_plaid'].split('.')[:3])}"

    def prepare(self) -> None:
        self.torch = common.import_torch(self.args.threads)
        self.index = import_module("fast_plaid.search").FastPlaid(index=str(self.args.index), device="cpu")

    def build(self, documents: list[NDArray[np.float16]]) -> None:
        self.index.create(documents_embeddings=[self.torch.from_numpy(document) for document in documents], nbits=NBITS)

    def load(self) -> None:
        self.prepare()

    def use(self, setting: common.Widths, query: Any) -> common.Widths:
        self.setting = setting
        parameters = inspect.signature(self.index.search).parameters
        return {width.name: setting.get(width.name, parameters[width.name].default) for width in self.widths}

    def name(self, widths: common.Widths) -> str:
        return f"probe {widths['n_ivf_probe']} / {widths['n_full_scores']} scores"

    def convert(self, query: NDArray[np.float16]) -> Any:
        return self.torch.from_numpy(query)[None]

    def search(self, query: Any, k: int) -> Any:
        return self.index.search(queries_embeddings=query, top_k=k, show_progress=False, n_processes=1, **self.setting)

    def positions(self, found: Any) -> list[int]:
        return [passage for passage, _ in found[0]]


if __name__ == "__main__":
    common.run(FastPlaid, __doc__)
