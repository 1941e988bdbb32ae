"""What runs the embedding model: one protocol, and the choice among its implementations."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from quantserve.rag.config import EmbeddingConfig
from quantserve.rag.embedding.unpack import source_of
from quantserve.rag.errors import EmbeddingModelError

Floats = npt.NDArray[np.float32]
Progress = Callable[[int], None]
_EDGE_BYTES = 1 << 20
INT8_FILE = "model_int8.onnx"
"""The int8 graph that is derived from the fp32 one (rag.embedding.int8)."""
_FINGERPRINTED = ("config.json", "tokenizer.json", "modules.json")


class Embedder(Protocol):
    """Embeds texts; the result has one L2-normalised row for each text, in their order."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    def embed_queries(self, texts: Sequence[str]) -> Floats:
        """Embed questions."""

    def embed_passages(self, texts: Sequence[str], advance: Progress = lambda _: None) -> Floats:
        """Embed passages; `advance` is told how many more are done."""

    def count_tokens(self, text: str) -> int:
        """Tokens of a text without prefix and special tokens."""


def length_buckets(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Group indices of texts of like length so that no batch exceeds `batch_tokens` when padded.

    Every index appears once; a text longer than `batch_tokens` is a batch by itself.
    """
    batches: list[list[int]] = []
    current: list[int] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True):
        if current and longest * (len(current) + 1) > batch_tokens:
            batches.append(current)
            current = []
        if not current:
            longest = max(1, lengths[index])
        current.append(index)
    if current:
        batches.append(current)
    return batches


def fingerprint(config: EmbeddingConfig) -> str:
    """Return a short hash that changes with the model and the way it is used.

    An unpacked directory is known by its package's hash; any other by its configuration and the
    size and edges of its weights (hashing gigabytes for each question would take longer than answering).

    Raises:
        EmbeddingModelError: there is no such directory.
    """
    directory = config.model
    digest = hashlib.sha256(f"{config.query_prefix}\0{config.passage_prefix}".encode())
    if config.backend == "openai":
        # The name is all that can be known of a model behind a server; the address may change.
        digest.update(f"\0served\0{directory}".encode())
        return digest.hexdigest()[:16]
    if not directory.is_dir():
        raise EmbeddingModelError(
            f"the embedding model {directory} is not there",
            mend="Make the default one: quantserve rag embedding-model; or name a model directory",
        )
    precision = "-int8" if config.backend == "onnx-int8" else ""
    source = source_of(directory)
    if source is not None:
        digest.update(f"{source['sha256']}\0{source['format']}".encode())
        return digest.hexdigest()[:16] + precision
    for name in _FINGERPRINTED:
        if (directory / name).is_file():
            digest.update((directory / name).read_bytes())
    weights_files = {*directory.glob("*.safetensors"), *directory.glob("*.onnx*")} - {directory / INT8_FILE}
    for weights in sorted(weights_files):
        size_bytes = weights.stat().st_size
        digest.update(f"{weights.name}\0{size_bytes}".encode())
        with weights.open("rb") as stream:
            digest.update(stream.read(_EDGE_BYTES))
            stream.seek(max(0, size_bytes - _EDGE_BYTES))
            digest.update(stream.read(_EDGE_BYTES))
    return digest.hexdigest()[:16] + precision


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def resolve(
    config: EmbeddingConfig, made_with: str | None = None, note: Callable[[str], None] = lambda _: None
) -> EmbeddingConfig:
    """Replace the backend `auto`: by what an index was made with, else by what was measured to be best here.

    `made_with` is the fingerprint of an index that exists. fp32 and int8 vectors are never mixed: measured
    on the evaluation set, int8 questions on fp32 passages lose 0.017 of nDCG@10, where int8 alone loses
    nothing.

    Raises:
        EmbeddingModelError: there is no such directory.
    """
    if config.backend != "auto":
        return config
    exact = replace(config, backend="onnx" if (config.model / "model.onnx").is_file() else "huggingface")
    coarse = replace(config, backend="onnx-int8")
    for known in (exact, coarse):
        if made_with == fingerprint(known):
            return known
    from quantserve.rag.embedding.choose import choose

    return replace(config, backend=choose(config.model, note))


def load_embedder(config: EmbeddingConfig) -> Embedder:
    """Load the model with the chosen backend.

    Raises:
        EmbeddingModelError: the directory is missing or cannot be loaded.
        ServerUnavailable: the embedding server does not answer.
    """
    if config.backend == "openai":
        from quantserve.rag.embedding.openai_backend import OpenAIEmbedder

        return OpenAIEmbedder(config)
    if not config.model.is_dir():
        fingerprint(config)
    chosen = resolve(config).backend
    if chosen == "huggingface":
        from quantserve.rag.embedding.huggingface_backend import HuggingFaceEmbedder

        return HuggingFaceEmbedder(config)
    from quantserve.rag.embedding.onnx_backend import OnnxEmbedder

    if chosen == "onnx":
        return OnnxEmbedder(config)
    from quantserve.rag.embedding.int8 import int8_graph

    return OnnxEmbedder(config, int8_graph(config.model))
