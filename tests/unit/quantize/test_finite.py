"""NaN and infinity are found whatever the number format, and so are values that float16 cannot hold."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.quantize.models.checks import CheckpointError
from quantserve.quantize.models.finite import beyond_float16

NAN, INF = float("nan"), float("inf")


def bfloat16(values: list[float]) -> bytes:
    """Round towards zero: the upper half of a float32."""
    return b"".join(struct.pack("<f", value)[2:] for value in values)


PACK = {
    "F16": lambda values: np.array(values, np.float16).tobytes(),
    "F32": lambda values: np.array(values, np.float32).tobytes(),
    "F64": lambda values: np.array(values, np.float64).tobytes(),
    "BF16": bfloat16,
}


def write(path: Path, dtype: str, data: bytes, values: int, name: str = "w") -> Path:
    entry = {"dtype": dtype, "shape": [values], "data_offsets": [0, len(data)]}
    header = json.dumps({name: entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


def beyond(folder: Path, dtype: str, values: list[float]) -> tuple[str, ...]:
    return beyond_float16([write(folder / "f", dtype, PACK[dtype](values), len(values))], folder / "run")


@pytest.mark.parametrize("dtype", PACK)
@pytest.mark.parametrize("bad", [NAN, -NAN, INF, -INF])
@pytest.mark.parametrize("place", [0, 2])
def test_what_is_no_number_is_refused_with_the_tensors_name(
    tmp_path: Path, dtype: str, bad: float, place: int
) -> None:
    values = [1.0, -2.0, 0.0]
    values[place] = bad
    with pytest.raises(CheckpointError, match=r"'w' holds a value that is NaN or infinite"):
        beyond(tmp_path, dtype, values)


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("F8_E4M3", 0x7F), ("F8_E4M3", 0xFF), ("F8_E5M2", 0x7C), ("F8_E5M2", 0xFE), ("F8_E5M2", 0x7D)],
)
def test_eight_bits_have_no_numbers_too(tmp_path: Path, dtype: str, bits: int) -> None:
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        beyond_float16([write(tmp_path / "f", dtype, bytes([0, bits]), 2)], tmp_path / "run")


@pytest.mark.parametrize(
    ("dtype", "bits"), [("F8_E4M3", 0x7E), ("F8_E5M2", 0x7B), ("U8", 0xFF), ("I8", 0x7F), ("I32", 0)]
)
def test_the_largest_number_and_every_integer_are_fine(tmp_path: Path, dtype: str, bits: int) -> None:
    data = bytes([bits] * 4)
    count = 1 if dtype == "I32" else 4
    assert beyond_float16([write(tmp_path / "f", dtype, data, count)], tmp_path / "run") == ()


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("F32", 65504.0, ()),
        ("F32", 65519.996, ()),
        ("F32", 65520.0, ("w",)),
        ("F32", -65520.0, ("w",)),
        ("F64", 65519.999999, ()),
        ("F64", 65520.0, ("w",)),
        ("BF16", 65280.0, ()),
        ("BF16", 65536.0, ("w",)),
        ("BF16", -3e38, ("w",)),
        ("F16", 65504.0, ()),
    ],
)
def test_float16_ends_where_it_rounds_to_infinity(
    tmp_path: Path, dtype: str, value: float, expected: tuple[str, ...]
) -> None:
    assert beyond(tmp_path, dtype, [1.0, value]) == expected


@given(st.lists(st.floats(width=32), min_size=1, max_size=8))
def test_it_says_what_numpy_says(values: list[float]) -> None:
    import tempfile

    array = np.array(values, np.float32)
    with tempfile.TemporaryDirectory() as folder, np.errstate(over="ignore"):
        if not np.isfinite(array).all():
            with pytest.raises(CheckpointError):
                beyond(Path(folder), "F32", values)
        else:
            overflows = not np.isfinite(array.astype(np.float16)).all()
            assert beyond(Path(folder), "F32", values) == (("w",) if overflows else ())


def test_a_file_is_read_once_and_again_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "f", "F32", PACK["F32"]([1e5]), 1)
    assert beyond_float16([path], tmp_path / "run") == ("w",)
    monkeypatch.setattr(
        "quantserve.quantize.models.finite._read_file", lambda path: pytest.fail("it was read again")
    )
    assert beyond_float16([path], tmp_path / "run") == ("w",)
    monkeypatch.undo()
    write(path, "F32", PACK["F32"]([1.0, 2.0]), 2)
    assert beyond_float16([path], tmp_path / "run") == ()


def test_a_damaged_memory_is_as_good_as_none(tmp_path: Path) -> None:
    path = write(tmp_path / "f", "F32", PACK["F32"]([1e5]), 1)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "finite-files.json").write_text('{"x": 5')
    assert beyond_float16([path], tmp_path / "run") == ("w",)


def test_an_empty_tensor_is_fine(tmp_path: Path) -> None:
    assert beyond_float16([write(tmp_path / "f", "F32", b"", 0)], tmp_path / "run") == ()


def test_a_tensor_larger_than_a_piece_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantserve.quantize.models.finite._CHUNK_BYTES", 8)
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        beyond(tmp_path, "F32", [1.0] * 20 + [NAN])
