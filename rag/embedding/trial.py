"""Try one backend on this machine; run as a program of its own, so that what kills it is an answer.

python -m quantserve.rag.embedding.trial MODEL BACKEND      prints one line of JSON: passages_per_s, query_ms, vectors
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantserve.rag.config import Backend, EmbeddingConfig

_PASSAGES = 8
_QUERIES = 9
_TIMEOUT_S = 180.0
_ROOT = Path(__file__).resolve().parents[2]
_SENTENCES = (
    "모델을 양자화하면 가중치가 4비트로 줄고, 품질은 검사를 거쳐 확인한다. "
    "The server answers when one token has really been decoded. "
    "휴가는 입사한 날을 기준으로 해마다 새로 생기며 다음 해로 넘기지 못한다. "
    "An index records its embedding model, its splitter and its version. "
)
QUERIES = ("입사 3년 차의 휴가는 며칠인가요?", "When is the server ready?", "색인이 기록하는 것은?")


@dataclass(frozen=True)
class Trial:
    """What a backend did here; `failure` is a signal, a time-out or its last words, empty when it ran."""

    backend: Backend
    passages_per_s: float = 0.0
    query_ms: float = 0.0
    vectors: tuple[tuple[float, ...], ...] = ()
    failure: str = ""


def try_backend(model: Path, backend: Backend, timeout_s: float = _TIMEOUT_S) -> Trial:
    """Measure a backend in a child process."""
    command = [sys.executable, "-m", "quantserve.rag.embedding.trial", str(model.absolute()), backend]
    try:
        ran = subprocess.run(
            command, cwd=_ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Trial(backend, failure="timeout")
    return read_trial(backend, ran.returncode, ran.stdout, ran.stderr)


def read_trial(backend: Backend, code: int, out: str, err: str) -> Trial:
    """Turn what a child left behind into a trial."""
    if code < 0:
        return Trial(backend, failure=f"killed by signal {-code}")
    lines, words = out.strip().splitlines(), err.strip().splitlines()
    if code or not lines:
        return Trial(backend, failure=words[-1] if words else f"exit code {code}")
    found: dict[str, Any] = json.loads(lines[-1])
    vectors = tuple(tuple(row) for row in found["vectors"])
    return Trial(backend, found["passages_per_s"], found["query_ms"], vectors)


def _measure(model: Path, backend: Backend) -> dict[str, Any]:
    """Embed passages of about 256 tokens and short questions; medians, after a warm-up."""
    from quantserve.rag.embedding.backend import load_embedder

    embedder = load_embedder(EmbeddingConfig(model=model, backend=backend))
    text = _SENTENCES
    while embedder.count_tokens(text) < 250:
        text += _SENTENCES
    while embedder.count_tokens(text) > 250:
        text = text.rsplit(" ", 1)[0]
    vectors = embedder.embed_queries(QUERIES)
    embedder.embed_passages([text, text])
    rounds: list[float] = []
    for _ in range(3):
        started = time.perf_counter()
        embedder.embed_passages([text] * _PASSAGES)
        rounds.append(time.perf_counter() - started)
    queries: list[float] = []
    for number in range(_QUERIES):
        started = time.perf_counter()
        embedder.embed_queries([QUERIES[number % len(QUERIES)]])
        queries.append(time.perf_counter() - started)
    return {
        "passages_per_s": _PASSAGES / statistics.median(rounds),
        "query_ms": 1000 * statistics.median(queries),
        "vectors": vectors.tolist(),
    }


if __name__ == "__main__":
    _backend: Any = sys.argv[2]
    sys.stdout.write(json.dumps(_measure(Path(sys.argv[1]), _backend)) + "\n")
