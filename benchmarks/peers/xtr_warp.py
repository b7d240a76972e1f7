"""Build and query an xtr-warp-rs index over stored token vectors, and write latencies and rankings as JSON.

Runs in its own environment (see README.md here): it imports nothing from pgretrieval.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.peers import common
else:
    import common

NBITS = 4


class XtrWarp(common.Peer):
    """WARP in Rust: it scores only the tokens found by its probes, and imputes the others."""

    packages = ("xtr-warp-rs", "torch")
    widths = (common.Width("P", "nprobe"), common.Width("C", "centroid_score_threshold", float))
    required_widths = 1

    @classmethod
    def source(cls, args: Any) -> dict[str, Any]:
        return {**super().source(args), "nbits": NBITS}

    @classmethod
    def title(cls, source: dict[str, Any]) -> str:
        return f"xtr-warp-rs {'.'.join(source['xtr_warp_rs'].split('.')[:3])}"

    def prepare(self) -> None:
        self.torch = common.import_torch(self.args.threads)
        self.index = import_module("xtr_warp").XTRWarp(index=str(self.args.index), device="cpu")

    def build(self, documents: list[NDArray[np.float16]]) -> None:
        embeddings = [self.torch.from_numpy(document) for document in documents]
        self.index.create(embeddings_source=embeddings, device="cpu", nbits=NBITS, show_progress=False)

    def load(self) -> None:
        self.prepare()
        self.index.load(device="cpu")

    def use(self, setting: common.Widths, query: Any) -> common.Widths:
        self.setting = setting
        _, nprobe, threshold, *_ = self.index.optimize_hyperparams(self.args.k, query)
        return {"nprobe": nprobe, "centroid_score_threshold": threshold} | setting

    def name(self, widths: common.Widths) -> str:
        return f"probe {widths['nprobe']} / centroid score {widths['centroid_score_threshold']:g}"

    def convert(self, query: NDArray[np.float16]) -> Any:
        return self.torch.from_numpy(query).float()[None]

    def search(self, query: Any, k: int) -> Any:
        return self.index.search(query, top_k=k, num_threads=self.args.threads, show_progress=False, **self.setting)

    def positions(self, found: Any) -> list[int]:
        return [passage for passage, _ in found[0]]


if __name__ == "__main__":
    common.run(XtrWarp, __doc__)
