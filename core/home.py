"""Where generated files are kept: the current folder, or QUANTSERVE_HOME; every program asks here.

    generated("run")            the default of an option: run, or /data/run with QUANTSERVE_HOME=/data
    found_at_home(sys.argv)     models/NAME on a command line, from any folder

What a user writes is relative to where he is, as everywhere; only what is not there and is one of the
generated folders' is looked for at home.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

VARIABLE = "QUANTSERVE_HOME"
FOLDERS = ("models", "artifacts", "run", "runs")
"""What the programs generate."""


def home(otherwise: Path = Path()) -> Path:
    """Return the folder, absolute; it need not exist yet. `otherwise`: where the variable is not set."""
    return Path(os.environ.get(VARIABLE) or otherwise).resolve()


def generated(name: str) -> Path:
    """Return the path of a generated file or folder: as it is named where home is the current folder."""
    return Path(name) if home() == Path.cwd() else home() / name


def found_at_home(words: Sequence[str]) -> list[str]:
    """Return a command line with names such as models/NAME or --index=run/index replaced by those at home.

    Only where nothing of that name is in the current folder, and something is at home.
    """
    return [_found(word) for word in words]


def _found(word: str) -> str:
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    parts = PurePath(value).parts
    if len(parts) < 2 or parts[0] not in FOLDERS or "\0" in value:
        return word
    if Path(value).exists() or not (home() / value).exists():
        return word
    return f"{option}{equals}{generated(value)}"
