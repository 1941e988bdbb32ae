"""The probe's child process: time matrix products and look at GPUs, one JSON line per finding.

    python -m quantserve.serving.hardware.child [isa_cap …]        "-" stands for no cap

torch is imported once and each trial forks from there, before torch has started a thread.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import time
from functools import partial
from typing import Any

from quantserve.serving.amx import request_tiles
from quantserve.serving.hardware.trial import in_child

_DTYPES = ("float32", "float16", "bfloat16")
_ROWS = (1, 32, 128, 512)
_WIDTH = 1024
_TIMED_S = 0.12


def time_gemm(dtype_name: str, isa_cap: str | None) -> dict[str, float]:
    """Return one core's GFLOP/s of X·Wᵀ with X [rows, 1024] and W [1024, 1024] per number of rows.

    One thread, because threads that wait for each other on a busy machine measure its load.
    oneDNN reads its cap at first use, so this runs once per process.
    """
    if isa_cap is not None:
        os.environ["ONEDNN_MAX_CPU_ISA"] = isa_cap
    import torch

    torch.set_num_threads(1)
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


def attention_kernel(dtype_name: str) -> str:
    """Return the kernel vLLM would pick for a 128-token block, as its cpu_attn backend does."""
    import torch

    if dtype_name == "bfloat16" and torch.cpu._is_amx_tile_supported():
        return "amx"
    return "neon" if platform.machine() == "aarch64" else "vec"


def try_attention(dtype_name: str, kernel: str) -> bool:
    """Run vLLM's paged attention over 40 tokens of 4 heads on 2 KV heads and look at the result.

    Raises:
        ValueError: it computed nothing.
    """
    request_tiles()
    import torch

    dtype, tokens, heads, kv_heads, width, block = getattr(torch, dtype_name), 40, 4, 2, 64, 128
    cache = torch.zeros(1, kv_heads, 2 * block, width, dtype=dtype)
    keys, values = cache.chunk(2, dim=2)
    query = torch.randn(tokens, heads, width).to(dtype)
    key, value = (torch.randn(tokens, kv_heads, width).to(dtype) for _ in range(2))
    starts = torch.tensor([0, tokens], dtype=torch.int32)
    lengths = torch.tensor([tokens], dtype=torch.int32)
    blocks = torch.tensor([[0]], dtype=torch.int32)
    ops = torch.ops._C
    ops.cpu_attn_reshape_and_cache(key, value, keys, values, torch.arange(tokens), kernel, 1.0, 1.0, "auto")
    schedule = ops.get_scheduler_metadata(
        1, heads, kv_heads, width, lengths, dtype, starts, True, -1, kernel, True, None, "auto"
    )
    out = torch.zeros(tokens, heads, width, dtype=dtype)
    ops.cpu_attention_with_kv_cache(
        query, keys, values, out, starts, lengths, width**-0.5, True, None, -1, blocks, 0.0, schedule,
        None, None, 1.0, 1.0, "auto",
    )  # fmt: skip
    if not 0 < float(out.float().norm()) < float("inf"):
        raise ValueError("the attention kernel computed nothing")
    return True


def _try_all_attention() -> None:
    """Try each format, where vLLM is installed."""
    try:
        importlib.import_module("vllm._C")
    except ImportError:
        return
    for dtype in _DTYPES:
        kernel = attention_kernel(dtype)
        outcome = in_child(partial(try_attention, dtype, kernel))
        _say(
            "attention",
            {"dtype": dtype, "kernel": kernel, "lives": outcome.value is True, "failure": outcome.failure},
        )


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
    for name in isa_caps:
        cap = None if name == "-" else name
        for dtype in _DTYPES:
            outcome = in_child(partial(time_gemm, dtype, cap))
            _say(
                "gemm",
                {"dtype": dtype, "isa_cap": cap, "gflops": outcome.value, "failure": outcome.failure},
            )
    _try_all_attention()


if __name__ == "__main__":
    main(sys.argv[1:])
