"""Which environments there are, what goes into each, and whether one is up to date."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from quantserve.core.errors import UsageError
from quantserve.core.files import write_json
from quantserve.core.home import home

ROOT = Path(__file__).resolve().parents[2]
VENVS = ROOT / ".venvs"
# Where models/, artifacts/, run/ and runs/ are kept; the repository unless QUANTSERVE_HOME says otherwise.
HOME = home(ROOT)
ACCELERATORS = ("cpu", "cuda")
# gptqmodel looks at the torch it is built beside, so it is installed last and without isolation.
BUILT_LAST = ("gptqmodel",)


@dataclass(frozen=True)
class Environment:
    """One virtual environment.

    Attributes:
        name: its folder under .venvs/.
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
        return VENVS / self.name

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
        pins = hashlib.sha256(self.pins.read_bytes()).hexdigest()
        return {"pins": self.pins.name, "pins_sha256": pins, "root": str(ROOT)}

    def up_to_date(self) -> bool:
        """Whether the environment was made whole from these pins, here."""
        if not (self.stamp.is_file() and self.python.exists()):
            return False
        stamp: dict[str, str] = json.loads(self.stamp.read_text(encoding="utf-8"))
        return stamp == self.wanted()

    def mark(self) -> None:
        """Write the stamp."""
        write_json(self.stamp, self.wanted())


def tcmalloc_installed() -> bool:
    """Whether Debian's libtcmalloc-minimal4 is there, which the engine and the quantizers preload."""
    return any(Path("/usr/lib").glob("*/libtcmalloc_minimal.so.4"))


def accelerator() -> str:
    """Return `cuda` or `cpu`: the ACCEL variable, or what the machine has.

    Raises:
        UsageError: ACCEL is something else.
    """
    wanted = os.environ.get("ACCEL", "")
    if wanted and wanted not in ACCELERATORS:
        raise UsageError(f"ACCEL={wanted} is unknown", mend="Use ACCEL=cpu or ACCEL=cuda")
    if wanted:
        return wanted
    has_gpu = shutil.which("nvidia-smi") is not None and Path("/proc/driver/nvidia").exists()
    return "cuda" if has_gpu else "cpu"


def environments(accel: str) -> tuple[Environment, ...]:
    """Return the three environments for an accelerator, smallest download first."""
    requirements = ROOT / "requirements"
    kind, backend = ("gpu", "cu130") if accel == "cuda" else ("cpu", "cpu")
    big = 14.0 if accel == "cuda" else 4.0
    return (
        Environment("rag", requirements / "rag.txt", "cpu", 3.0),
        Environment("quantize", requirements / f"quantize-{kind}.txt", backend, 8.0 if big > 5 else 3.0),
        Environment("serving", requirements / f"serving-{kind}.txt", backend, big, compiled=True),
    )
