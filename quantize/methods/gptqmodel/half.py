"""Which 16-bit type this machine multiplies faster: processors differ tenfold. Needs torch."""

from __future__ import annotations

from time import perf_counter

import torch

_SIZE = 512
_REPEATS = 5


def _seconds(dtype: torch.dtype) -> float:
    a = torch.ones(_SIZE, _SIZE, dtype=dtype)
    torch.nn.functional.linear(a, a)
    started = perf_counter()
    for _ in range(_REPEATS):
        torch.nn.functional.linear(a, a)
    return perf_counter() - started


def faster_half() -> torch.dtype:
    """Return float16 or bfloat16, whichever a small matrix product runs faster in; float16 on CUDA."""
    if torch.cuda.is_available():
        return torch.float16
    return min((torch.float16, torch.bfloat16), key=_seconds)
