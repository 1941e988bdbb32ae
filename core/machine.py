"""Which machine is this? Processor, usable cores, NVIDIA devices; what a measurement depends on."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Machine:
    """What decides speed and data types here."""

    processor: str
    """Its model's name."""
    vendor: str
    flags: frozenset[str]
    """The instruction sets it advertises; not all of them need work (serving.hardware tries)."""
    cores: int
    """Usable by this process."""
    gpus: tuple[str, ...]
    """Models of the NVIDIA devices, one each."""

    def identity(self, *versions: str) -> str:
        """Return a hash of it and of what else a measurement depends on, such as library versions."""
        parts = [self.processor, *sorted(self.flags), str(self.cores), *self.gpus, *versions]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def advertised(self, of: Iterable[str]) -> list[str]:
        """Return those of some instruction sets that it advertises, in their order."""
        return [flag for flag in of if flag in self.flags]


def this_machine() -> Machine:
    """Read it from the operating system; nothing is started and no library asked."""
    info = cpuinfo()
    return Machine(
        processor=info.get("model name")
        or info.get("CPU part")
        or platform.processor()
        or platform.machine(),
        vendor=info.get("vendor_id", "unknown"),
        flags=frozenset((info.get("flags") or info.get("Features") or "").split()),
        cores=len(os.sched_getaffinity(0)),
        gpus=tuple(
            path.read_text(encoding="utf-8").partition("\n")[0].partition(":")[2].strip()
            for path in sorted(_GPUS.glob("*/information"))
        ),
    )


def cpuinfo() -> dict[str, str]:
    """Return the first processor's fields of /proc/cpuinfo; empty where there is none."""
    fields: dict[str, str] = {}
    if not _CPUINFO.is_file():
        return fields
    for line in _CPUINFO.read_text(encoding="utf-8").splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            break
        fields[key.strip()] = value.strip()
    return fields
