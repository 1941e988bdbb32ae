"""What NVIDIA's own tool says, for machines where torch sees no GPU though there is one."""

from __future__ import annotations

import shutil
import subprocess


def driver_report() -> str | None:
    """Return "name, driver version, memory" of each GPU; None without nvidia-smi; "" when it fails."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        done = subprocess.run(
            [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
