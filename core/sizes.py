"""Sizes as people read them: in the unit in which the number is neither 0.0 nor a row of zeros. Pure."""

from __future__ import annotations

_DECIMAL = ("kB", "MB", "GB", "TB", "PB")
_BINARY = ("KiB", "MiB", "GiB", "TiB", "PiB")


def decimal_size(size_bytes: float) -> str:
    """Return a size of files, disks or memory in powers of 1,000: 512 B, 3.2 kB, 45.0 MB, 1.6 GB."""
    return _in_units(size_bytes, 1000, _DECIMAL)


def binary_size(size_bytes: float) -> str:
    """Return a size in powers of 1,024, as engines and graphics cards count memory: 256.6 MiB, 1.4 GiB."""
    return _in_units(size_bytes, 1024, _BINARY)


def _in_units(size_bytes: float, step: int, units: tuple[str, ...]) -> str:
    if abs(size_bytes) < step:
        return f"{size_bytes:.0f} B"
    value, larger = size_bytes / step, list(units)
    # Rounded first, so that 999.96 kB is 1.0 MB and never 1000.0 kB.
    while len(larger) > 1 and round(abs(value), 1) >= step:
        value /= step
        larger.pop(0)
    return f"{value:.1f} {larger[0]}"
