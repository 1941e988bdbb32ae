"""A safetensors header is taken where the library takes it, and refused in one line everywhere else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from quantserve.core.errors import InputError
from quantserve.core.tensor_file import TensorInfo, read_tensor_infos

A = {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]}
B = {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}
METADATA = {"format": "pt"}
LIBRARY: Any = safetensors  # ships no types for this


def file_bytes(header: bytes | dict[str, Any], tensors: int = 12) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(tensors)


def read(path: Path, data: bytes) -> dict[str, TensorInfo]:
    path.write_bytes(data)
    return read_tensor_infos(path)


def test_tensors_come_with_type_shape_and_place(tmp_path: Path) -> None:
    data = file_bytes({"__metadata__": METADATA, "a": A, "b": B})
    found = read(tmp_path / "f", data)
    assert found == {"a": TensorInfo("F16", (2, 2)), "b": TensorInfo("F32", (1,))}
    assert [info.start for info in found.values()] == [len(data) - 12, len(data) - 4]
    assert [info.size_bytes for info in found.values()] == [8, 4]


def test_a_file_of_no_tensor_is_one(tmp_path: Path) -> None:
    assert read(tmp_path / "f", file_bytes({"__metadata__": METADATA}, 0)) == {}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is truncated or not a safetensors file"),
        (b"\xff" * 100, "is truncated or not a safetensors file"),
        ((2000).to_bytes(8, "little") + b"{}", "is truncated or not a safetensors file"),
        (file_bytes(b"[" * 200_000), "it is not a JSON object"),
        (file_bytes(b'{"a":' + b"[" * 200_000), "nested more than 3 levels"),
        (file_bytes(b'{"a":' * 200_000), "nested more than 3 levels"),
        (file_bytes(b'{"a":{"b":{"c":{}}}}'), "nested more than 3 levels"),
        (file_bytes(b"{" + b" " * 10), "line 1, column"),
        (file_bytes(b"{\xff}"), "not UTF-8"),
        (file_bytes({"__metadata__": {"a": 1}}, 0), "metadata is not text by name"),
        (file_bytes({"__metadata__": ["a"]}, 0), "metadata is not text by name"),
        (file_bytes({"a": []}), "'a' is not described by dtype, shape and data_offsets"),
        (file_bytes({"a": {"dtype": "F16"}}), "'a' is not described by"),
        (file_bytes({"a": {**A, "dtype": "F17"}}), "'a' has the type 'F17'"),
        (file_bytes({"a": {**A, "dtype": 7}}), "'a' has the type '7'"),
        (file_bytes({"a": {**A, "shape": [-2, -2]}}), "'a' has an impossible shape"),
        (file_bytes({"a": {**A, "shape": [2.0, 2]}}), "'a' has an impossible shape"),
        (file_bytes({"a": {**A, "shape": [True, 4]}}), "'a' has an impossible shape"),
        (file_bytes({"a": {**A, "shape": "22"}}), "'a' has an impossible shape"),
        (file_bytes({"a": {**A, "shape": [1 << 63, 0]}}), "'a' has an impossible shape"),
        (file_bytes({"a": {**A, "shape": [2] * 1000}}), "'a' has an impossible shape"),
        (file_bytes({"a": {**A, "data_offsets": [8, 0]}}), "'a' has impossible data_offsets"),
        (file_bytes({"a": {**A, "data_offsets": [0]}}), "'a' has impossible data_offsets"),
        (file_bytes({"a": {**A, "data_offsets": None}}), "'a' has impossible data_offsets"),
        (file_bytes({"a": {**A, "shape": [2, 3]}}), "'a' takes 8 bytes"),
        (file_bytes({"a": A, "b": {**B, "data_offsets": [4, 8]}}), "'b' overlaps the one before it"),
        (file_bytes({"a": A, "b": {**B, "data_offsets": [9, 13]}}), "'b' leaves a hole before it"),
        (file_bytes({"b": B}), "'b' leaves a hole before it"),
        (file_bytes(f'{{"a": {json.dumps(A)}, "a": {json.dumps(A)}}}'.encode()), "it has 'a' twice"),
        (file_bytes({"\x1b[31m": {}}), r"'\\x1b\[31m' is not described by"),
        (file_bytes({"a": A}), "bytes, its header asks for"),
        (file_bytes({"a": A}, 7), "bytes, its header asks for"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        read(tmp_path / "f", data)
    assert "\n" not in str(caught.value)


def test_a_header_longer_than_the_format_allows_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes((100_000_001).to_bytes(8, "little"))
    with path.open("r+b") as stream:
        stream.truncate(100_000_009)  # a hole: it takes no disk
    with pytest.raises(InputError, match=r"its header has 100\.0 MB, the format allows 100\.0 MB"):
        read_tensor_infos(path)


def test_a_header_of_90_mb_of_brackets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is not a JSON object"):
        read(tmp_path / "f", file_bytes(b"[" * 90_000_000, 0))


ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F16", "BF16", "F32", "I8", "F4", "F8_E4M3", "BOOL", "X"]),
        "shape": st.lists(st.integers(-1, 4), max_size=3),
        "data_offsets": st.lists(st.integers(-1, 24), min_size=1, max_size=3),
    }
)
HEADERS = st.one_of(
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "__metadata__"]), st.one_of(ENTRIES, st.none(), st.text(max_size=3))
    ),
    st.recursive(
        st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=2), inner)
    ),
)


@given(HEADERS, st.integers(0, 24))
def test_whatever_is_taken_is_a_safetensors_file_to_the_library_too(header: Any, tensors: int) -> None:
    data = file_bytes(json.dumps(header).encode(), tensors)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = read(Path(folder) / "f", data)
        except InputError:
            return
    assert {name for name, _ in LIBRARY.deserialize(data)} == set(found)


KINDS = st.sampled_from([("F16", "f2"), ("F32", "f4"), ("I64", "i8"), ("U8", "u1"), ("F64", "f8")])


@given(st.lists(st.tuples(KINDS, st.lists(st.integers(0, 3), max_size=3)), max_size=4))
def test_whatever_the_library_writes_is_taken(tensors: list[tuple[tuple[str, str], list[int]]]) -> None:
    arrays = {f"t{number}": np.zeros(shape, kind[1]) for number, (kind, shape) in enumerate(tensors)}
    wanted = {f"t{n}": TensorInfo(kind[0], tuple(shape)) for n, (kind, shape) in enumerate(tensors)}
    with tempfile.TemporaryDirectory() as folder:
        assert read(Path(folder) / "f", save(arrays, {"format": "pt"})) == wanted
