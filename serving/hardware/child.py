"""The probe's child process: time matrix products and look at GPUs, one JSON line per finding.

    python -m serving.hardware.child [isa_cap …]        "-" stands for no cap

torch is imported once and each trial forks from there, before torch has started a thread.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from typing import Any

from serving.hardware.trial import in_child

_DTYPES = ("float32", "float16", "bfloat16")
_ROWS = (1, 32, 128, 512)
_WIDTH = 1024
_TIMED_S = 0.12


def time_gemm(dtype_name: str, isa_cap: str | None, threads: int) -> dict[str, float]:
    """Return GFLOP/s of X·Wᵀ with X [rows, 1024] and W [1024, 1024] for each number of rows.

    oneDNN reads its cap at first use, so this runs once per process.
    """
    if isa_cap is not None:
        os.environ["ONEDNN_MAX_CPU_ISA"] = isa_cap
    import torch

    torch.set_num_threads(threads)
    dtype = getattr(torch, dtype_name)
    weight = torch.randn(_WIDTH, _WIDTH).to(dtype)
    speeds: dict[str, float] = {}
    with torch.inference_mode():
        for rows in _ROWS:
            left = torch.randn(rows, _WIDTH).to(dtype)
            for _ in range(2):
                torch.nn.functional.linear(left, weight)
            best_s, end = float("inf"), time.perf_counter() + _TIMED_S
            while (start := time.perf_counter()) < end:
                torch.nn.functional.linear(left, weight)
                best_s = min(best_s, time.perf_counter() - start)
            # The best call, not the mean: other programs may be using the cores meanwhile.
            speeds[str(rows)] = round(2 * rows * _WIDTH * _WIDTH / best_s / 1e9, 1)
    return speeds


def list_gpus() -> list[dict[str, Any]]:
    """Return every CUDA device torch sees; needs a process that has not initialised CUDA yet."""
    import torch

    if not torch.cuda.is_available():
        return []
    count = torch.cuda.device_count()
    gpus: list[dict[str, Any]] = []
    for index in range(count):
        free_bytes, total_bytes = torch.cuda.mem_get_info(index)
        gpus.append(
            {
                "index": index,
                "name": torch.cuda.get_device_name(index),
                "capability": list(torch.cuda.get_device_capability(index)),
                "total_bytes": total_bytes,
                "free_bytes": free_bytes,
                "peers": [
                    other
                    for other in range(count)
                    if other != index and torch.cuda.can_device_access_peer(index, other)
                ],
            }
        )
    return gpus


def _say(kind: str, value: Any) -> None:
    sys.stdout.write(json.dumps({"kind": kind, "value": value}) + "\n")
    sys.stdout.flush()


def main(isa_caps: list[str]) -> None:
    """Print the torch version, the GPUs and one line per dtype and cap."""
    import torch

    _say("torch", torch.__version__)
    gpus = in_child(list_gpus, 30.0)
    _say("gpus", {"found": gpus.value or [], "failure": gpus.failure})
    if gpus.value:
        return  # the GPU computes; the processor's speed decides nothing
    threads = len(os.sched_getaffinity(0))
    for name in isa_caps:
        cap = None if name == "-" else name
        for dtype in _DTYPES:
            outcome = in_child(partial(time_gemm, dtype, cap, threads))
            _say(
                "gemm",
                {"dtype": dtype, "isa_cap": cap, "gflops": outcome.value, "failure": outcome.failure},
            )


if __name__ == "__main__":
    main(sys.argv[1:])
