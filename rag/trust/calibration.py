"""Measured thresholds: when what was found cannot hold the answer. `rag eval` writes them, answering reads.

    calibration = calibration_of(config)     # the file that is named, or beside the index, or shipped
    limits = calibration.find(searcher.generation, options)
    write_calibration(path, calibration.with_entry(entry))     # rag.trust.measure makes an entry

An entry belongs to one embedding model, retrieval mode and reranker, since scores of another have another
scale. Each limit bounds one signal; one that is not kept makes the answer "I do not know".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path, PurePath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quantserve.core.errors import InputError
from quantserve.core.files import write_json
from quantserve.rag.config import RagConfig, RetrieveConfig, RetrieveMode
from quantserve.rag.retrieve.passage import Passage
from quantserve.rag.store.base import LOCAL
from quantserve.rag.trust.index import SearchedIndex
from quantserve.rag.trust.names import unseen_names

Signal = Literal["similarity", "bm25", "rerank", "unseen_names"]
"""similarity, bm25, rerank: of the best passage; unseen_names: how many no document holds."""
Signals = dict[Signal, float]
CALIBRATION_FILE = "calibration.json"
"""Beside a local index: what `rag eval` measured on it."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Limit(_Strict):
    """What one signal may be; None leaves that side open."""

    signal: Signal
    least: float | None = None
    most: float | None = None

    def keeps(self, signals: Mapping[Signal, float]) -> bool:
        """Whether the signal keeps to it; one that was not measured does."""
        value = signals.get(self.signal)
        if value is None:
            return True
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


class Entry(_Strict):
    """The limits for one embedding model, mode and reranker, and how they did where they were measured."""

    embedding_model: str = Field(description="last part of its path or id")
    embedding_fingerprint: str = Field(
        default="", description="of rag.embedding.backend.fingerprint; empty: any"
    )
    mode: RetrieveMode
    reranker: str = Field(default="", description="its model; empty without one")
    limits: tuple[Limit, ...]
    answerable: int = Field(ge=0, description="questions the documents answer")
    unanswerable: int = Field(ge=0, description="questions they do not")
    kept: float = Field(ge=0, le=1, description="share of the answerable ones that keep to the limits")
    refused: float = Field(ge=0, le=1, description="share of the unanswerable ones that do not")
    questions_sha256: str = Field(default="", description="of the question file")
    measured: str = Field(default="", description="date")


class Calibration(_Strict):
    """The file: one entry for each combination that was measured."""

    schema_version: Literal[1] = 1
    entries: tuple[Entry, ...] = ()

    def with_entry(self, entry: Entry) -> Calibration:
        """Return a copy with one entry added, or replaced where it is for the same weights and search."""

        def key(one: Entry) -> tuple[str, ...]:
            return (one.embedding_model, one.embedding_fingerprint, one.mode, one.reranker)

        others = tuple(one for one in self.entries if key(one) != key(entry))
        return self.model_copy(update={"entries": (*others, entry)})

    def find(self, generation: SearchedIndex, options: RetrieveConfig) -> Entry | None:
        """Return the entry for an index and a way to search it; one for the very weights comes first."""
        settings = generation.manifest.settings
        name = PurePath(settings.embedding_model).name
        reranker = reranker_name(options)
        fitting = [
            entry
            for entry in self.entries
            if (entry.mode, entry.reranker) == (options.mode, reranker)
            and (
                entry.embedding_fingerprint == settings.embedding_fingerprint or entry.embedding_model == name
            )
        ]
        fitting.sort(key=lambda entry: entry.embedding_fingerprint != settings.embedding_fingerprint)
        return fitting[0] if fitting else None


def reranker_name(options: RetrieveConfig) -> str:
    """Return what entries call the reranker of a search; empty without one."""
    rerank = options.rerank
    return "" if rerank.kind == "off" else PurePath(rerank.model).name or rerank.kind


def calibration_of(config: RagConfig) -> Calibration:
    """Read the calibration that answers from an index go by.

    It is the one that `config.answer` names, else the one beside a local index, else the shipped one.

    Raises:
        InputError: it is not there, or is not of this form.
    """
    beside = config.index_dir / CALIBRATION_FILE
    is_beside = config.store == LOCAL and beside.is_file()
    return load_calibration(config.answer.calibration or (beside if is_beside else None))


def load_calibration(path: Path | None = None) -> Calibration:
    """Read a calibration file; None reads the one that ships with the program.

    Raises:
        InputError: it is not there, or is not of this form.
    """
    where = path or resources.files("quantserve.rag.trust") / "calibration.json"
    try:
        return Calibration.model_validate_json(where.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(
            f"the calibration {where} cannot be used", mend="Write it again: quantserve rag eval"
        ) from error


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration file, atomically."""
    write_json(path, calibration.model_dump(mode="json", exclude_none=True))


def signals_of(question: str, passages: Sequence[Passage], generation: SearchedIndex) -> Signals:
    """Return what is known of a question and its passages; a signal that was not measured is left out."""
    signals: Signals = {"unseen_names": float(len(unseen_names(question, passages, generation)))}
    similarity = [passage.similarity for passage in passages if passage.similarity is not None]
    bm25 = [passage.bm25 for passage in passages if passage.bm25 is not None]
    rerank = [passage.rerank for passage in passages if passage.rerank is not None]
    if similarity:
        signals["similarity"] = max(similarity)
    if bm25:
        signals["bm25"] = max(bm25)
    if rerank:
        signals["rerank"] = max(rerank)
    return signals
