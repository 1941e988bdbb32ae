"""Call AMD's matrix product again and again, and print the bytes that are still allocated, for each call.

python tests/integration/serving/call_operators.py COMPILED      one line of JSON

COMPILED is 1 to call it from compiled code, as an engine that compiles does.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

from quantserve.serving import zen
from quantserve.serving.hardware.system import find_libraries

CALLS = 20_000


class Mallinfo(ctypes.Structure):
    """glibc's struct mallinfo2; `uordblks` is what is allocated and not freed."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def allocated() -> int:
    libc = ctypes.CDLL("libc.so.6")
    libc.mallinfo2.restype = Mallinfo
    return int(libc.mallinfo2().uordblks)


def measure(library: str, compiled: bool) -> float:
    os.environ[zen.VARIABLE] = library
    sys.argv = ["vllm"] if compiled else ["vllm", "--enforce-eager"]
    zen.prepare()
    import torch

    inputs, weight = torch.ones(1, 32, dtype=torch.bfloat16), torch.ones(32, 32, dtype=torch.bfloat16)

    def product(of: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.ops.zentorch.zentorch_linear_unary(of, weight)
        return result

    asked = torch.compile(product) if compiled else product
    with torch.inference_mode():
        assert asked(inputs).eq(32).all()
        for _ in range(1000):
            asked(inputs)
        before = allocated()
        for _ in range(CALLS):
            asked(inputs)
        return (allocated() - before) / CALLS


if __name__ == "__main__":
    found = find_libraries().zentorch
    kept = measure(found, sys.argv[1] == "1") if found else None
    sys.stdout.write(json.dumps({"library": found, "bytes_a_call": kept}) + "\n")
