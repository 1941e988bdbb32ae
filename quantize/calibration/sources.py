"""The text that a run calibrates on: sources, languages and shares, drawn, distinct and hashed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from quantserve.core.errors import InputError, QuantserveError, UsageError
from quantserve.quantize.artifact import CalibrationPart, CalibrationRecord
from quantserve.quantize.calibration import corpus
from quantserve.quantize.calibration.documents import Document, Group, cut_text, digest, read_files
from quantserve.quantize.calibration.hub import draw_from_hub
from quantserve.quantize.calibration.languages import readable_languages
from quantserve.quantize.calibration.overlap import (
    PYDOC,
    draw_documents,
    evaluation_documents,
    pydoc_calibration_text,
    refuse_overlap,
)
from quantserve.quantize.calibration.spec import SourceSpec, parse_source
from quantserve.quantize.config import CalibrationOptions

# Raise it when the same documents begin to be packed into other sequences: it is part of the text's hash.
_REVISION = 2
# A token of English prose is 4.2 characters; so even rare long tokens leave text to choose from.
_CHARS_PER_TOKEN = 12


@dataclass(frozen=True)
class CalibrationText:
    """The documents to calibrate on.

    source: all sources in words, for people.
    groups: documents in the order drawn, by source, with the share each shall fill.
    parts: what `groups` are, without their text.
    sha256: hash of all that shapes the sequences, the tokenizer apart.
    readable: the languages that the model's tokenizer was made for; empty when it reveals none.
    asked: language shares that were asked for or follow from the sources; empty when none were.
    """

    source: str
    groups: list[Group]
    parts: tuple[CalibrationPart, ...]
    sha256: str
    readable: tuple[str, ...]
    asked: Mapping[str, float]

    @property
    def documents(self) -> list[Document]:
        """All documents of all groups."""
        return [document for group in self.groups for document in group["documents"]]


def parse_languages(text: str) -> dict[str, float]:
    """Read `ko=0.5,en=0.5` as shares that sum to 1.

    Raises:
        UsageError: it is not written so.
    """
    try:
        pairs = [part.split("=") for part in text.split(",")]
        weights = {name.strip(): float(weight) for name, weight in pairs}
    except ValueError:
        weights = {}
    if not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
        raise UsageError(f"--languages {text} is not understood", mend="Write it as ko=0.5,en=0.5")
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items() if weight > 0}


def load_text(options: CalibrationOptions, model: Path, run_dir: Path) -> CalibrationText:
    """Gather the text for a model.

    Raises:
        InputError: naming what cannot be read, a source without any text, or text that the gate evaluates on.
        UsageError: a source or the languages are not written as they should be.
    """
    if options.sequences < 1 or options.sequence_tokens < 16:
        raise UsageError("Calibration needs at least 1 sequence of 16 tokens", mend="Give larger numbers")
    readable = readable_languages(model)
    specs = [parse_source(argument) for argument in options.sources]
    asked = _asked(options.languages, specs, readable)
    wanted = asked or dict.fromkeys(readable or corpus.LANGUAGES, 1.0)
    specs = [part for spec in specs for part in _by_language(spec, wanted)]
    total = sum(spec.weight for spec in specs)
    groups: list[Group] = []
    parts: list[CalibrationPart] = []
    for spec in specs:
        share = round(spec.weight / total, 6)
        documents, commit = draw_source(spec, options, share, run_dir)
        if not documents:
            raise InputError(
                f"The calibration source {spec.written} holds no text", mend="Name one that does"
            )
        groups.append(Group(source=spec.written, weight=share, documents=documents))
        parts.append(
            CalibrationPart(
                source=spec.written,
                weight=share,
                documents=len(documents),
                sha256=hash_documents(documents),
                revision=commit,
            )
        )
    refuse_overlap((d for group in groups for d in group["documents"]), evaluation_documents())
    return CalibrationText(
        source=" + ".join(_in_words(part, alone=len(parts) == 1) for part in parts),
        groups=groups,
        parts=tuple(parts),
        sha256=digest(str(_REVISION), *(f"{part.weight} {part.sha256}" for part in parts)),
        readable=readable,
        asked=asked,
    )


def _asked(languages: str | None, specs: list[SourceSpec], readable: tuple[str, ...]) -> dict[str, float]:
    """Return the language shares to reach: those given, else equal ones where the bundled text decides."""
    if languages is not None:
        return parse_languages(languages)
    if any(spec.location != "corpus" for spec in specs):
        return {}
    # A tokenizer that reveals no language (a byte-level or toy one) gets both.
    names = readable or corpus.LANGUAGES
    return {name: 1 / len(names) for name in names}


def _by_language(spec: SourceSpec, wanted: Mapping[str, float]) -> list[SourceSpec]:
    """Split the bundled text into one source for each language that is wanted."""
    if spec.location != "corpus" or spec.kind != "builtin":
        return [spec]
    held = {name: share for name, share in wanted.items() if name in corpus.LANGUAGES}
    if not held:
        raise UsageError(
            f"The bundled text holds no {' or '.join(wanted)}",
            mend=f"It holds {' and '.join(corpus.LANGUAGES)}; name another source with --calibration",
        )
    total = sum(held.values())
    return [
        replace(spec, written=f"corpus/{name}", location=f"corpus/{name}", weight=spec.weight * share / total)
        for name, share in held.items()
    ]


def draw_source(
    spec: SourceSpec, options: CalibrationOptions, share: float, run_dir: Path
) -> tuple[list[Document], str | None]:
    """Return the documents drawn from one source that fills `share` of the tokens, and its hub commit."""
    max_chars = max(int(options.tokens * share * _CHARS_PER_TOKEN), 1)
    if spec.kind == "hub":
        return draw_from_hub(spec, seed=options.seed, max_chars=max_chars, run_dir=run_dir)
    found: Iterable[Document]
    if spec.location == "pydoc":
        found = cut_text(pydoc_calibration_text())
    elif spec.kind == "builtin":
        language = spec.location.partition("/")[2]
        found = [e.document for e in corpus.entries("calibration") if e.language == language]
    else:
        found = read_files(Path(spec.location), spec.column)
    return draw_documents(found, seed=options.seed, max_chars=max_chars), None


def hash_documents(documents: list[Document]) -> str:
    """Return the hex SHA-256 of documents in their order."""
    return digest(json.dumps(documents, ensure_ascii=False, separators=(",", ":")))


def _in_words(part: CalibrationPart, *, alone: bool) -> str:
    name = part.source if part.revision is None else f"{part.source} at {part.revision[:12]}"
    return name if alone else f"{name} ({part.weight:.0%})"


def read_recorded(calibration: CalibrationRecord) -> list[Document] | None:
    """Return all documents of an artifact's calibration sources, as they are today.

    None says unknown: a source is a hub data set, moved or is unreadable, or was never recorded.
    """
    sources = [part.source for part in calibration.parts] or [calibration.source]
    documents: list[Document] = []
    try:
        for source in sources:
            if source in ("pydoc", PYDOC):
                documents += cut_text(pydoc_calibration_text())
                continue
            spec = parse_source(source)
            if spec.kind == "hub":
                return None
            if spec.kind == "builtin":
                documents += corpus.calibration_documents()
            else:
                documents += read_files(Path(spec.location), spec.column)
    except (QuantserveError, OSError):
        return None
    return documents or None
