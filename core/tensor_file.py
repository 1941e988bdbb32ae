"""The header of a safetensors file, read without the library and without a tensor: bounded, and checked.

Format (huggingface/safetensors, README): 8 bytes little-endian length of the header, the header as JSON,
then the tensors' bytes one after the other, without holes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quantserve.core.errors import InputError
from quantserve.core.json_input import BadJson, parse_json
from quantserve.core.sizes import decimal_size

MAX_HEADER_BYTES = 100_000_000
"""The format's own bound."""
_MAX_DEPTH = 3
_MOST_DIMENSIONS = 64  # torch's own bound
_LENGTH_BYTES = 8
_LFS_PREFIX = b"version https://git-lfs"
_METADATA = "__metadata__"
DTYPE_BITS = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    **dict.fromkeys(("BOOL", "U8", "I8"), 8),
    **dict.fromkeys(("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("C64", "F64", "I64", "U64"), 64),
}
"""Bits of one value of each of the format's types."""


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as its file's header describes it; `shape` of a linear layer is (output, input).

    start: where its values begin, in bytes from the file's beginning.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int = field(default=0, compare=False)

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Length of its values."""
        return self.elements * DTYPE_BITS[self.dtype] // 8


class _Damaged(ValueError):
    """What is wrong with a header."""


def read_tensor_infos(
    path: Path, *, error: type[InputError] = InputError, mend: str = "Fetch it again"
) -> dict[str, TensorInfo]:
    """Read a file's header and check that the file is exactly as long as its tensors need.

    Raises:
        InputError: as `error`: the file is missing, truncated, a Git LFS pointer, or its header is longer
            than the file or than the format allows, malformed, nested, or describes tensors of unknown
            types, of other sizes than their shapes have, overlapping, with holes, or twice.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as stream:
            prefix = stream.read(len(_LFS_PREFIX))
            header_bytes = int.from_bytes(prefix[:_LENGTH_BYTES], "little")
            if prefix == _LFS_PREFIX:
                raise error(
                    f"{path} is a Git LFS pointer, not the file itself",
                    mend=f"Run: git -C {path.parent} lfs pull",
                )
            if size_bytes < _LENGTH_BYTES or header_bytes > size_bytes - _LENGTH_BYTES:
                raise error(f"{path} is truncated or not a safetensors file", mend=mend)
            if not 2 <= header_bytes <= MAX_HEADER_BYTES:
                raise error(
                    f"{path} is not a safetensors file: its header has {decimal_size(header_bytes)}, "
                    f"the format allows {decimal_size(MAX_HEADER_BYTES)}",
                    mend=mend,
                )
            stream.seek(_LENGTH_BYTES)
            raw = stream.read(header_bytes)
    except OSError as failure:
        raise error(f"{path} cannot be read: {failure.strerror or failure}", mend=mend) from failure
    start = _LENGTH_BYTES + header_bytes
    try:
        tensors, end = _tensors(raw, start)
    except (BadJson, _Damaged) as failure:
        raise error(f"{path} has a damaged safetensors header: {failure}", mend=mend) from failure
    if size_bytes != end:
        raise error(f"{path} has {size_bytes} bytes, its header asks for {end}", mend=mend)
    return tensors


def _tensors(raw: bytes, start: int) -> tuple[dict[str, TensorInfo], int]:
    """Return the tensors that a header describes, and where the file must end."""
    if raw[:1] != b"{":
        raise _Damaged("it is not a JSON object")
    header = parse_json(raw, max_depth=_MAX_DEPTH, pairs=_unique)
    metadata = header.pop(_METADATA, None)
    if metadata is not None and not _texts_by_name(metadata):
        raise _Damaged("its metadata is not text by name")
    tensors: dict[str, TensorInfo] = {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        info, begin, end = _tensor(name, entry)
        tensors[name] = TensorInfo(info.dtype, info.shape, start + begin)
        spans.append((begin, end, name))
    spans.sort()
    for before, after in itertools.pairwise([(0, 0, ""), *spans]):
        if before[1] != after[0]:
            kind = "overlaps the one before it" if after[0] < before[1] else "leaves a hole before it"
            raise _Damaged(f"the tensor {shown(after[2])} {kind}")
    return tensors, start + (spans[-1][1] if spans else 0)


def _texts_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _unique(members: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in members:
        if name in found:
            raise BadJson(f"it has {shown(name)} twice")
        found[name] = value
    return found


def _tensor(name: str, entry: Any) -> tuple[TensorInfo, int, int]:
    """Return one tensor and the bytes it takes, from the first tensor's on."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _Damaged(f"{shown(name)} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _Damaged(f"{shown(name)} has the type {shown(str(dtype))}, which the format does not have")
    if not _counts(shape) or len(shape) > _MOST_DIMENSIONS:
        raise _Damaged(f"{shown(name)} has an impossible shape")
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _Damaged(f"{shown(name)} has impossible data_offsets")
    begin, end = offsets
    if math.prod(shape) * DTYPE_BITS[dtype] != (end - begin) * 8:
        raise _Damaged(
            f"{shown(name)} takes {end - begin} bytes, which is not what its shape and type come to"
        )
    return TensorInfo(dtype, tuple(shape)), begin, end


def _counts(value: Any) -> bool:
    """Whether a value is a list of whole numbers of 63 bits; true and false are none."""
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)


def shown(name: str, most: int = 120) -> str:
    """Return a name from a file as it may be printed: quoted, escaped, and not endless."""
    return repr(name if len(name) <= most else f"{name[:most]}…")
