"""Read again the sources that an artifact was calibrated on, from where its manifest says they are."""

from __future__ import annotations

from pathlib import Path

from quantserve.core.errors import QuantserveError
from quantserve.quantize.artifact import Calibration
from quantserve.quantize.calibration import builtin, corpus, files
from quantserve.quantize.calibration.documents import Document, pieces
from quantserve.quantize.calibration.spec import parse


def recall(calibration: Calibration) -> list[Document] | None:
    """Return all documents of an artifact's calibration sources, as they are today.

    None says unknown: a source is a hub data set, moved or is unreadable, or was never recorded.
    """
    sources = [part.source for part in calibration.parts] or [calibration.source]
    documents: list[Document] = []
    try:
        for source in sources:
            if source in ("pydoc", builtin.SOURCE):
                documents += pieces(builtin.calibration_text())
                continue
            spec = parse(source)
            if spec.kind == "hub":
                return None
            if spec.kind == "builtin":
                documents += corpus.calibration_documents()
            else:
                documents += files.read(Path(spec.location), spec.column)
    except (QuantserveError, OSError):
        return None
    return documents or None
