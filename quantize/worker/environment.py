"""The environment variables that the quantizing libraries need on this machine."""

from __future__ import annotations

import os
from pathlib import Path

_TCMALLOC = (
    "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
    "/usr/lib/aarch64-linux-gnu/libtcmalloc_minimal.so.4",
    "/usr/lib64/libtcmalloc_minimal.so.4",
)


def worker_environment() -> dict[str, str]:
    """Return this process's environment with our settings added; what the user set wins.

    Some virtual machines advertise AMX and then die on it, so oneDNN is kept below it: the cap leaves
    every other instruction set on and changes nothing where AMX is absent. tcmalloc spares the kernel
    the work of taking freed memory back after each layer; where it is absent glibc is told to keep it.
    """
    cpus = str(len(os.sched_getaffinity(0)))
    ours = {
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_FP16",
        "GPTQMODEL_CPU_WORKERS": cpus,
        "OMP_NUM_THREADS": cpus,
        # Threads that wait by spinning take the processor from each other where others work too.
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
        "MALLOC_TOP_PAD_": str(64 << 20),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }
    # The child runs in the user's folder and finds this package where its parent found it.
    root = str(Path(__file__).resolve().parents[2])
    path = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    found = next((path for path in _TCMALLOC if Path(path).exists()), None)
    if found:
        ours["LD_PRELOAD"] = found
    return {**ours, **os.environ, "PYTHONPATH": os.pathsep.join(path)}
