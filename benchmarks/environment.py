"""Where a run was made: hardware and versions, without anything private (no paths, no host name)."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from typing import Any

import psutil

from quantserve.core.machine import this_machine

_PACKAGES = ("httptools", "uvloop", "numpy", "openai", "llama-index-core", "faiss-cpu")
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8", "avx512_vnni")


def cpu() -> dict[str, Any]:
    """Model, cores, and the instruction sets that decide speed, as the machine advertises them."""
    machine = this_machine()
    return {
        "model": machine.processor,
        "cores": os.cpu_count(),
        "usable_cores": machine.cores,
        "advertises": machine.advertised(_FLAGS),
    }


def gpus() -> list[str]:
    """Names of NVIDIA GPUs, by nvidia-smi."""
    try:
        out = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return out.stdout.strip().splitlines()


def commit() -> str | None:
    """The source's commit, with `+` when files differ from it."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if dirty else "")


def collect() -> dict[str, Any]:
    """Everything a reader needs to place the figures."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": cpu(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": gpus(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": versions,
        "commit": commit(),
        "load_average_before": os.getloadavg()[0],
    }
