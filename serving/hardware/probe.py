"""Put the probe together: start the child, read its findings, keep them until the machine changes."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quantserve.core.files import one_at_a_time, write_json
from quantserve.core.machine import this_machine
from quantserve.serving.errors import HardwareError
from quantserve.serving.hardware.facts import AttentionTrial, GemmSpeed, Gpu, Hardware, from_json
from quantserve.serving.hardware.instructions import probe_instructions
from quantserve.serving.hardware.system import find_libraries, read_cpu, read_memory

_CHILD_TIMEOUT_S = 120.0


def torch_version() -> str | None:
    """Return the installed torch's version without importing it."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def machine_identity() -> str:
    """Hash of what a probe's result depends on; cheap enough to compute at every start."""
    cpu = read_cpu()
    return this_machine().identity(
        str(cpu.usable),
        str(cpu.quota_cores),
        str(read_memory().total_bytes),
        os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        torch_version() or "no torch",
        str(find_libraries()),
    )


def isa_caps(flags: frozenset[str]) -> list[str]:
    """Return oneDNN caps worth trying: none, and just below AMX where AMX is advertised ("-": no cap)."""
    caps = ["-"]
    if "amx_tile" in flags:
        caps.append("AVX512_CORE_FP16" if "avx512_fp16" in flags else "AVX512_CORE_BF16")
    return caps


def _run_child(caps: list[str]) -> list[dict[str, Any]]:
    environment = {k: v for k, v in os.environ.items() if k not in ("ONEDNN_MAX_CPU_ISA", "LD_PRELOAD")}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "quantserve.serving.hardware.child", *caps],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_CHILD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise HardwareError(
            f"the hardware probe did not end in {_CHILD_TIMEOUT_S:.0f} s",
            mend="Look whether other programs hold all cores",
        ) from error
    if done.returncode < 0:
        raise HardwareError(
            f"importing torch died by {signal.Signals(-done.returncode).name}",
            mend="This torch build does not run on this processor: install another",
        )
    if done.returncode > 0:
        lines = done.stderr.strip().splitlines()
        raise HardwareError(
            f"the hardware probe failed: {lines[-1] if lines else done.returncode}",
            mend="Repair the serving environment: quantserve setup",
        )
    findings: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    return findings


def probe_machine() -> Hardware:
    """Measure this machine; takes about ten seconds. Without torch there are no speeds and no GPUs.

    Raises:
        HardwareError: torch is installed and cannot be used at all.
    """
    start = time.perf_counter()
    flags = this_machine().flags
    version = torch_version()
    findings = _run_child(isa_caps(flags)) if version else []
    gpus: list[Gpu] = []
    for finding in findings:
        if finding["kind"] == "gpus":
            gpus = [
                Gpu(**{**gpu, "capability": tuple(gpu["capability"]), "peers": tuple(gpu["peers"])})
                for gpu in finding["value"]["found"]
            ]
    return Hardware(
        identity=machine_identity(),
        cpu=read_cpu(),
        memory_total_bytes=read_memory().total_bytes,
        instructions=probe_instructions(flags),
        gemm=tuple(GemmSpeed(**finding["value"]) for finding in findings if finding["kind"] == "gemm"),
        attention=tuple(AttentionTrial(**f["value"]) for f in findings if f["kind"] == "attention"),
        gpus=tuple(gpus),
        libraries=find_libraries(),
        torch_version=version,
        probed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        probe_s=round(time.perf_counter() - start, 1),
    )


def load_or_probe(
    cache: Path,
    *,
    refresh: bool = False,
    measure: Callable[[], Hardware] = probe_machine,
    identify: Callable[[], str] = machine_identity,
) -> Hardware:
    """Return the cached probe when it is of this machine, else probe and write the cache.

    Two processes never measure speeds at the same time: the second waits, and takes what the first found.
    """
    if not refresh and (known := _known(cache, identify)) is not None:
        return known
    with one_at_a_time(cache.with_suffix(".lock"), private=True):
        if not refresh and (known := _known(cache, identify)) is not None:
            return known
        fresh = measure()
        write_json(cache, fresh.to_json())
        return fresh


def _known(cache: Path, identify: Callable[[], str]) -> Hardware | None:
    if not cache.is_file():
        return None
    try:
        known = from_json(json.loads(cache.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        return None  # an older version's file; probing again mends it
    return known if known.identity == identify() else None
