"""Build and query a tachiom index over stored token vectors and token ids, and write latencies and rankings as JSON.

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

INDEX = "index.bin"
TOKEN_IDS = "document_tokens.npy"
# tachiom's defaults; its compiled search does not reveal alpha, and derives ef_search from k_centroids
DEFAULTS: common.Widths = {"k_centroids": 20, "k_docs_to_score": 500, "alpha": 0.45}
EF_PER_CENTROID = 1.5


class Tachiom(common.Peer):
    """Centroids of each vocabulary id, found by HNSW, and product quantisation of 32 bytes per token, in Rust."""

    packages = ("tachiom",)
    widths = (
        common.Width("P", "k_centroids"),
        common.Width("S", "k_docs_to_score"),
        common.Width("A", "alpha", float),
        common.Width("E", "ef_search"),
    )
    required_widths = 2

    @classmethod
    def title(cls, source: dict[str, Any]) -> str:
        return f"tachiom {source['tachiom']}, 2 bits"

    def prepare(self) -> None:
        self.engine = import_module("tachiom").Tachiom
        self.file = str(self.args.index / INDEX)

    def build(self, documents: list[NDArray[np.float16]]) -> None:
        import numpy as np

        vectors = np.concatenate(documents).view(np.uint16)  # tachiom takes half precision as its bits
        token_ids = np.load(self.args.vectors / TOKEN_IDS).astype(np.uint32)
        lengths = np.array([len(document) for document in documents], dtype=np.int32)
        self.engine.build_from_arrays(vectors, token_ids, lengths).save(self.file)

    def load(self) -> None:
        self.prepare()
        self.index = self.engine.load(self.file)

    def use(self, setting: common.Widths, query: Any) -> common.Widths:
        self.setting = setting
        widths = DEFAULTS | setting
        return {"ef_search": round(EF_PER_CENTROID * widths["k_centroids"])} | widths

    def name(self, widths: common.Widths) -> str:
        probes, scores, alpha, width = (widths[one.name] for one in self.widths)
        return f"probe {probes} / {scores} scores / alpha {alpha:g} / ef_search {width}"

    def convert(self, query: NDArray[np.float16]) -> Any:
        import numpy as np

        return query.astype(np.float32)

    def search(self, query: Any, k: int) -> Any:
        return self.index.search(query, k, **self.setting)

    def positions(self, found: Any) -> list[int]:
        scores, documents = found
        return [document for document, score in zip(documents.tolist(), scores.tolist(), strict=True) if score != float("-inf")]


if __name__ == "__main__":
    common.run(Tachiom, __doc__)
