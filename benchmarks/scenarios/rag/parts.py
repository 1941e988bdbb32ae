"""What the retrieval benchmark measures in processes of their own, so that memory and threads are their own.

    python -m quantserve.benchmarks.scenarios.rag.parts embedding models/multilingual-e5-small 3
    python -m quantserve.benchmarks.scenarios.rag.parts corpus 1000000 384 100 0

Each prints one line of JSON. The first measures passages a second and milliseconds a question of every
backend that runs here, so many times in turns; the second speed, recall and memory of rag's own index over
made vectors (their number and dimension, searches, seed).
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from quantserve.benchmarks.load.workload import BILINGUAL
from quantserve.core.stats import quantile
from quantserve.rag.config import Backend, EmbeddingConfig
from quantserve.rag.embedding.backend import Embedder, load_embedder
from quantserve.rag.embedding.choose import candidates, choose
from quantserve.rag.store.base import Floats
from quantserve.rag.store.vectors import build_index, search_index

K = 10
_BLOCK = 100_000


def made_vectors(count: int, dimension: int, seed: int, clusters: int = 1000) -> Iterator[Any]:
    """Unit vectors with cluster structure, in blocks of 100,000: centres plus noise, as embeddings look."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(clusters, dimension)).astype(np.float32)
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        block = centres[chance.integers(0, clusters, size)]
        block = block + 0.6 * chance.standard_normal((size, dimension), dtype=np.float32)
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


def exact_neighbours(vectors: Floats, queries: Floats) -> list[set[int]]:
    """Return the rows of the K nearest vectors of each query, by comparing with all."""
    scores = np.full((len(queries), 0), 0, np.float32)
    rows = np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(vectors), _BLOCK):
        block = queries @ vectors[start : start + _BLOCK].T
        near = np.argpartition(-block, min(K, block.shape[1] - 1), axis=1)[:, :K]
        scores = np.hstack([scores, np.take_along_axis(block, near, axis=1)])
        rows = np.hstack([rows, near + start])
    best = np.argsort(-scores, axis=1)[:, :K]
    return [set(found) for found in np.take_along_axis(rows, best, axis=1).tolist()]


def peak_bytes() -> int:
    """Return the most memory this program has held; ru_maxrss would count whoever forked it, too."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return 1024 * int(found[1]) if found else 0


def measure_corpus(size: int, dimension: int, searches: int, seed: int) -> dict[str, Any]:
    """Build rag's index over `size` vectors and search it, one query at a time."""
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        vectors = np.memmap(Path(folder) / "vectors", np.float32, "w+", shape=(size, dimension))
        start = 0
        for block in made_vectors(size, dimension, seed + 1):
            vectors[start : start + len(block)] = block
            start += len(block)
        before = perf_counter()
        index = build_index(vectors)
        build_s = perf_counter() - before
        queries = next(made_vectors(searches, dimension, seed + 2))
        truth = exact_neighbours(vectors, queries)
        search_index(index, queries[0], K)
        seconds: list[float] = []
        found = 0
        for query, nearest in zip(queries, truth, strict=True):
            before = perf_counter()
            rows = search_index(index, query, K)
            seconds.append(perf_counter() - before)
            found += len(nearest & {row for row, _ in rows})
    return {
        "vectors": size,
        "dimension": dimension,
        "kind": type(index).__name__,
        "nprobe": getattr(index, "nprobe", None),
        "lists": getattr(index, "nlist", None),
        "build_s": build_s,
        "seconds": seconds,
        "recall_at_10": found / (K * searches),
        "bytes": size * dimension * 4,
        "peak_bytes": peak_bytes(),
    }


CHUNK_TOKENS = 256
_PASSAGES = 32
_QUERIES = 20
_SPECIAL = 8
"""Tokens of prefix and special tokens, at most: texts of so much less fill CHUNK_TOKENS."""


def chunks_of(embedder: Embedder, texts: list[str], count: int) -> list[str]:
    """Cut running text into passages of CHUNK_TOKENS tokens, as full as words allow."""
    words = " ".join(texts).split()
    found: list[str] = []
    start = 0
    while len(found) < count:
        low, high = 1, CHUNK_TOKENS
        while low < high:
            middle = (low + high + 1) // 2
            piece = " ".join(_cyclic(words, start, middle))
            low, high = (middle, high) if _fits(embedder, piece) else (low, middle - 1)
        found.append(" ".join(_cyclic(words, start, low)))
        start += low
    return found


def _fits(embedder: Embedder, text: str) -> bool:
    return embedder.count_tokens(text) <= CHUNK_TOKENS - _SPECIAL


def _cyclic(words: list[str], start: int, count: int) -> list[str]:
    return [words[(start + index) % len(words)] for index in range(count)]


def measure_embedding(model: Path, repeats: int) -> dict[str, Any]:
    """Measure each backend once a repeat, so that a disturbance meets all of them."""
    config = EmbeddingConfig(model=model)
    names: tuple[Backend, ...] = candidates(model)
    embedders = {name: load_embedder(replace(config, backend=name)) for name in names}
    first = embedders[names[0]]
    rows = [json.loads(line) for line in BILINGUAL.read_text(encoding="utf-8").splitlines() if line.strip()]
    questions = [str(row["question"]) for row in rows]
    passages = chunks_of(first, questions, _PASSAGES)
    rates: dict[str, list[float]] = {name: [] for name in names}
    core_rates: dict[str, list[float]] = {name: [] for name in names}
    milliseconds: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(repeats + 1):
        for name, embedder in embedders.items():
            started, spent = perf_counter(), process_time()
            embedder.embed_passages(passages)
            rate = _PASSAGES / (perf_counter() - started)
            core_rate = _PASSAGES / (process_time() - spent)
            times = [_timed(embedder, question) for question in questions[:_QUERIES]]
            if repeat:  # the first round warms up
                rates[name].append(rate)
                core_rates[name].append(core_rate)
                milliseconds[name] += times
    exact = first.embed_passages(passages)
    return {
        "chosen": choose(model),
        "passages": _PASSAGES,
        "tokens": statistics.mean(first.count_tokens(text) for text in passages),
        "backends": {
            name: {
                "passages_per_s": statistics.median(rates[name]),
                "passages_per_s_of_repeats": rates[name],
                "passages_per_core_s": statistics.median(core_rates[name]),
                "query_ms_p50": quantile(milliseconds[name], 0.5),
                "cosine_min": float(np.min((embedders[name].embed_passages(passages) * exact).sum(axis=1))),
            }
            for name in names
        },
    }


def _timed(embedder: Embedder, question: str) -> float:
    started = perf_counter()
    embedder.embed_queries([question])
    return 1000 * (perf_counter() - started)


def main(part: str, *arguments: str) -> None:
    """Measure one part and print it."""
    if part == "corpus":
        size, dimension, searches, seed = map(int, arguments)
        found = measure_corpus(size, dimension, searches, seed)
    else:
        found = measure_embedding(Path(arguments[0]), int(arguments[1]))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
