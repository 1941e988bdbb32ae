"""Make one generation: chunks to SQLite, then vectors for those that are new, then the word index.

Everything passes through files, a bounded number of chunks at a time. Texts are embedded longest first
over the whole corpus, so that batches hold texts of like length and pad little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from quantserve.core.errors import InputError
from quantserve.core.files import write_json
from quantserve.core.terminal import one_line
from quantserve.rag.config import RagConfig
from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.errors import UnreadableDocument
from quantserve.rag.ingest.plan import Plan
from quantserve.rag.ingest.report import Listener, passed_over
from quantserve.rag.ingest.sources import Source
from quantserve.rag.loaders.isolated import IsolatedReader
from quantserve.rag.loaders.registry import LOADERS
from quantserve.rag.store.base import Index
from quantserve.rag.store.chunks import ChunkReader, ChunkWriter, digest_of
from quantserve.rag.store.manifest import MANIFEST, FileEntry, IndexManifest, Settings, library_versions
from quantserve.rag.store.vector_writer import VectorWriter

_WINDOW_CHUNKS = 1024
"""Texts handed to the embedding model at once."""


class Build:
    """Makes one generation from a plan."""

    manifest: IndexManifest

    def __init__(
        self,
        config: RagConfig,
        settings: Settings,
        plan: Plan,
        old: Index | None,
        listener: Listener,
        load_model: Callable[[], Embedder],
        reader: IsolatedReader,
    ) -> None:
        """`old` is the generation to take over from; None when nothing of it can be used."""
        self._reader = reader
        self._config, self._settings, self._plan = config, settings, plan
        self._old, self._listener, self._load_model = old, listener, load_model
        self._embedder: Embedder | None = None
        self._files: dict[str, FileEntry] = {}
        self._reused: list[tuple[int, int]] = []
        """(new row, old row) of chunks whose vector is known."""
        self._new: list[tuple[int, int]] = []
        """(length of the text, new row) of chunks to embed."""

    @property
    def embedded(self) -> int:
        """Chunks whose vector had to be computed."""
        return len(self._new)

    @property
    def embedder(self) -> Embedder:
        """The model, loaded when first needed."""
        if self._embedder is None:
            self._embedder = self._load_model()
        return self._embedder

    def write(self, directory: Path) -> None:
        """Fill the generation's folder, the manifest last.

        Raises:
            InputError: not one document holds text.
        """
        from quantserve.rag.store.words import write_words

        with ChunkWriter(directory) as writer:
            self._keep(writer)
            for done, source in enumerate(self._plan.read):
                self._listener.reading(source.file, done, len(self._plan.read))
                self._files[source.key] = self._read(source, writer)
        if not writer.count:
            self._refuse()
        chunks = ChunkReader(directory)
        try:
            dimension = self._write_vectors(directory, chunks, writer.count)
            write_words(directory, chunks.words())
        finally:
            chunks.close()
        self.manifest = IndexManifest(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            settings=self._settings,
            dimension=dimension,
            chunks=writer.count,
            roots=self._plan.roots,
            excluded=self._plan.excluded,
            files=dict(sorted(self._files.items())),
            versions=library_versions(),
        )
        write_json(directory / MANIFEST, self.manifest.model_dump(mode="json"))

    def _refuse(self) -> None:
        problems = [entry.problem for entry in self._files.values() if entry.problem]
        skipped = passed_over(self._plan.skipped)
        raise InputError(
            f"not one of {len(self._files)} documents could be indexed"
            + (f": {'; '.join(problems[:5])}" if problems else "")
            + (f"; passed over: {'; '.join(skipped)}" if skipped else ""),
            mend=f"Give documents with text in them, of the kinds {', '.join(LOADERS)}",
        )

    def _keep(self, writer: ChunkWriter) -> None:
        """Take over the chunks of unchanged documents."""
        if self._old is None:
            return
        for key in self._plan.keep:
            entry = self._old.manifest.files[key]
            if key in self._plan.stale:
                entry = entry.model_copy(update={"stale": self._plan.stale[key]})
            self._files[key] = entry
            for row, chunk, words in self._old.chunks.with_words(key):
                self._reused.append((writer.add(chunk, words), row))

    def _read(self, source: Source, writer: ChunkWriter) -> FileEntry:
        """Load and split one document; a bad one is remembered and stops nothing."""
        entry = FileEntry(file=source.file, sha256=source.sha256, size_bytes=source.size_bytes)
        if source.path is None:
            return entry.model_copy(update={"problem": source.problem})
        from quantserve.rag.split.splitter import Splitter
        from quantserve.rag.store.words import words_of

        splitter = Splitter(self._config.split, lambda text: self.embedder.count_tokens(text))
        warnings: list[str] = []
        before = writer.count
        began, most_s = time.thread_time(), self._config.read.splitting_s(source.size_bytes)
        try:
            for section in self._reader.read(source.path, lambda text: warnings.append(one_line(text))):
                for chunk in splitter.split(section, source.key, source.file):
                    if time.thread_time() - began > most_s:
                        raise UnreadableDocument(
                            f"{source.file}: splitting it takes more than {most_s:,.0f} s of processor time",
                            mend="Give it in smaller parts, or with blanks between its words",
                        )
                    row = writer.add(chunk, words_of(chunk.embedded))
                    known = self._old.chunks.row_of(digest_of(chunk.embedded)) if self._old else None
                    if known is None:
                        self._new.append((len(chunk.embedded), row))
                    else:
                        self._reused.append((row, known))
        except UnreadableDocument as error:
            # What was read before the fault is taken back: a document is in the index whole or not at all.
            writer.truncate(before)
            self._new = [entry for entry in self._new if entry[1] < before]
            self._reused = [entry for entry in self._reused if entry[0] < before]
            return entry.model_copy(update={"problem": one_line(str(error)), "warnings": tuple(warnings)})
        return entry.model_copy(update={"chunks": writer.count - before, "warnings": tuple(warnings)})

    def _write_vectors(self, directory: Path, chunks: ChunkReader, count: int) -> int:
        """Copy known vectors and compute the others; return the dimension."""
        if self._new:
            dimension = self.embedder.dimension
        else:
            dimension = self._old.manifest.dimension if self._old else self.embedder.dimension
        vectors = VectorWriter(directory, count, dimension)
        for start in range(0, len(self._reused), _WINDOW_CHUNKS):
            part = np.array(self._reused[start : start + _WINDOW_CHUNKS])
            if self._old is not None:
                vectors.put(part[:, 0].tolist(), self._old.vectors_of(part[:, 1].tolist()))
        self._embed(chunks, vectors)
        vectors.finish()
        return dimension

    def _embed(self, chunks: ChunkReader, vectors: VectorWriter) -> None:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self._listener.embedding(done, len(self._new))

        if self._new:
            self._listener.embedding(0, len(self._new))
        self._new.sort(reverse=True)
        for start in range(0, len(self._new), _WINDOW_CHUNKS):
            rows = [row for _, row in self._new[start : start + _WINDOW_CHUNKS]]
            texts = [chunk.embedded for chunk in chunks.rows(rows)]
            vectors.put(rows, self.embedder.embed_passages(texts, advance))
