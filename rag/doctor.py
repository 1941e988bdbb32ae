"""What retrieval needs, looked at one by one; a finding that is not ok says its mend."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from quantserve.core.errors import QuantserveError
from quantserve.core.files import Locked
from quantserve.core.http.keys import read_keys
from quantserve.core.http.origin import is_loopback
from quantserve.rag.config import RagConfig
from quantserve.rag.embedding.backend import Embedder, load_embedder, resolve
from quantserve.rag.llm import ModelServer
from quantserve.rag.server.config import ServerConfig, key_rules
from quantserve.rag.server.run import listen
from quantserve.rag.store.base import LOCAL, open_store

_LEAST_FREE_GB = 1


@dataclass(frozen=True)
class Finding:
    """One thing looked at; an error stops questions from being answered."""

    level: Literal["ok", "warning", "error"]
    what: str
    mend: str = ""


def _of(error: QuantserveError, level: Literal["warning", "error"]) -> Finding:
    return Finding(level, error.problem, error.mend)


def _as_indexed(config: RagConfig) -> RagConfig:
    """Return the configuration with the backend that the index was made with, where both are there."""
    try:
        current = open_store(config).current()
        made_with = current.manifest.settings.embedding_fingerprint if current is not None else None
        return replace(config, embedding=resolve(config.embedding, made_with))
    except QuantserveError:
        return config  # model and index are looked at next, and say what is wrong with them


def _embedding(config: RagConfig) -> tuple[Finding, Embedder | None]:
    try:
        started = time.perf_counter()
        embedder = load_embedder(config.embedding)
        loaded = time.perf_counter()
        dimension = embedder.embed_queries(["준비 ready"]).shape[1]
        done = time.perf_counter()
    except QuantserveError as error:
        return _of(error, "error"), None
    found = Finding(
        "ok",
        f"embedding model {config.embedding.model}: {type(embedder).__name__}, {dimension} numbers, "
        f"loaded in {loaded - started:.1f} s, a question in {(done - loaded) * 1000:.0f} ms",
    )
    return found, embedder


def _index(config: RagConfig, embedder: Embedder | None) -> Iterator[Finding]:
    from quantserve.rag.retrieve import Searcher

    try:
        store = open_store(config)
        generation = store.open()
        searcher = Searcher(generation, config, None if embedder is None else lambda: embedder)
        searcher.search("준비 ready")
    except QuantserveError as error:
        yield _of(error, "error")
        return
    manifest = searcher.generation.manifest
    yield Finding(
        "ok",
        f"index {store}, {searcher.generation.name}: {len(manifest.files)} documents, "
        f"{manifest.chunks} passages, {manifest.created}",
    )
    for entry in manifest.files.values():
        if entry.problem:
            yield Finding(
                "warning", entry.problem, "Mend the file and index again, or take it out: rag remove"
            )


def _writer(config: RagConfig) -> Finding:
    if config.store == LOCAL and not Path(config.index_dir).exists():
        return Finding("ok", "nobody is indexing")
    try:
        with open_store(config).writer_lock():
            return Finding("ok", "nobody is indexing")
    except Locked as error:
        return _of(error, "warning")
    except QuantserveError as error:
        return _of(error, "error")
    except OSError as error:
        return Finding("error", f"{config.index_dir} cannot be written: {error.strerror}", "Mend its rights")


def _model_server(config: RagConfig) -> Finding:
    try:
        model = ModelServer(config.answer).describe()
    except QuantserveError as error:
        return _of(error, "warning")
    return Finding(
        "ok", f"model server {config.answer.base_url}: {model.name}, window {model.window_tokens} tokens"
    )


def _port(config: ServerConfig) -> Finding:
    try:
        listen(config.host, config.port).close()
    except QuantserveError as error:
        return _of(error, "warning")
    return Finding("ok", f"port {config.port} on {config.host} is free")


def _keys(config: ServerConfig) -> Finding:
    if config.keys_file is None:
        if is_loopback(config.host):
            return Finding("ok", "no keys: rag serve answers everybody on this machine, and nobody else")
        return Finding(
            "error",
            f"rag serve will not listen on {config.host} without keys",
            "quantserve rag keys create NAME",
        )
    try:
        count = len(read_keys(config.keys_file, key_rules()).keys)
    except QuantserveError as error:
        return _of(error, "error")
    if not count:
        return Finding("warning", f"{config.keys_file} holds no key", "quantserve rag keys create NAME")
    return Finding("ok", f"{count} keys in {config.keys_file}")


def _disk(config: ServerConfig) -> Finding:
    folder = config.upload_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        return Finding("error", f"{folder} cannot be written", "Choose another: --upload-dir")
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < _LEAST_FREE_GB:
        return Finding("warning", f"{free_gb:.1f} GB free for uploads on {folder}", "Free some space")
    return Finding("ok", f"{free_gb:.0f} GB free for uploads on {folder}")


def examine(rag: RagConfig, server: ServerConfig) -> list[Finding]:
    """Look at everything."""
    rag = _as_indexed(rag)
    embedding, embedder = _embedding(rag)
    return [
        embedding,
        *_index(rag, embedder),
        _writer(rag),
        _model_server(rag),
        _port(server),
        _keys(server),
        _disk(server),
    ]
