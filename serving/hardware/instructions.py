"""Execute one instruction of each x86 instruction set the plan cares about.

A virtual machine may pass on the flag and not the silicon, so each claim is tried: a few bytes of
machine code run in a forked child, where SIGILL is an answer. Encodings are from the Intel SDM, vol. 2.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
from functools import partial

from quantserve.serving.amx import request_tiles
from quantserve.serving.hardware.facts import Instruction
from quantserve.serving.hardware.trial import in_child

_RET = "c3"
# ldtilecfg (%rdi); tilezero %tmm0, 1, 2; <the product>; tilerelease
_AMX = "c4e2784907 c4e27b49c0 c4e27b49c8 c4e27b49d0 {product} c4e27849c0"

# Flag in /proc/cpuinfo → machine code of one instruction of that set.
_CODE = {
    "avx2": "c5fdfec0",  # vpaddd %ymm0,%ymm0,%ymm0
    "avx512f": "62f17c4858c0",  # vaddps %zmm0,%zmm0,%zmm0
    "avx512_vnni": "62f27d4850c0",  # vpdpbusd %zmm0,%zmm0,%zmm0
    "avx512_bf16": "62f27e4852c0",  # vdpbf16ps %zmm0,%zmm0,%zmm0
    "avx512_fp16": "62f57c4858c0",  # vaddph %zmm0,%zmm0,%zmm0
    "amx_bf16": _AMX.format(product="c4e26a5cc1"),  # tdpbf16ps %tmm2,%tmm1,%tmm0
    "amx_int8": _AMX.format(product="c4e26b5ec1"),  # tdpbssd %tmm2,%tmm1,%tmm0
}


def _tile_configuration() -> bytes:
    """Palette 1 with three tiles of 16 rows by 64 bytes."""
    config = bytearray(64)
    config[0] = 1
    for tile in range(3):
        config[16 + 2 * tile] = 64
        config[48 + tile] = 16
    return bytes(config)


def _execute(code: bytes, amx: bool) -> bool:
    if amx and not request_tiles():
        raise OSError("the kernel grants no tile registers")
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    ctypes.CFUNCTYPE(None, ctypes.c_char_p)(address)(_tile_configuration())
    return True


def probe_instructions(flags: frozenset[str]) -> tuple[Instruction, ...]:
    """Try each advertised instruction set; those not advertised are not tried."""
    if platform.machine() != "x86_64":
        return ()
    found: list[Instruction] = []
    for name, code in _CODE.items():
        if name not in flags:
            found.append(Instruction(name, advertised=False, executes=None))
            continue
        outcome = in_child(partial(_execute, bytes.fromhex(code + _RET), name.startswith("amx")), 5.0)
        found.append(
            Instruction(
                name,
                advertised=True,
                executes=outcome.failure is None,
                detail=outcome.failure or "",
            )
        )
    return tuple(found)
