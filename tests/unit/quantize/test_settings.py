"""How a checkpoint says that it is quantized, wherever it says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantserve.quantize.lifecycle.recognise import recognise, refuse_imported
from quantserve.quantize.models.checks import CheckpointError, check_checkpoint
from tests.unit.quantize.checkpoints import make_checkpoint, safetensors_bytes

AUTOGPTQ = {
    "bits": 4,
    "group_size": 128,
    "damp_percent": 0.01,
    "desc_act": False,
    "sym": True,
    "model_file_base_name": "x",
}
AUTOAWQ = {"zero_point": True, "q_group_size": 128, "w_bit": 4, "version": "GEMM"}


def packed(directory: Path, side: dict[str, Any] | None = None, name: str = "", config: Any = None) -> Path:
    """Write a checkpoint with a packed layer, settings in a file beside it, and more in config.json."""
    make_checkpoint(directory)
    (directory / "model.safetensors").write_bytes(
        safetensors_bytes({"model.layers.0.q_proj.qweight": (8, 8)})
    )
    if side is not None:
        (directory / name).write_text(json.dumps(side))
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", **(config or {})}))
    return directory


def test_autogptqs_own_file_is_read(tmp_path: Path) -> None:
    found = check_checkpoint(packed(tmp_path / "m", AUTOGPTQ, "quantize_config.json"))
    assert found.quantization == {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": 128,
        "damp_percent": 0.01,
        "desc_act": False,
        "sym": True,
    }
    assert not found.settings_in_config


@pytest.mark.parametrize("name", ["quant_config.json", "quantize_config.json"])
def test_autoawqs_own_file_is_read_in_transformers_terms(tmp_path: Path, name: str) -> None:
    found = check_checkpoint(packed(tmp_path / "m", AUTOAWQ, name))
    assert found.quantization == {
        "quant_method": "awq",
        "zero_point": True,
        "group_size": 128,
        "bits": 4,
        "version": "gemm",
    }


def test_config_json_comes_first(tmp_path: Path) -> None:
    config = {"quantization_config": {"quant_method": "gptq", "bits": 8}}
    found = check_checkpoint(packed(tmp_path / "m", AUTOGPTQ, "quantize_config.json", config))
    assert (found.quantization, found.settings_in_config) == ({"quant_method": "gptq", "bits": 8}, True)


@pytest.mark.parametrize(
    "config",
    [
        {"compression_config": {"quant_method": "x"}},
        {"text_config": {"quantization_config": {"quant_method": "x"}}},
    ],
)
def test_settings_elsewhere_in_config_json_count(tmp_path: Path, config: dict[str, Any]) -> None:
    assert check_checkpoint(packed(tmp_path / "m", config=config)).quantization == {"quant_method": "x"}


def test_settings_beside_plain_weights_are_about_another_model(tmp_path: Path) -> None:
    directory = make_checkpoint(tmp_path / "m")
    (directory / "quantize_config.json").write_text(json.dumps(AUTOGPTQ))
    assert not check_checkpoint(directory).quantized


def test_packed_weights_of_which_nothing_is_said_are_quantized_all_the_same(tmp_path: Path) -> None:
    found = check_checkpoint(packed(tmp_path / "m"))
    assert found.quantized
    with pytest.raises(Exception, match="quantized by an unnamed method"):
        recognise(found.quantization, "x")


@pytest.mark.parametrize("value", ["gptq", [1], 7])
def test_settings_that_are_no_object_are_said(tmp_path: Path, value: Any) -> None:
    with pytest.raises(CheckpointError, match="quantization settings are no JSON object"):
        check_checkpoint(packed(tmp_path / "m", config={"quantization_config": value}))


@pytest.mark.parametrize(
    ("settings", "layout"),
    [
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "awq's gemv"),
        ({"quant_method": "awq", "bits": 4, "version": "marlin"}, "awq's marlin"),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "gptq's marlin"),
        ({"quant_method": "gptq", "bits": 4, "is_marlin_format": True}, "gptq's marlin"),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "bitblas"}, "gptq's bitblas"),
    ],
)
def test_a_packing_that_the_engine_would_read_wrongly_is_refused(
    settings: dict[str, Any], layout: str
) -> None:
    with pytest.raises(Exception, match=f"is packed as {layout}"):
        refuse_imported(recognise(settings, "x"), "cuda", "x")


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "gptq", "bits": "four"},
        {"quant_method": "gptq", "bits": 0},
        {"quant_method": "gptq", "bits": -4},
        {"quant_method": "gptq", "bits": 4, "group_size": "x"},
        {"quant_method": "gptq", "bits": 4, "group_size": [1]},
        {"quant_method": "gptq", "bits": 4, "damp_percent": float("nan")},
        {"quant_method": "compressed-tensors", "config_groups": [1]},
        {"quant_method": "compressed-tensors", "config_groups": {"a": 1}},
        {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": [1]}}},
        {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": [1]}}}},
        {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 0}}}},
    ],
)
def test_impossible_settings_are_one_line(settings: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="impossible value") as caught:
        recognise(settings, "x")
    assert "\n" not in str(caught.value)
