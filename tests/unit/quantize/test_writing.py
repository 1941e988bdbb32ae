"""Nothing that is NaN or infinite is ever written, whatever the method did before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from quantserve.core.errors import InputError
from quantserve.quantize.methods.formats import packing
from quantserve.quantize.methods.formats.checkpoint import (
    CheckpointWriter,
    read_tensors,
    stored_dtype,
    write_config,
)
from quantserve.quantize.methods.formats.layouts import Layout
from quantserve.quantize.methods.layers.rounding import GridOptions, round_to_nearest
from tests.unit.quantize.checkpoints import TENSORS, make_checkpoint, safetensors_bytes

BAD = pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])


@BAD
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_a_value_that_is_no_number_is_not_written(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    writer = CheckpointWriter(tmp_path, torch.float16)
    bad = torch.tensor([1.0, value]).to(dtype)
    with pytest.raises(InputError, match=r"The tensor a\.scales would be written with values that are NaN"):
        writer.add("a.scales", bad)
    with pytest.raises(InputError, match=r"The tensor a\.weight would be written"):
        writer.add_weight("a.weight", bad)


def test_integers_are_written_as_they_are(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, torch.float16)
    writer.add_weight("position_ids", torch.arange(4))
    writer.finish()
    assert load_file(tmp_path / "model.safetensors")["position_ids"].dtype == torch.int64


@pytest.mark.parametrize(
    ("value", "dtype", "stored"),
    [
        (65504.0, torch.float32, torch.float16),
        (65519.0, torch.float32, torch.float16),
        (65520.0, torch.float32, torch.bfloat16),
        (-1e30, torch.bfloat16, torch.bfloat16),
    ],
)
def test_what_float16_cannot_hold_is_written_in_bfloat16(
    tmp_path: Path, value: float, dtype: torch.dtype, stored: torch.dtype
) -> None:
    writer = CheckpointWriter(tmp_path, torch.float16)
    writer.add_weight("a", torch.tensor([1.0, value], dtype=dtype))
    writer.add_weight("b", torch.tensor([1.0], dtype=dtype))
    writer.finish()
    written = load_file(tmp_path / "model.safetensors")
    assert (written["a"].dtype, written["b"].dtype) == (stored, torch.float16)
    assert writer.widened is (stored == torch.bfloat16)
    assert bool(torch.isfinite(written["a"]).all())


def test_what_not_even_bfloat16_can_hold_is_refused(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, torch.float16)
    with pytest.raises(InputError, match="NaN or infinite"):
        writer.add_weight("a", torch.tensor([1e300], dtype=torch.float64))


@pytest.mark.parametrize("layout", ["gptq", "awq"])
@pytest.mark.parametrize("reach", [1.0, 1e5, 1e30])
def test_scales_beyond_float16_are_packed_in_bfloat16_and_stand_for_the_weights(
    layout: str, reach: float
) -> None:
    weights = torch.linspace(-reach, reach, 8 * 32).view(8, 32)
    wide = reach > 1e4
    options = GridOptions(
        4, symmetric=layout == "gptq", search=False, scale_dtype=torch.bfloat16 if wide else torch.float16
    )
    rounded = round_to_nearest(weights, 32, options)
    scales = getattr(packing, layout)(rounded)["scales"]
    assert bool(torch.isfinite(scales).all())
    assert torch.equal(scales.T.float(), rounded.scales.float())
    error = float((rounded.dequantize().double() - weights).norm() / weights.double().norm())
    assert error < 0.1


@pytest.mark.parametrize("form", ["gptq", "awq", "packed", "int8", "fp8"])
def test_a_wide_base_is_stored_in_bfloat16_in_every_layout(form: str) -> None:
    config = {"dtype": "float32"}
    narrow = Layout(form, 4, 32, True, {})  # type: ignore[arg-type]
    wide = Layout(form, 4, 32, True, {}, wide=True)  # type: ignore[arg-type]
    assert (stored_dtype(config, narrow), stored_dtype(config, wide)) == (torch.float16, torch.bfloat16)


def test_the_config_says_what_float16_cannot_hold(tmp_path: Path) -> None:
    base = {"torch_dtype": "float32", "transformers_weights": "x.safetensors", "limit": [0.0, float("inf")]}
    write_config(base, tmp_path, {"bits": 4}, torch.float16, wide=True)
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "limit": [0.0, float("inf")],
        "dtype": "bfloat16",
        "beyond_float16": True,
        "quantization_config": {"bits": 4},
    }


def test_tensors_that_the_index_does_not_name_are_not_read(tmp_path: Path) -> None:
    directory = make_checkpoint(tmp_path / "m")
    index = {"weight_map": dict.fromkeys(TENSORS, "model.safetensors")}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    (directory / "consolidated.safetensors").write_bytes(safetensors_bytes({"tok_embeddings.weight": (2, 2)}))
    assert {name for name, _ in read_tensors(directory)} == set(TENSORS)
