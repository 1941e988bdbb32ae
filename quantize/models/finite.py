"""Whether every weight is a number, and whether float16 can hold it: read once, before any work.

A NaN or an infinity makes an artifact silently worthless, and so does a bfloat16 or float32 value beyond
float16's range once it is stored in float16. Both are read off the bits, without torch: a value is not finite
where its exponent is all ones, and beyond float16 where its magnitude, as an integer, exceeds that of 65,504.
What was found is remembered by path, size and time, so that a large model is read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantserve.core.tensor_file import TensorInfo, shown
from quantserve.quantize.models.checks import CheckpointError, read_safetensors_header
from quantserve.quantize.models.source import remembered

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CACHE = "finite-files.json"
_CHUNK_BYTES = 64 << 20
_RETRY = "Fetch the model again, or correct the training that made it: nothing was written"


@dataclass(frozen=True)
class _Kind:
    """How a number format is read as unsigned integers.

    lowest_bad: the least magnitude (the bits without the sign) that is infinite or no number.
    beyond: the least magnitude that float16 rounds to infinity, or None where the format reaches less far.
    """

    bytes: int
    lowest_bad: int
    beyond: int | None = None


# float16 rounds to infinity from 65,520 on, the middle between 65,504 and 65,536 (IEEE 754, ties to even).
_KINDS = {
    "F16": _Kind(2, 0x7C00),
    "BF16": _Kind(2, 0x7F80, 0x4780),  # 65,536: bfloat16 has no value between 65,280 and that
    "F32": _Kind(4, 0x7F80_0000, 0x477F_F000),
    "F64": _Kind(8, 0x7FF0_0000_0000_0000, 0x40EF_FE00_0000_0000),
    "F8_E4M3": _Kind(1, 0x7F),
    "F8_E5M2": _Kind(1, 0x7C),
}


def beyond_float16(files: Iterable[Path], run_dir: Path) -> tuple[str, ...]:
    """Read all weights of these files; return the names of the tensors that float16 cannot hold.

    Raises:
        CheckpointError: a weight is NaN or infinite, with the tensor's name.
    """
    names = remembered(run_dir / _CACHE, files, _read_file)
    return tuple(sorted({name for _, beyond in names for name in beyond}))


def not_finite(directory: Path) -> tuple[str, ...]:
    """Return the names of tensors in a checkpoint's safetensors files that hold an infinity or a NaN.

    Of the files, since an engine may hide it: an eight-bit kernel turns what is no number into an integer
    before it multiplies, so on one processor a NaN passes for a zero, and on the next it fills every answer.
    """
    return tuple(
        name
        for path in sorted(directory.glob("*.safetensors"))
        for name, kind, largest in _largest(path)
        if largest >= kind.lowest_bad
    )


def _read_file(path: Path) -> list[str]:
    beyond = []
    for name, kind, largest in _largest(path):
        if largest >= kind.lowest_bad:
            raise CheckpointError(
                f"{path}: {shown(name)} holds a value that is NaN or infinite, so the model is broken",
                mend=_RETRY,
            )
        if kind.beyond is not None and largest >= kind.beyond:
            beyond.append(name)
    return beyond


def _largest(path: Path) -> Iterator[tuple[str, _Kind, int]]:
    """Yield each floating-point tensor with its largest magnitude, as an integer."""
    for name, info in read_safetensors_header(path).items():
        kind = _KINDS.get(info.dtype)
        if kind is not None and info.elements:
            yield name, kind, max(int(chunk.max()) for chunk in _magnitudes(path, info, kind))


def _magnitudes(path: Path, info: TensorInfo, kind: _Kind) -> Iterator[NDArray[np.unsignedinteger[Any]]]:
    """Yield a tensor's values as unsigned integers without their sign, piece by piece."""
    import numpy as np

    dtype = np.dtype(f"<u{kind.bytes}")
    mask = dtype.type((1 << (kind.bytes * 8 - 1)) - 1)
    left = info.size_bytes
    with path.open("rb") as stream:
        stream.seek(info.start)
        while left:
            data = stream.read(min(left, _CHUNK_BYTES))
            if not data:
                raise CheckpointError(f"{path} became shorter while it was read", mend="Fetch it again")
            left -= len(data)
            yield np.frombuffer(data, dtype) & mask
