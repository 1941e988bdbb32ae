"""Parquet: a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quantserve.rag.errors import UnreadableDocument
from quantserve.rag.loaders.document import Sections, Warn
from quantserve.rag.loaders.rows import record_sections

_BATCH_ROWS = 256


def sections(path: Path, warn: Warn) -> Sections:
    """Read a Parquet file.

    Raises:
        UnreadableDocument: it is broken.
    """
    import pyarrow

    try:
        yield from record_sections(_rows(path))
    except pyarrow.ArrowException as error:
        raise UnreadableDocument(
            f"{path.name}: is not a readable Parquet file", mend="Write it again"
        ) from error


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
            yield from batch.to_pylist()
