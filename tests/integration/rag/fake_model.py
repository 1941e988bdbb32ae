"""An embedding model for tests about anything but embedding: vectors from a text's hash, at no cost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from quantserve.rag.config import EmbeddingConfig

DIMENSION = 16


def vector_of(text: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    row = np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)
    unit: np.ndarray = row / np.linalg.norm(row)
    return unit


class HashEmbedder:
    """Each text has one vector, whatever stands beside it."""

    dimension = DIMENSION

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self.embed_passages(texts)

    def embed_passages(
        self, texts: Sequence[str], advance: Callable[[int], None] = lambda _: None
    ) -> np.ndarray:
        advance(len(texts))
        return np.array([vector_of(text) for text in texts], np.float32).reshape(-1, DIMENSION)

    def count_tokens(self, text: str) -> int:
        return len(text.split())


def fake_model(directory: Path) -> EmbeddingConfig:
    """Make a directory that has a fingerprint."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text("{}")
    return EmbeddingConfig(model=directory, backend="onnx")
