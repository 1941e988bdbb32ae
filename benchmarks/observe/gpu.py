"""GPU power, memory and use by nvidia-smi, where there is one."""

from __future__ import annotations

import asyncio
import contextlib
import shutil

_QUERY = "power.draw,memory.used,utilization.gpu"


def parse(text: str) -> dict[str, float]:
    """Read nvidia-smi's CSV, one line per GPU, added up (use: the highest)."""
    power = memory = use = 0.0
    seen = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        with contextlib.suppress(ValueError, IndexError):
            power += float(cells[0])
            memory += float(cells[1]) * 2**20
            use = max(use, float(cells[2]))
            seen = True
    return {"gpu_power_w": power, "gpu_memory_bytes": memory, "gpu_use_percent": use} if seen else {}


async def sample() -> dict[str, float]:
    """One sample; empty without a GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    process = await asyncio.create_subprocess_exec(
        program,
        f"--query-gpu={_QUERY}",
        "--format=csv,noheader,nounits",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    return parse(out.decode()) if process.returncode == 0 else {}
