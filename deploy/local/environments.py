"""Which environments there are, what goes into each, and whether one is up to date. Standard library only."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from quantserve.core.errors import UsageError
from quantserve.core.files import write_json
from quantserve.core.home import CHECKOUT, ENVIRONMENTS, environments, shipped

REQUIREMENTS = shipped("requirements")
ACCELERATORS = ("cpu", "cuda")
# gptqmodel looks at the torch it is built beside, so it is installed last and without isolation.
BUILT_LAST = ("gptqmodel",)


@dataclass(frozen=True)
class Environment:
    """One virtual environment.

    Attributes:
        name: its folder among the environments.
        pins: the compiled requirements file it is made from.
        torch_backend: uv's name of the torch build to take where no wheel directory is given.
        compiled: whether bytecode is made at installation. The engine is three processes that start at
            nearly the same time, and each would compile the same thousands of files at its first start.
        disk_gb: free space its installation needs, measured with the download cache and rounded up.
    """

    name: str
    pins: Path
    torch_backend: str
    disk_gb: float
    compiled: bool = False

    @property
    def path(self) -> Path:
        """The environment's folder."""
        return environments() / self.name

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.path / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """The file that says what was installed; written last."""
        return self.path / "quantserve.json"

    def wanted(self) -> dict[str, str]:
        """Return what the stamp must hold for the environment to be up to date."""
        return {**self._pinned(), **_project()}

    def _pinned(self) -> dict[str, str]:
        return {"pins": self.pins.name, "pins_sha256": _sha256(self.pins)}

    def installed(self) -> dict[str, str]:
        """Return what was installed; nothing where the environment was not made whole."""
        if not (self.stamp.is_file() and self.python.exists()):
            return {}
        stamp: dict[str, str] = json.loads(self.stamp.read_text(encoding="utf-8"))
        return stamp

    def up_to_date(self) -> bool:
        """Whether the environment was made whole from these pins, for this quantserve.

        Those that QUANTSERVE_ENVIRONMENTS names may be another's, whose quantserve they keep.
        """
        return self.has_its_pins() if ENVIRONMENTS in os.environ else self.installed() == self.wanted()

    def has_its_pins(self) -> bool:
        """Whether its libraries are right, and at most quantserve itself is another."""
        return self.installed().items() >= self._pinned().items()

    def mark(self) -> None:
        """Write the stamp."""
        write_json(self.stamp, self.wanted())


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _project() -> dict[str, str]:
    """Return what an environment must be linked with: this checkout's packages and command, or this wheel."""
    if CHECKOUT is None:
        return {"project": str(REQUIREMENTS.parent)}
    definition = _sha256(CHECKOUT / "pyproject.toml") + _sha256(CHECKOUT / "setup.py")
    return {"project": str(CHECKOUT), "definition": hashlib.sha256(definition.encode()).hexdigest()}


def tcmalloc_installed() -> bool:
    """Whether Debian's libtcmalloc-minimal4 is there, which the engine and the quantizers preload."""
    return any(Path("/usr/lib").glob("*/libtcmalloc_minimal.so.4"))


def accelerator(wanted: str = "") -> str:
    """Return `cuda` or `cpu`: what is wanted, or what the machine has.

    Raises:
        UsageError: something else is wanted.
    """
    if wanted and wanted not in ACCELERATORS:
        raise UsageError(f"the accelerator {wanted} is unknown", mend=f"Use {' or '.join(ACCELERATORS)}")
    if wanted:
        return wanted
    has_gpu = shutil.which("nvidia-smi") is not None and Path("/proc/driver/nvidia").exists()
    return "cuda" if has_gpu else "cpu"


BASE = Environment("base", REQUIREMENTS / "base.txt", "cpu", 0.2)
"""The command `quantserve` itself; of an installed wheel, the environment it was installed into."""


def environments_for(accel: str) -> tuple[Environment, ...]:
    """Return the environments of an accelerator, smallest download first."""
    kind, backend = ("gpu", "cu130") if accel == "cuda" else ("cpu", "cpu")
    big = 14.0 if accel == "cuda" else 4.0
    return (
        *([BASE] if CHECKOUT is not None else []),
        Environment("rag", REQUIREMENTS / "rag.txt", "cpu", 3.0),
        Environment("quantize", REQUIREMENTS / f"quantize-{kind}.txt", backend, 8.0 if big > 5 else 3.0),
        Environment("serving", REQUIREMENTS / f"serving-{kind}.txt", backend, big, compiled=True),
    )
