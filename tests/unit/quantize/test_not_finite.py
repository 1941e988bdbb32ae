"""Weights that are no numbers are found in the files, in every floating-point format and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from quantserve.quantize.models.finite import not_finite

FLOATS = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.float8_e5m2, torch.float8_e4m3fn),
)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_no_number_is_found(tmp_path: Path, dtype: torch.dtype, value: float) -> None:
    bad = torch.ones(5, 3)
    bad[4, 2] = value
    tensors = {"a.pad": torch.zeros(3, dtype=torch.int8), "b.bad": bad.to(dtype), "c.good": torch.ones(4)}
    save_file(tensors, tmp_path / "model.safetensors")
    # float8_e4m3fn has no infinity: torch makes the largest number or NaN of it
    finite = bool(torch.isfinite(tensors["b.bad"].float()).all())
    assert not_finite(tmp_path) == (() if finite else ("b.bad",))


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_largest_number_is_one(tmp_path: Path, dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    save_file({"w": torch.tensor([largest, -largest, 0.0], dtype=dtype)}, tmp_path / "model.safetensors")
    assert not_finite(tmp_path) == ()


def test_codes_are_not_taken_for_floats(tmp_path: Path) -> None:
    codes = {"i8": torch.full((4,), -1, dtype=torch.int8), "i32": torch.full((4,), -1, dtype=torch.int32)}
    save_file(codes, tmp_path / "model.safetensors")
    assert not_finite(tmp_path) == ()


def test_every_file_and_all_of_a_long_tensor_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantserve.quantize.models.finite._CHUNK_BYTES", 16)
    save_file({"good": torch.ones(9)}, tmp_path / "model-00001-of-00002.safetensors")
    long = torch.ones(9)
    long[8] = float("nan")
    save_file({"long": long}, tmp_path / "model-00002-of-00002.safetensors")
    assert not_finite(tmp_path) == ("long",)
