"""Where generated files, environments and shipped data are; every program asks here.

    generated("run")            the default of an option: run, or /data/run with QUANTSERVE_HOME=/data
    found_at_home(sys.argv)     models/NAME on a command line, from any folder
    python_of("serving")        the interpreter of an environment
    shipped("requirements")     data that comes with the project, in a checkout or in a wheel

QUANTSERVE_HOME says where generated files are kept: without it a program uses the current folder, and the
command `quantserve` the checkout it was installed from, or quantserve's folder among the user's data.
QUANTSERVE_ENVIRONMENTS says where the environments are: without it .venvs of the checkout, or at home.

What a user writes is relative to where he is, as everywhere; only what is not there and is one of the
generated folders' is looked for at home.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

import quantserve

VARIABLE = "QUANTSERVE_HOME"
ENVIRONMENTS = "QUANTSERVE_ENVIRONMENTS"
CHECKOUT = quantserve.CHECKOUT
"""The folder of the checkout that runs; None where a wheel is installed."""
FOLDERS = ("models", "artifacts", "run", "runs")
"""What the programs generate."""


def home(otherwise: Path = Path()) -> Path:
    """Return the folder, absolute; it need not exist yet. `otherwise`: where the variable is not set."""
    return Path(os.environ.get(VARIABLE) or otherwise).resolve()


def command_home() -> Path:
    """Return the home of the command `quantserve`, which is the same from every folder."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "quantserve"
    return home(CHECKOUT or data)


def environments() -> Path:
    """Return the folder of the virtual environments, absolute; it need not exist yet."""
    named = os.environ.get(ENVIRONMENTS)
    return Path(named).resolve() if named else (CHECKOUT or command_home()) / ".venvs"


def python_of(environment: str) -> Path:
    """Return the interpreter of an environment; it need not be made yet."""
    return environments() / environment / "bin" / "python"


def shipped(name: str) -> Path:
    """Return a folder of data that comes with the project: requirements, samples."""
    return next(path for path in (Path(root, name) for root in quantserve.__path__) if path.is_dir())


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
