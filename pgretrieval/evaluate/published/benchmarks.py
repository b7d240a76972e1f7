"""The published benchmarks: declared once, with their sets, measures, layouts and downloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pgretrieval.evaluate.published import beir, lotte, msmarco, openqa
from pgretrieval.evaluate.published.downloads import Download
from pgretrieval.evaluate.published.sets import BenchmarkSet


@dataclass(frozen=True, slots=True)
class PublishedBenchmark:
    """Benchmark of retrieval: how a set is read, what is downloaded for it, and how it is measured.

    `drop_identical` leaves out hits with the id of their query. Lengths are the papers' least numbers of tokens, of queries by set.
    """

    name: str
    sets: tuple[str, ...]
    metrics: str
    read: Callable[[Path, str], BenchmarkSet]
    downloads: Callable[[str], tuple[Download, ...]]
    drop_identical: bool = False
    query_lengths: Mapping[str, int] = field(default_factory=dict)
    document_length: int | None = None


_BEIR_MD5 = {
    "arguana": "8ad3e3c2a5867cdced806d6503f29b99",
    "climate-fever": "8b66f0a9126c521bae2bde127b4dc99d",
    "dbpedia-entity": "c2a39eb420a3164af735795df012ac2c",
    "fever": "5a818580227bfb4b35bb6fa46d9b6c03",
    "fiqa": "17918ed23cd04fb15047f73e6c3bd9d9",
    "hotpotqa": "f412724f78b0d91183a0e86805e16114",
    "nfcorpus": "a89dba18a62ef92f7d323ec890a0d38d",
    "nq": "d4d3d2e48787a744b6f6e691ff534307",
    "quora": "18fb154900ba42a600f84b839c173167",
    "scidocs": "38121350fc3a4d2f48850f6aff52e4a9",
    "scifact": "5f7d1de60b170fc8027bb7898e2efca1",
    "trec-covid": "ce62140cb23feb9becf6270d0d1fe6d1",
    "webis-touche2020": "46f650ba5a527fc69e0a6521c5a23563",
}
_BEIR_URL = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets"
_LOTTE = Download("https://downloads.cs.stanford.edu/nlp/data/colbert/colbertv2/lotte.tar.gz", "3b2e88b1d66933627462950b4c3f5d0f")
_MSMARCO = Download(
    "https://msmarco.z22.web.core.windows.net/msmarcoranking/collectionandqueries.tar.gz", "31644046b18952c1386cd4564ba2ae69"
)
_DPR = "https://dl.fbaipublicfiles.com/dpr"
_WIKIPEDIA = Download(f"{_DPR}/wikipedia_split/psgs_w100.tsv.gz", "612fe66e0b6b41ee28f806140226c563")
_PACKED_QUESTIONS = ("trivia",)

TOPICS = ("writing", "recreation", "science", "technology", "lifestyle", "pooled")
SPLITS = ("test", "dev")

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        PublishedBenchmark(
            "lotte",
            tuple(f"{topic}/{split}" for topic in TOPICS for split in SPLITS),
            "Success@5",
            lotte.read_lotte,
            lambda _name: (_LOTTE,),
            document_length=300,
        ),
        PublishedBenchmark(
            "beir",
            tuple(_BEIR_MD5),
            "nDCG@10 R@100",
            beir.read_beir,
            lambda name: (Download(f"{_BEIR_URL}/{name}.zip", _BEIR_MD5[name]),),
            drop_identical=True,
            query_lengths={"arguana": 300, "climate-fever": 64},
            document_length=300,
        ),
        PublishedBenchmark("msmarco", ("dev.small",), "RR@10 R@50 R@1000", msmarco.read_msmarco, lambda _name: (_MSMARCO,)),
        PublishedBenchmark(
            "openqa",
            tuple(openqa.FILES),
            "Success@5 Success@20",
            openqa.read_openqa,
            lambda name: (
                _WIKIPEDIA,
                Download(f"{_DPR}/data/retriever/{openqa.FILES[name]}{'.gz' * (name in _PACKED_QUESTIONS)}"),
            ),
        ),
    )
}
