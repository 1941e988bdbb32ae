"""Checkpoints as other tools write them become artifacts; a LoRA adapter is merged before quantizing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.integration.quantize.home import PYTHON, SMALL, Home
from tests.tiny_llama import write_tiny_llama


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("foreign")
    write_tiny_llama(path / "models" / "tiny")
    done = subprocess.run(
        [PYTHON, Path(__file__).with_name("make_foreign.py"), "models/tiny", "hub"],
        cwd=path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Home(path)


def manifest(home: Home, result: dict[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((home.path / result["artifact"] / "manifest.json").read_text())
    return value


@pytest.mark.parametrize(
    ("name", "method", "bits", "group_size"),
    [
        ("static", "gptq", 4.0, 32),
        ("autoawq", "awq", 4.0, 32),
        ("compressed", "compressed-tensors", 8.0, None),
    ],
)
def test_a_checkpoint_is_taken_as_it_is(
    home: Home, name: str, method: str, bits: float, group_size: int | None
) -> None:
    status, result, err = home.call("import", f"hub/{name}", "--target", "cpu")
    assert status == 0, err
    found = manifest(home, result)
    assert (found["method"], found["bits"], found["parameters"]["group_size"]) == (method, bits, group_size)
    assert (found["base"], found["calibration"], found["seconds"]) == (None, None, None)
    weights = home.path / result["artifact"] / "model.safetensors"
    assert weights.samefile(home.path / "hub" / name / "model.safetensors")
    assert home.call("import", f"hub/{name}", "--target", "cpu")[1]["status"] == "unchanged"


@pytest.mark.parametrize(
    ("name", "method", "settings"),
    [
        ("old-autogptq", "gptq", {"bits": 4, "group_size": 32, "desc_act": False, "sym": True}),
        ("old-autoawq", "awq", {"bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}),
    ],
)
def test_settings_in_a_file_of_their_own_come_into_config_json(
    home: Home, name: str, method: str, settings: dict[str, Any]
) -> None:
    status, result, err = home.call("import", f"hub/{name}", "--target", "cpu")
    assert status == 0, err
    directory = home.path / result["artifact"]
    found = json.loads((directory / "config.json").read_text())["quantization_config"]
    assert found["quant_method"] == method
    assert {key: found[key] for key in settings} == settings
    assert sorted(path.name for path in directory.glob("*.safetensors")) == ["model.safetensors"]


def test_a_quantized_checkpoint_is_not_quantized_again(home: Home) -> None:
    status, _, err = home.call("run", "--model", "hub/old-autogptq", *SMALL)
    assert (status, "is quantized already" in err) == (2, True)


def test_reordered_columns_are_refused_with_the_conversion(home: Home) -> None:
    status, _, err = home.call("import", "hub/autogptq", "--target", "cpu")
    assert status == 2
    assert "quantserve quantize import hub/autogptq --requantize" in " ".join(err.split())
    assert not (home.path / "artifacts" / "autogptq").exists()


def test_the_conversion_gives_static_order_near_the_weights_it_began_with(home: Home) -> None:
    status, result, err = home.call("import", "hub/autogptq", "--requantize", "--target", "cpu")
    assert status == 0, err
    found = manifest(home, result)
    assert (found["method"], found["base"]["id"]) == ("gptq", "hub/autogptq")
    config = json.loads((home.path / result["artifact"] / "config.json").read_text())
    assert config["quantization_config"].get("desc_act", False) is False
    assert list((home.path / "run" / "dequantized").iterdir()) == []


def test_dequantizing_follows_the_order_on_disk(home: Home) -> None:
    done = subprocess.run(
        [PYTHON, "-m", "quantserve.quantize.methods.proof.stored", "hub/autogptq", "plain"],
        cwd=home.path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    base = load_file(home.path / "models/tiny/model.safetensors")
    plain = load_file(home.path / "plain/model.safetensors")
    assert plain.keys() == base.keys()
    errors = [
        float(
            np.linalg.norm(plain[n].astype("f4") - base[n].astype("f4"))
            / np.linalg.norm(base[n].astype("f4"))
        )
        for n in base
        if n.endswith("_proj.weight")
    ]
    # Sixteen levels in groups of 32: 0.1. Groups taken in the wrong order give 0.3 and more.
    assert max(errors) < 0.15


def test_an_adapter_is_merged_and_named(home: Home) -> None:
    plain = home.run("--method", "rtn")
    merged = home.run("--method", "rtn", "--adapter", "hub/adapter")
    assert merged["version"] != plain["version"]
    found = manifest(home, merged)
    assert found["base"]["id"] == "tiny"
    assert found["adapter"]["id"] == "adapter"
    scales = [load_file(home.path / result["artifact"] / "model.safetensors") for result in (plain, merged)]
    name = "model.layers.0.self_attn.{}_proj.scales"
    assert not np.array_equal(scales[0][name.format("q")], scales[1][name.format("q")])
    assert np.array_equal(scales[0][name.format("k")], scales[1][name.format("k")])


@pytest.mark.parametrize(
    ("adapter", "message"),
    [("models/tiny", "holds no adapter_config.json"), ("hub/absent", "holds no adapter_config.json")],
)
def test_what_is_no_adapter_is_refused(home: Home, adapter: str, message: str) -> None:
    status, _, err = home.call("run", "--model", "models/tiny", *SMALL, "--adapter", adapter)
    assert (status, message in " ".join(err.split())) == (2, True)


def _without(part: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in tensors.items() if part not in name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: {}, "it lacks base_model.model."),
        (lambda tensors: _without("layers.1.self_attn.q_proj.lora_B", tensors), "it lacks base_model.model."),
        (
            lambda tensors: {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()},
            "the model has no place for _orig_mod.",
        ),
    ],
    ids=["no tensors", "no B in one layer", "names of a compiled model"],
)
def test_an_adapter_of_which_a_part_would_be_merged_is_refused(
    home: Home, tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(home.path / "hub/adapter", adapter)
    weights = adapter / "adapter_model.safetensors"
    save_file(change(load_file(weights)), weights, metadata={"format": "pt"})
    words = ("run", "--model", "models/tiny", "--method", "rtn", "--group-size", "32")
    status, _, err = home.call(*words, "--adapter", str(adapter), "--name", "part")
    assert (status, message in " ".join(err.split())) == (2, True), err
    assert not list((home.path / "artifacts").glob("part/rtn*"))


def _no_scales(tensors: dict[str, Any], config: dict[str, Any]) -> None:
    del tensors["model.layers.0.mlp.up_proj.scales"]


def _other_group(tensors: dict[str, Any], config: dict[str, Any]) -> None:
    config["quantization_config"]["group_size"] *= 2


def _one_more_layer(tensors: dict[str, Any], config: dict[str, Any]) -> None:
    config["num_hidden_layers"] += 1


def _other_order(tensors: dict[str, Any], config: dict[str, Any]) -> None:
    name = "model.layers.0.mlp.up_proj.g_idx"
    size = config["quantization_config"]["group_size"]
    inputs = tensors["model.layers.0.mlp.up_proj.qweight"].shape[0] * 8
    tensors[name] = (np.arange(inputs, dtype=np.int32) // size)[::-1].copy()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_scales, "up_proj has no scales"),
        (_other_group, "and its settings ask for"),
        (_one_more_layer, "holds no layer 2 of 3"),
        (_other_order, "puts columns into another order"),
    ],
)
def test_packed_weights_that_are_not_what_their_settings_say_are_refused(
    home: Home, tmp_path: Path, spoil: Callable[[dict[str, Any], dict[str, Any]], None], message: str
) -> None:
    spoilt = tmp_path / "spoilt"
    shutil.copytree(home.path / "hub/static", spoilt)
    weights, config = spoilt / "model.safetensors", spoilt / "config.json"
    tensors, settings = load_file(weights), json.loads(config.read_text())
    spoil(tensors, settings)
    save_file(tensors, weights, metadata={"format": "pt"})
    config.write_text(json.dumps(settings))
    status, _, err = home.call("import", str(spoilt), "--target", "cpu")
    assert (status, message in " ".join(err.split())) == (2, True), err
    assert not (home.path / "artifacts" / "spoilt").exists() or not list(
        (home.path / "artifacts/spoilt").glob("gptq*")
    )
