"""How fast this machine multiplies matrices, by trying: the ground of every time estimate."""

from __future__ import annotations

from time import perf_counter

_SIZE = 1024
_ROUNDS = 4


def gemm_flops() -> float:
    """Return float32 operations a second of a matrix product on all cores; takes a tenth of a second."""
    import numpy

    a = numpy.ones((_SIZE, _SIZE), dtype=numpy.float32)
    a @ a  # the first wakes the threads
    best_s = min(_seconds(a) for _ in range(_ROUNDS))
    return float(2 * _SIZE**3 / best_s)


def _seconds(a: object) -> float:
    started = perf_counter()
    a @ a  # type: ignore[operator]
    return perf_counter() - started
