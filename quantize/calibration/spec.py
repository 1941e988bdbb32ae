"""How a calibration source is written on the command line.

    SOURCE[?column=NAME&split=NAME&config=NAME][:WEIGHT]

SOURCE is `corpus` (the bundled text; `corpus/en`, `corpus/ko` for one language), `pydoc` (Python's own
reference, English), a file or folder (text, Markdown, JSONL, Parquet), one of the names c4, wikitext and
klue, or a hub data set id OWNER/NAME[@REVISION]. WEIGHT is its share beside the others, 1 when left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl

from quantserve.core.errors import UsageError

_HUB_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
_OPTIONS = ("column", "split", "config")
BUILT_IN = ("corpus", "corpus/en", "corpus/ko", "pydoc")


@dataclass(frozen=True)
class SourceSpec:
    """One source. `kind` is builtin, path or hub; `location` the name, the path or the data set's id.

    written: the source as the user wrote it, without the weight.
    column, split, config: which part of a table or of a data set; None takes what is usual.
    revision: of a hub data set; None is its main branch.
    joined: consecutive rows belong together (wikitext gives a line a row).
    """

    written: str
    kind: str
    location: str
    weight: float = 1.0
    column: str | None = None
    split: str | None = None
    config: str | None = None
    revision: str | None = None
    joined: bool = False


# Data sets that papers calibrate on, under the names they use.
KNOWN = {
    "c4": SourceSpec("c4", "hub", "allenai/c4", config="en", split="train", column="text"),
    "wikitext": SourceSpec(
        "wikitext",
        "hub",
        "Salesforce/wikitext",
        config="wikitext-2-raw-v1",
        split="train",
        column="text",
        joined=True,
    ),
    "klue": SourceSpec("klue", "hub", "klue/klue", config="mrc", split="train", column="context"),
}


def parse_source(argument: str) -> SourceSpec:
    """Read one `--calibration` argument.

    Raises:
        UsageError: it names nothing that exists, an unknown option, or a weight that is no positive number.
    """
    written, weight = _weight(argument)
    name, _, query = written.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for key in options:
        if key not in _OPTIONS:
            raise UsageError(
                f"--calibration {argument}: unknown option {key}", mend=f"Use {', '.join(_OPTIONS)}"
            )
    place = _place(name)
    return replace(
        place,
        written=written,
        weight=weight,
        column=options.get("column", place.column),
        split=options.get("split", place.split),
        config=options.get("config", place.config),
    )


def _weight(argument: str) -> tuple[str, float]:
    written, colon, last = argument.rpartition(":")
    if not colon or not re.fullmatch(r"[+-]?[\d.]+", last):
        return argument, 1.0
    try:
        weight = float(last)
    except ValueError:
        weight = 0.0
    if weight <= 0:
        raise UsageError(
            f"--calibration {argument}: the weight {last} is not a positive number",
            mend="Write SOURCE or SOURCE:0.5",
        )
    return written, weight


def _place(name: str) -> SourceSpec:
    if name in BUILT_IN:
        return SourceSpec(name, "builtin", name)
    if Path(name).exists():
        return SourceSpec(name, "path", name)
    base, _, revision = name.partition("@")
    if base in KNOWN:
        return replace(KNOWN[base], revision=revision or None)
    match = _HUB_ID.fullmatch(name)
    if match and Path(name).suffix.lower() not in (".txt", ".md", ".jsonl", ".parquet"):
        return SourceSpec(name, "hub", match["id"], revision=match["revision"])
    raise UsageError(
        f"The calibration source {name} does not exist",
        mend=f"Name a file, a folder, a hub data set OWNER/NAME, or one of {', '.join((*BUILT_IN, *KNOWN))}",
    )
