"""What the operating system says: processors, memory, NUMA, control-group limits, libraries."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from quantserve.core.machine import this_machine
from quantserve.serving.hardware.facts import Cpu, Libraries, Memory

_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # cgroup v1 writes a huge number for "no limit"
_LIBRARY_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)


def parse_id_list(text: str) -> tuple[int, ...]:
    """Expand the kernel's list form: "0-3,8" is 0, 1, 2, 3, 8."""
    ids: list[int] = []
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            ids.extend(range(int(first), int(last or first) + 1))
    return tuple(ids)


def format_id_list(ids: tuple[int, ...]) -> str:
    """Compress ids into the form `parse_id_list` reads."""
    parts: list[str] = []
    for value in sorted(ids):
        if parts and int(parts[-1].rpartition("-")[2]) == value - 1:
            parts[-1] = f"{parts[-1].partition('-')[0]}-{value}"
        else:
            parts.append(str(value))
    return ",".join(parts)


def _read_int(path: Path) -> int | None:
    try:
        value = int(path.read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return value if 0 <= value < _UNLIMITED else None


def _cgroup_quota() -> float | None:
    """CPU limit in cores, from cgroup v2's cpu.max or v1's cfs files."""
    try:
        quota, period = (_CGROUP / "cpu.max").read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        quota_us = _read_int(_CGROUP / "cpu/cpu.cfs_quota_us")
        period_us = _read_int(_CGROUP / "cpu/cpu.cfs_period_us")
        return quota_us / period_us if quota_us and period_us else None


def read_memory() -> Memory:
    """Read total and available memory, the tighter of the machine's and the control group's."""
    fields: dict[str, int] = {}
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        fields[key] = int(value.split()[0]) * 1024
    total, available = fields["MemTotal"], fields["MemAvailable"]
    for limit_name, usage_name in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit, usage = _read_int(_CGROUP / limit_name), _read_int(_CGROUP / usage_name)
        if limit is not None and limit < total:
            total = limit
            # The group's usage counts page cache, which the kernel gives back under pressure.
            reclaimable = _cgroup_inactive_file()
            available = min(available, max(0, limit - (usage or 0) + reclaimable))
    return Memory(total_bytes=total, available_bytes=available)


def _cgroup_inactive_file() -> int:
    for name in ("memory.stat", "memory/memory.stat"):
        try:
            lines = (_CGROUP / name).read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return 0


def _numa_nodes(usable: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    nodes: list[tuple[int, ...]] = []
    for path in sorted(Path("/sys/devices/system/node").glob("node[0-9]*/cpulist")):
        members = tuple(i for i in parse_id_list(path.read_text(encoding="utf-8")) if i in usable)
        if members:
            nodes.append(members)
    return tuple(nodes) or (usable,)


def read_cpu() -> Cpu:
    """Describe the processors this process may use."""
    usable = tuple(sorted(os.sched_getaffinity(0)))
    machine = this_machine()
    siblings = Path(f"/sys/devices/system/cpu/cpu{usable[0]}/topology/thread_siblings_list")
    per_core = len(parse_id_list(siblings.read_text(encoding="utf-8"))) if siblings.is_file() else 1
    return Cpu(
        model=machine.processor,
        vendor=machine.vendor,
        architecture=platform.machine(),
        usable=usable,
        quota_cores=_cgroup_quota(),
        numa_nodes=_numa_nodes(usable),
        threads_per_core=per_core,
    )


def _find(pattern: str, folders: tuple[str, ...]) -> str | None:
    for folder in folders:
        found = sorted(Path(folder).glob(pattern))
        if found:
            return str(found[0])
    return None


def _is_zen() -> bool:
    """As vLLM 0.32 asks before it takes AMD's kernels."""
    machine = this_machine()
    return machine.vendor == "AuthenticAMD" and any(flag.startswith("avx512") for flag in machine.flags)


def find_libraries(prefix: Path | None = None) -> Libraries:
    """Look for tcmalloc in the system's folders, and for what the environment at `prefix` holds."""
    environment = prefix or Path(sys.prefix)
    return Libraries(
        tcmalloc=_find("libtcmalloc_minimal.so.4", _LIBRARY_FOLDERS)
        or _find("libtcmalloc.so.4", _LIBRARY_FOLDERS),
        iomp=_find("libiomp5.so", (str(environment / "lib"), *_LIBRARY_FOLDERS)),
        zentorch=_find("lib/python3*/site-packages/zentorch/libzentorch.so", (str(environment),))
        if _is_zen()
        else None,
    )
