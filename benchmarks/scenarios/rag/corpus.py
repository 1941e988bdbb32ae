"""Search in a large corpus: rag's own index over made vectors, its speed, recall and memory.

    python -m quantserve.benchmarks.scenarios.rag.corpus 1000000 384 100 0      one line of JSON

A program of its own, so that its memory is its own.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure_corpus(*map(int, sys.argv[1:]))) + "\n")
