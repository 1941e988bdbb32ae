"""Gather the text that a run calibrates on: sources, languages and shares, drawn, distinct and hashed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from quantserve.core.errors import InputError, UsageError
from quantserve.quantize.calibration import builtin, corpus, files, hub
from quantserve.quantize.calibration.documents import Document, Group, digest, pieces
from quantserve.quantize.calibration.overlap import evaluation_documents, refuse_overlap
from quantserve.quantize.calibration.sampling import draw
from quantserve.quantize.calibration.spec import Spec, parse
from quantserve.quantize.calibration.tokenizer import readable_languages
from quantserve.quantize.config import CalibrationOptions

# Raise it when the same documents begin to be packed into other sequences: it is part of the text's hash.
_REVISION = 2
# A token of English prose is 4.2 characters; so even rare long tokens leave text to choose from.
_CHARS_PER_TOKEN = 12


@dataclass(frozen=True)
class Part:
    """One source as it was used: `weight` is its share of the text, `revision` the commit on the hub."""

    source: str
    weight: float
    documents: int
    sha256: str
    revision: str | None = None


@dataclass(frozen=True)
class Text:
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
    parts: tuple[Part, ...]
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


def load(options: CalibrationOptions, model: Path, run_dir: Path) -> Text:
    """Gather the text for a model.

    Raises:
        InputError: naming what cannot be read, a source without any text, or text that the gate evaluates on.
        UsageError: a source or the languages are not written as they should be.
    """
    readable = readable_languages(model)
    specs = [parse(argument) for argument in options.sources]
    asked = _asked(options.languages, specs, readable)
    wanted = asked or dict.fromkeys(readable or corpus.LANGUAGES, 1.0)
    specs = [part for spec in specs for part in _by_language(spec, wanted)]
    total = sum(spec.weight for spec in specs)
    groups: list[Group] = []
    parts: list[Part] = []
    for spec in specs:
        share = round(spec.weight / total, 6)
        documents, commit = draw_source(spec, options, share, run_dir)
        if not documents:
            raise InputError(
                f"The calibration source {spec.written} holds no text", mend="Name one that does"
            )
        groups.append(Group(source=spec.written, weight=share, documents=documents))
        parts.append(Part(spec.written, share, len(documents), hash_documents(documents), commit))
    refuse_overlap((d for group in groups for d in group["documents"]), evaluation_documents())
    return Text(
        source=" + ".join(_in_words(part, alone=len(parts) == 1) for part in parts),
        groups=groups,
        parts=tuple(parts),
        sha256=digest(str(_REVISION), *(f"{part.weight} {part.sha256}" for part in parts)),
        readable=readable,
        asked=asked,
    )


def _asked(languages: str | None, specs: list[Spec], readable: tuple[str, ...]) -> dict[str, float]:
    """Return the language shares to reach: those given, else equal ones where the bundled text decides."""
    if languages is not None:
        return parse_languages(languages)
    if any(spec.location != "corpus" for spec in specs):
        return {}
    # A tokenizer that reveals no language (a byte-level or toy one) gets both.
    names = readable or corpus.LANGUAGES
    return {name: 1 / len(names) for name in names}


def _by_language(spec: Spec, wanted: Mapping[str, float]) -> list[Spec]:
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
    spec: Spec, options: CalibrationOptions, share: float, run_dir: Path
) -> tuple[list[Document], str | None]:
    """Return the documents drawn from one source that fills `share` of the tokens, and its hub commit."""
    max_chars = max(int(options.tokens * share * _CHARS_PER_TOKEN), 1)
    if spec.kind == "hub":
        return hub.fetch(spec, seed=options.seed, max_chars=max_chars, run_dir=run_dir)
    found: Iterable[Document]
    if spec.location == "pydoc":
        found = pieces(builtin.calibration_text())
    elif spec.kind == "builtin":
        language = spec.location.partition("/")[2]
        found = [e.document for e in corpus.entries("calibration") if e.language == language]
    else:
        found = files.read(Path(spec.location), spec.column)
    return draw(found, seed=options.seed, max_chars=max_chars), None


def hash_documents(documents: list[Document]) -> str:
    """Return the hex SHA-256 of documents in their order."""
    return digest(json.dumps(documents, ensure_ascii=False, separators=(",", ":")))


def _in_words(part: Part, *, alone: bool) -> str:
    name = part.source if part.revision is None else f"{part.source} at {part.revision[:12]}"
    return name if alone else f"{name} ({part.weight:.0%})"
