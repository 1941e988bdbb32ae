"""Calibration documents from a data set on the hub, streamed; what was drawn is kept for the next run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantserve.core.errors import InputError
from quantserve.core.files import write_text
from quantserve.quantize.calibration.documents import Document, digest, from_row, plain_text
from quantserve.quantize.calibration.overlap import draw_documents
from quantserve.quantize.calibration.spec import SourceSpec
from quantserve.quantize.models.download import hub_errors

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHUFFLED_ROWS = 1000
_JOINED_CHARS = 4000
_OFFERED = 3  # times the text that is drawn


def draw_from_hub(
    spec: SourceSpec, *, seed: int, max_chars: int, run_dir: Path
) -> tuple[list[Document], str]:
    """Return documents drawn from a data set, and the commit they are from.

    The draw is cached in `run_dir` under the commit, so a rerun loads nothing; a data set given with
    its full commit (OWNER/NAME@COMMIT) is then not even asked for.

    Raises:
        InputError: the hub cannot be reached, or has no such data set, configuration, split or column.
    """
    commit = spec.revision or ""
    if not _COMMIT.fullmatch(commit):
        commit = _commit(spec)
    what = repr(replace(spec, written="", weight=1.0, revision=commit))
    cache = run_dir / "calibration" / f"{digest(what, str(seed), str(max_chars))[:24]}.jsonl"
    if not cache.is_file():
        with _clear_errors(spec):
            offered = _limited(_hub_documents(spec, commit, seed), max_chars * _OFFERED)
            drawn = draw_documents(offered, seed=seed, max_chars=max_chars)
        write_text(cache, "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in drawn))
    lines = cache.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line], commit


def _commit(spec: SourceSpec) -> str:
    """Ask the hub which commit a branch or tag means now."""
    from huggingface_hub import HfApi

    with _clear_errors(spec):
        return str(HfApi().dataset_info(spec.location, revision=spec.revision).sha)


def _hub_documents(spec: SourceSpec, commit: str, seed: int) -> Iterator[Document]:
    rows = _rows(spec, commit, seed)
    return _joined(rows) if spec.joined else rows


def _rows(spec: SourceSpec, commit: str, seed: int) -> Iterator[Document]:
    from datasets import load_dataset

    rows: Any = load_dataset(
        spec.location, spec.config, split=spec.split or "train", revision=commit, streaming=True
    )
    if not spec.joined:
        rows = rows.shuffle(seed=seed, buffer_size=_SHUFFLED_ROWS)
    for row in rows:
        document = from_row(row, spec.column)
        if document is None:
            columns = ", ".join(row)
            raise InputError(
                f"The data set {spec.location} has neither text nor chat messages in "
                f"{spec.column or 'a column text or messages'}; its columns are {columns}",
                mend=f"Name one: --calibration '{spec.location}?column=NAME'",
            )
        if document:
            yield document


def _joined(rows: Iterable[Document]) -> Iterator[Document]:
    """Join consecutive rows to documents of some 4,000 characters."""
    text = ""
    for row in rows:
        text = f"{text}\n{plain_text(row)}".strip()
        if len(text) >= _JOINED_CHARS:
            yield text
            text = ""
    if text:
        yield text


def _limited(documents: Iterable[Document], max_chars: int) -> Iterator[Document]:
    chars = 0
    for document in documents:
        yield document
        chars += len(plain_text(document))
        if chars >= max_chars:
            return


@contextmanager
def _clear_errors(spec: SourceSpec) -> Iterator[None]:
    what = f"data set {spec.location}"
    try:
        with hub_errors(what, otherwise="give a file: --calibration FILE"):
            yield
    except (ValueError, FileNotFoundError) as error:
        # What `datasets` raises for an unknown configuration or split, listing those there are.
        raise InputError(
            f"The {what} cannot be loaded: {' '.join(str(error).split())[:300]}",
            mend=f"Name its parts: --calibration '{spec.location}?config=NAME&split=NAME&column=NAME'",
        ) from error
