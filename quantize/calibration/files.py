"""Calibration documents from local files: text, Markdown, JSONL, Parquet, or a folder of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from quantserve.core.errors import InputError
from quantserve.core.json_input import BadJson, parse_json
from quantserve.quantize.calibration.documents import Document, from_row, pieces

_TEXT_SUFFIXES = (".txt", ".md")
SUFFIXES = (*_TEXT_SUFFIXES, ".jsonl", ".parquet")
_LFS_PREFIX = b"version https://git-lfs"


def read(path: Path, column: str | None = None) -> Iterator[Document]:
    """Yield the documents of a file, or of all files in a folder in the order of their names.

    Raises:
        InputError: naming the file (and line) that cannot be read.
    """
    files = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES) if path.is_dir() else [path]
    for file in files:
        _refuse_lfs_pointer(file)
        if file.suffix in _TEXT_SUFFIXES:
            yield from pieces(_text(file))
        elif file.suffix == ".jsonl":
            yield from _jsonl(file, column)
        elif file.suffix == ".parquet":
            yield from _parquet(file, column)
        else:
            raise InputError(
                f"The calibration file {file} is of no known kind", mend=f"Use one of {', '.join(SUFFIXES)}"
            )


def _refuse_lfs_pointer(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            head = stream.read(len(_LFS_PREFIX))
    except OSError as error:
        raise InputError(f"The calibration file {file} cannot be read: {error.strerror}") from error
    if head == _LFS_PREFIX:
        raise InputError(
            f"{file} is a Git LFS pointer, not the file itself", mend=f"Run: git -C {file.parent} lfs pull"
        )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"The calibration file {file} is not readable UTF-8 text: {error.reason} at byte {error.start}",
            mend="Convert it: iconv -f CP949 -t UTF-8",
        ) from error


def _jsonl(file: Path, column: str | None) -> Iterator[Document]:
    # Not splitlines(): JSON strings may hold U+2028 as it is.
    for number, line in enumerate(_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except BadJson as error:
            raise InputError(f"{file}:{number} is not valid JSON: {error}") from error
        document = from_row(row, column)
        if document is None:
            lacks = f"no text in {column!r}" if column else 'neither "text" nor "messages"'
            raise InputError(
                f"{file}:{number} holds {lacks}",
                mend='Write {"text": "…"} or {"messages": [{"role": "user", "content": "…"}, …]}',
            )
        if document:
            yield document


def _parquet(file: Path, column: str | None) -> Iterator[Document]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file)
        names: list[str] = table.schema_arrow.names
        wanted = column or next((n for n in ("messages", "conversations", "text") if n in names), None)
        if wanted not in names:
            raise InputError(
                f"{file} has no column {wanted or 'text or messages'}; it has {', '.join(names)}",
                mend=f"Name one: --calibration '{file}?column={names[0]}'",
            )
        for batch in table.iter_batches(columns=[wanted]):
            for row in batch.to_pylist():
                document = from_row(row, wanted)
                if document is None and row[wanted] is not None:
                    raise InputError(f"{file}: column {wanted} holds neither text nor chat messages")
                if document:
                    yield document
    except pyarrow.ArrowInvalid as error:
        raise InputError(
            f"The calibration file {file} is not a whole Parquet file: {str(error).splitlines()[0]}"
        ) from error
