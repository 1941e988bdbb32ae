"""Look at everything that commonly goes wrong; each finding says its mend. Changes nothing.

Works before the environments exist: a check whose library is missing says so instead of failing.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quantserve.core.errors import ResourceError
from quantserve.core.sizes import binary_size
from quantserve.serving.dtype import bfloat16_dies, gemm_needs_cap
from quantserve.serving.hardware.driver import driver_report
from quantserve.serving.hardware.facts import Hardware
from quantserve.serving.hardware.system import read_memory
from quantserve.serving.prepare import WITH_ENGINE, engine_is_here

GIB = 1 << 30
_ENVIRONMENTS = ("quantize", "serving", "rag")
_DISK_LOW_BYTES = 10 * GIB
_MEMORY_LOW_BYTES = 6 * GIB

Level = Literal["good", "warning", "bad"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `mend` is empty when nothing is to be done."""

    level: Level
    what: str
    found: str
    mend: str = ""


def check_tools(root: Path) -> Iterator[Finding]:
    """Python, uv and the three environments."""
    version = sys.version.split()[0]
    right = sys.version_info[:2] == (3, 11)
    yield Finding("good" if right else "bad", "Python", version, "" if right else "Install Python 3.11")
    uv = root / ".venvs/uv/bin/uv"
    found_uv = str(uv) if uv.is_file() else shutil.which("uv")
    yield Finding(
        "good" if found_uv else "warning", "uv", found_uv or "absent", "" if found_uv else "make setup"
    )
    for name in _ENVIRONMENTS:
        present = (root / ".venvs" / name / "bin/python").is_file()
        yield Finding(
            "good" if present else "bad",
            f"environment {name}",
            "present" if present else "absent",
            "" if present else "make setup",
        )
    engine = engine_is_here()
    yield Finding(
        "good" if engine else "warning",
        "vLLM",
        "importable here" if engine else "not in this Python",
        "" if engine else WITH_ENGINE,
    )


def check_room(root: Path) -> Iterator[Finding]:
    """Disk and memory."""
    free = shutil.disk_usage(root).free
    low = free < _DISK_LOW_BYTES
    yield Finding(
        "warning" if low else "good",
        "disk",
        f"{binary_size(free)} free",
        "Free some: environments, models and artifacts take about 10 GiB" if low else "",
    )
    memory = read_memory()
    low = memory.available_bytes < _MEMORY_LOW_BYTES
    yield Finding(
        "warning" if low else "good",
        "memory",
        f"{binary_size(memory.available_bytes)} of {binary_size(memory.total_bytes)} available",
        "Close programs: the default model takes up to 8 GiB" if low else "",
    )


def check_port(host: str, port: int, ours: bool) -> Iterator[Finding]:
    """Whether the default port can be had, or is already held by our own server."""
    if importlib.util.find_spec("psutil") is None:
        return
    from quantserve.serving.ports import claim_port

    try:
        claim_port(host, port)
    except ResourceError as error:
        level: Level = "good" if ours else "warning"
        yield Finding(
            level, f"port {port}", "our server" if ours else error.problem, "" if ours else error.mend
        )
        return
    yield Finding("good", f"port {port}", "free")


def check_hardware(hardware: Hardware) -> Iterator[Finding]:
    """Processors, instruction sets, speeds, libraries and GPUs."""
    cpu = hardware.cpu
    quota = "" if cpu.quota_cores is None else f", limited to {cpu.quota_cores:g}"
    yield Finding("good", "processor", f"{cpu.model}, {len(cpu.usable)} usable{quota}")
    yield Finding("good", "NUMA", f"{len(cpu.numa_nodes)} node(s)")
    advertised = [item for item in hardware.instructions if item.advertised]
    for item in advertised:
        if item.lies:
            yield Finding(
                "warning", item.name, f"advertised, dies by {item.detail}", "None needed: the plan avoids it"
            )
    if advertised:
        alive = ", ".join(item.name for item in advertised if item.executes)
        yield Finding("good", "instruction sets that run", alive or "none")
    yield from _check_speeds(hardware)
    yield from _check_libraries(hardware)
    yield from _check_gpus(hardware)


def _check_speeds(hardware: Hardware) -> Iterator[Finding]:
    if hardware.torch_version is None:
        yield Finding("bad", "torch", "absent", "make setup")
        return
    yield Finding("good", "torch", hardware.torch_version)
    if hardware.gpus:
        return
    for speed in hardware.gemm:
        cap = f" below {speed.isa_cap}" if speed.isa_cap else ""
        if speed.gflops is None:
            yield Finding(
                "warning",
                f"{speed.dtype}{cap}",
                f"dies by {speed.failure}",
                "None needed: the plan avoids it",
            )
        else:
            shapes = ", ".join(f"m={rows}: {value:.0f}" for rows, value in speed.gflops.items())
            yield Finding("good", f"{speed.dtype}{cap}", f"{shapes} GFLOP/s on one core")
    for trial in hardware.attention:
        if not trial.lives:
            yield Finding(
                "warning",
                f"vLLM attention in {trial.dtype}",
                f"kernel {trial.kernel} dies by {trial.failure}",
                "None needed: the plan avoids it",
            )
    if gemm_needs_cap(hardware) or bfloat16_dies(hardware):
        yield Finding(
            "warning",
            "AMX",
            "does not work here: the machine claims more than it can",
            "The plan sets a number format and ONEDNN_MAX_CPU_ISA that live",
        )


def _check_libraries(hardware: Hardware) -> Iterator[Finding]:
    wanted = (
        (
            "tcmalloc",
            hardware.libraries.tcmalloc,
            "apt-get install libtcmalloc-minimal4 (about a fifth faster)",
        ),
        ("libiomp5", hardware.libraries.iomp, "make setup (the package intel-openmp; faster thread pools)"),
    )
    for name, path, mend in wanted:
        yield Finding("good" if path else "warning", name, path or "absent", "" if path else mend)
    if hardware.libraries.zentorch:
        yield Finding("good", "zentorch", hardware.libraries.zentorch)


def _check_gpus(hardware: Hardware) -> Iterator[Finding]:
    for gpu in hardware.gpus:
        major, minor = gpu.capability
        peers = f", reads {list(gpu.peers)} directly" if gpu.peers else ""
        yield Finding(
            "good" if (major, minor) >= (7, 5) else "bad",
            f"GPU {gpu.index}",
            f"{gpu.name}, compute {major}.{minor}, {gpu.total_bytes / GIB:.0f} GiB{peers}",
            "" if (major, minor) >= (7, 5) else "vLLM needs compute capability 7.5",
        )
    report = driver_report()
    if hardware.gpus:
        yield Finding("good" if report else "warning", "GPU driver", report or "nvidia-smi does not answer")
    elif report is None:
        yield Finding("good", "GPU", "none: the processor computes")
    else:
        yield Finding(
            "warning",
            "GPU",
            f"torch sees none, nvidia-smi says: {report or 'nothing'}",
            "ACCEL=cuda make setup; if that fails, install the NVIDIA driver",
        )
