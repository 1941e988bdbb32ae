"""Documents to a new generation: load, split, embed what is new, and publish.

An unchanged file keeps its chunks and vectors; a changed file's unchanged passages keep their
vectors; a deleted file leaves no trace. When nothing changed no model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.errors import InputError
from core.files import sha256_file, write_json
from rag.config import RagConfig
from rag.embedding.backend import Embedder, Floats, fingerprint, load_embedder
from rag.errors import UnreadableDocument
from rag.loaders.registry import expand, load
from rag.store.chunks import Chunk, write_chunks
from rag.store.generation import VECTORS_FILE, Generation, IndexStore
from rag.store.manifest import MANIFEST, FileEntry, IndexManifest, Settings, library_versions
from rag.store.vectors import build_index

if TYPE_CHECKING:
    from rag.split import Tokenize


@dataclass(frozen=True)
class IndexReport:
    """What indexing did; `problems` maps a file to why it is not in the index."""

    unchanged: bool
    generation: str
    files: int
    chunks: int
    embedded: int
    """Chunks whose vector had to be computed."""
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    problems: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Listener:
    """Where progress goes."""

    reading: Callable[[str, int, int], None] = lambda file, done, total: None
    embedding: Callable[[int, int], None] = lambda done, total: None
    note: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class _Plan:
    """Every file of the next generation, split into what is kept and what is read."""

    roots: tuple[str, ...]
    hashes: dict[str, str]
    keep: tuple[str, ...]
    read: tuple[str, ...]
    removed: tuple[str, ...]


def display_name(path: Path) -> str:
    """Return the path as people know it: relative to the working directory where it lies under it."""
    working = Path.cwd()
    return str(path.relative_to(working)) if path.is_relative_to(working) else str(path)


def _settings(config: RagConfig) -> Settings:
    return Settings(
        embedding_model=str(config.embedding.model),
        embedding_fingerprint=fingerprint(config.embedding),
        chunk_tokens=config.split.chunk_tokens,
        overlap_tokens=config.split.overlap_tokens,
    )


def _same(old: Settings, new: Settings) -> bool:
    ignored = {"embedding_model"}  # a moved model directory is still the same model
    return old.model_dump(exclude=ignored) == new.model_dump(exclude=ignored)


def _plan(
    paths: Iterable[Path],
    old: Generation | None,
    *,
    reusable: bool,
    replace: bool,
    note: Callable[[str], None],
) -> _Plan:
    """Decide what happens to each file.

    Raises:
        InputError: a path does not exist, or none was given and nothing is known.
    """
    given = [path.absolute() for path in paths]
    known = [] if old is None or replace else [Path(root) for root in old.manifest.roots]
    if not given and not known:
        raise InputError("no document was named", mend="Say which: python -m rag index PATH…")
    files = expand(given)
    roots = list(dict.fromkeys(given))
    for root in known:
        if root in roots:
            continue
        if root.exists():
            roots.append(root)
            files += expand([root])
        else:
            note(f"{display_name(root)} is gone; what it held leaves the index")
    hashes: dict[str, str] = {}
    for path in dict.fromkeys(files):
        try:
            hashes[str(path)] = sha256_file(path)
        except OSError:
            hashes[str(path)] = ""  # loading it again gives the reason
    before = old.manifest.files if old is not None else {}
    keep = tuple(
        path
        for path, sha in hashes.items()
        if reusable and sha and path in before and before[path].sha256 == sha
    )
    kept = set(keep)
    return _Plan(
        tuple(str(root) for root in roots),
        hashes,
        keep,
        tuple(path for path in hashes if path not in kept),
        tuple(entry.file for path, entry in before.items() if path not in hashes),
    )


def index_paths(
    paths: Iterable[Path],
    config: RagConfig,
    *,
    replace: bool = False,
    listener: Listener = Listener(),
    load_model: Callable[[], Embedder] | None = None,
) -> IndexReport:
    """Bring the index up to date with `paths` and everything indexed before (only `paths` with `replace`).

    Raises:
        InputError: a path does not exist, or not one document could be read.
        Locked: another process is indexing.
    """
    store = IndexStore(config.index_dir)
    settings = _settings(config)
    with store.writer_lock():
        old = store.current()
        reusable = old is not None and _same(old.manifest.settings, settings)
        if old is not None and not reusable:
            listener.note("the embedding model or the splitting changed: everything is embedded again")
        plan = _plan(paths, old, reusable=reusable, replace=replace, note=listener.note)
        if (
            old is not None
            and not plan.read
            and not plan.removed
            and plan.roots
            and set(plan.roots) == set(old.manifest.roots)
        ):
            return _report(old.manifest, old.name, unchanged=True)
        build = _Build(
            config,
            settings,
            plan,
            old if reusable else None,
            listener,
            load_model or (lambda: load_embedder(config.embedding)),
        )
        final = store.publish(build.write)
        manifest = build.manifest
        before = old.manifest.files if old is not None else {}
        return _report(
            manifest,
            final.name,
            unchanged=False,
            embedded=build.embedded,
            added=tuple(manifest.files[path].file for path in plan.read if path not in before),
            changed=tuple(manifest.files[path].file for path in plan.read if path in before),
            removed=plan.removed,
        )


def _report(
    manifest: IndexManifest,
    generation: str,
    *,
    unchanged: bool,
    embedded: int = 0,
    added: tuple[str, ...] = (),
    changed: tuple[str, ...] = (),
    removed: tuple[str, ...] = (),
) -> IndexReport:
    entries = manifest.files.values()
    return IndexReport(
        unchanged=unchanged,
        generation=generation,
        files=sum(not entry.problem for entry in entries),
        chunks=manifest.chunks,
        embedded=embedded,
        added=added,
        changed=changed,
        removed=removed,
        problems={entry.file: entry.problem for entry in entries if entry.problem},
        warnings={entry.file: entry.warnings for entry in entries if entry.warnings},
    )


class _Build:
    """Makes one generation."""

    manifest: IndexManifest

    def __init__(
        self,
        config: RagConfig,
        settings: Settings,
        plan: _Plan,
        old: Generation | None,
        listener: Listener,
        load_model: Callable[[], Embedder],
    ) -> None:
        self._config, self._settings, self._plan = config, settings, plan
        self._old, self._listener, self._load_model = old, listener, load_model
        self._embedder: Embedder | None = None
        self._files: dict[str, FileEntry] = {}
        self.embedded = 0

    @property
    def embedder(self) -> Embedder:
        if self._embedder is None:
            self._embedder = self._load_model()
        return self._embedder

    def write(self, directory: Path) -> None:
        """Fill the generation's folder, the manifest last."""
        from rag.store.words import write_words

        chunks, vectors = self._kept()
        fresh = self._read()
        if not chunks and not fresh:
            problems = [entry.problem for entry in self._files.values() if entry.problem]
            raise InputError(
                f"not one of {len(self._plan.hashes)} documents could be indexed"
                + (f": {'; '.join(problems[:5])}" if problems else ""),
                mend="Give documents with text in them",
            )
        vectors = np.vstack([vectors, self._vectors(fresh)]) if len(vectors) else self._vectors(fresh)
        chunks += fresh
        write_vectors(directory, vectors)
        write_words(directory, [chunk.embedded for chunk in chunks])
        write_chunks(directory, chunks)
        self.manifest = IndexManifest(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            settings=self._settings,
            dimension=vectors.shape[1],
            chunks=len(chunks),
            roots=self._plan.roots,
            files=dict(sorted(self._files.items())),
            versions=library_versions(),
        )
        write_json(directory / MANIFEST, self.manifest.model_dump(mode="json"))

    def _kept(self) -> tuple[list[Chunk], Floats]:
        """Take over the chunks and vectors of unchanged files."""
        if self._old is None:
            return [], np.empty((0, 0), np.float32)
        rows: list[int] = []
        chunks: list[Chunk] = []
        for path in self._plan.keep:
            self._files[path] = self._old.manifest.files[path]
            for row, chunk in self._old.chunks.of_file(path):
                rows.append(row)
                chunks.append(chunk)
        vectors = self._old.vectors_of(rows) if rows else np.empty((0, 0), np.float32)
        return chunks, vectors

    def _read(self) -> list[Chunk]:
        """Load and split new and changed files; a bad one is remembered and stops nothing."""
        fresh: list[Chunk] = []
        for done, path in enumerate(self._plan.read):
            file = display_name(Path(path))
            self._listener.reading(file, done, len(self._plan.read))
            chunks, entry = self._read_one(Path(path), file)
            self._files[path] = entry
            fresh += chunks
        return fresh

    def _read_one(self, path: Path, file: str) -> tuple[list[Chunk], FileEntry]:
        size_bytes = path.stat().st_size if path.exists() else 0
        sha256 = self._plan.hashes[str(path)]
        try:
            document = load(path)
        except UnreadableDocument as error:
            return [], FileEntry(file=file, sha256=sha256, size_bytes=size_bytes, problem=str(error))
        from rag.split import split_document

        chunks = split_document(document, path, file, self._config.split, self._tokenize())
        return chunks, FileEntry(
            file=file, sha256=sha256, size_bytes=size_bytes, chunks=len(chunks), warnings=document.warnings
        )

    def _tokenize(self) -> Tokenize:
        embedder = self.embedder
        return lambda text: range(embedder.count_tokens(text))

    def _vectors(self, chunks: list[Chunk]) -> Floats:
        """Return vectors of chunks; a text that is in the old index is not embedded again."""
        if not chunks:
            return np.empty((0, self._old.manifest.dimension if self._old else 0), np.float32)
        known = self._old.chunks.embedded_texts() if self._old else {}
        reused = [index for index, chunk in enumerate(chunks) if chunk.embedded in known]
        new = [index for index, chunk in enumerate(chunks) if chunk.embedded not in known]
        vectors = np.empty((len(chunks), self.embedder.dimension), np.float32)
        if self._old and reused:
            vectors[reused] = self._old.vectors_of([known[chunks[index].embedded] for index in reused])
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self._listener.embedding(done, len(new))

        if new:
            self._listener.embedding(0, len(new))
            vectors[new] = self.embedder.embed_passages([chunks[index].embedded for index in new], advance)
        self.embedded = len(new)
        return vectors


def write_vectors(directory: Path, vectors: Floats) -> None:
    """Write the FAISS index through LlamaIndex's store; row numbers are ids."""
    from llama_index.vector_stores.faiss import FaissVectorStore

    FaissVectorStore(faiss_index=build_index(vectors)).persist(str(directory / VECTORS_FILE))
