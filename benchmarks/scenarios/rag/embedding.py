"""Passages a second and milliseconds a question, of every backend that runs here, in turns.

python -m quantserve.benchmarks.scenarios.rag.embedding models/multilingual-e5-small 3      one line of JSON
"""

from __future__ import annotations

import json
import statistics
import sys
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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure_embedding(Path(sys.argv[1]), int(sys.argv[2]))) + "\n")
