"""A tiny model goes through the command line as users run it, in the quantize environment."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.quantize.home import PYTHON, Home
from tests.tiny_llama import LAYERS, write_tiny_llama

LINEAR_LAYERS = 7 * LAYERS


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("home")
    write_tiny_llama(path / "models" / "tiny")
    return Home(path)


@pytest.fixture(scope="module")
def artifacts(home: Home) -> dict[str, dict[str, Any]]:
    return {
        "gptq": home.run("--method", "gptq", "--symmetric", "--layout", "gptq"),
        "gptq asymmetric": home.run("--method", "gptq", "--asymmetric"),
        "awq": home.run("--method", "awq"),
    }


@pytest.fixture(scope="module")
def loaded(home: Home, artifacts: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    directories = {name: result["artifact"] for name, result in artifacts.items()}
    program = Path(__file__).with_name("load_with_transformers.py")
    done = subprocess.run(
        [PYTHON, program, "models/tiny", *directories.values()],
        cwd=home.path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_FP16"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    return {name: facts[directory] for name, directory in directories.items()}


METHODS = pytest.mark.parametrize("name", ["gptq", "gptq asymmetric", "awq"])


@METHODS
def test_the_result_says_what_was_made(artifacts: dict[str, dict[str, Any]], name: str) -> None:
    result = artifacts[name]
    assert result["status"] == "made"
    assert result["bits"] == 4
    assert result["version"].startswith(f"{name.split()[0]}-w4-g32-")
    assert result["peak_memory_bytes"] > 100e6


@METHODS
def test_the_manifest_names_every_file_and_parent(
    home: Home, artifacts: dict[str, dict[str, Any]], name: str
) -> None:
    directory = home.path / artifacts[name]["artifact"]
    manifest = json.loads((directory / "manifest.json").read_text())
    on_disk = {path.name for path in directory.iterdir()} - {"manifest.json"}
    assert set(manifest["files"]) == on_disk
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= on_disk
    assert manifest["calibration"]["source"].startswith("corpus/")
    assert manifest["calibration"]["tokens"] == 4 * 64
    assert manifest["base"]["id"] == "tiny"
    assert set(manifest["tools"]) >= {"torch", "transformers"}


@METHODS
def test_tokenizer_and_chat_template_are_the_base_s_own(
    home: Home, artifacts: dict[str, dict[str, Any]], name: str
) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        made = home.path / artifacts[name]["artifact"] / file
        assert made.read_bytes() == (home.path / "models" / "tiny" / file).read_bytes()


@METHODS
def test_transformers_loads_it_and_agrees_with_the_unpacked_weights(
    loaded: dict[str, dict[str, Any]], name: str
) -> None:
    facts = loaded[name]
    assert facts["quantized_layers"] == LINEAR_LAYERS
    # A wrong layout gives 1 and more; what is left is the kernel computing in 16 bits.
    assert facts["error_loading"] < 0.03
    assert 0 < facts["error_quantizing"] < 0.6
    assert facts["dtypes"] == ["torch.float16", "torch.int32"]


def test_the_library_s_driver_writes_the_layout_that_the_engine_reads(home: Home) -> None:
    result = home.run("--method", "gptq", "--driver", "gptqmodel")
    directory = home.path / result["artifact"]
    manifest = json.loads((directory / "manifest.json").read_text())
    settings = json.loads((directory / "config.json").read_text())["quantization_config"]
    assert (settings["quant_method"], settings["zero_point"], settings["bits"]) == ("awq", True, 4)
    assert (result["quantized"], "gptqmodel" in manifest["tools"]) == (LINEAR_LAYERS, True)
    assert result["proof"]["logit_error"] < 1.1 * result["proof"]["plain_logit_error"]
    assert {path.name for path in directory.iterdir()} == {*manifest["files"], "manifest.json"}


def test_the_same_inputs_again_are_unchanged_within_seconds(
    home: Home, artifacts: dict[str, dict[str, Any]]
) -> None:
    again = home.run("--method", "gptq", "--symmetric", "--layout", "gptq")
    assert again["status"] == "unchanged"
    assert again["version"] == artifacts["gptq"]["version"]
    assert again["seconds"] < 5


def test_a_damaged_artifact_is_found_and_made_again(home: Home, artifacts: dict[str, dict[str, Any]]) -> None:
    directory = home.path / artifacts["awq"]["artifact"]
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    status, _, err = home.call("verify", str(directory))
    assert (status, "its manifest says" in err) == (2, True)
    assert home.run("--method", "awq")["status"] == "made"
    assert home.call("verify", str(directory), "--full")[0] == 0


def test_promote_asks_for_the_gate_s_verdict(home: Home, artifacts: dict[str, dict[str, Any]]) -> None:
    status, _, err = home.call("promote", artifacts["gptq"]["artifact"])
    assert (status, "the gate has not seen it" in err) == (3, True)
    assert home.call("promote", artifacts["gptq"]["artifact"], "--force")[0] == 0
    _, shown, _ = home.call("show", "tiny")
    assert (shown["version"], shown["role"]) == (artifacts["gptq"]["version"], "current")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--method", "squeeze"), 2, "Choose one of gptq, awq"),
        (("--method", "gptq", "--group-size", "96"), 2, "Use --group-size 128 or 64 or 32 or 16"),
        (("--sequences", "8000"), 2, "enough for"),
        (("--calibration", "absent.txt"), 2, "does not exist"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    home: Home, arguments: tuple[str, ...], status: int, message: str
) -> None:
    before = sorted(home.versions.glob("*")) if home.versions.exists() else []
    returned, result, err = home.call("run", "--model", "models/tiny", "--sequence-tokens", "64", *arguments)
    assert (returned, result) == (status, {})
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert sorted(home.versions.glob("*")) in (before, sorted([*before, home.versions / ".quantize.lock"]))


@pytest.mark.parametrize(
    ("code", "says", "status"),
    [
        (2, "serving: tiny has no attention heads. Serve a model with attention", 2),
        # what a machine lacks for 16 bits it may have for fewer
        (6, "serving: 400 GB of memory are needed. Use a smaller model", 0),
        # another program's complaint is no answer
        (2, "usage: python [-h]", 0),
        (0, "", 0),
    ],
)
def test_what_the_engine_does_not_serve_is_refused_before_the_work(
    tmp_path: Path, code: int, says: str, status: int
) -> None:
    home = Home(tmp_path)
    write_tiny_llama(home.path / "models" / "tiny")
    python = tmp_path / "environments/serving/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit {code}\n", encoding="utf-8")
    python.chmod(0o755)
    words = ("run", "--model", "models/tiny", "--method", "rtn", "--group-size", "32")
    asked = {"QUANTSERVE_ENVIRONMENTS": str(tmp_path / "environments")}
    found, _, err = home.call(*words, **asked)
    assert found == status, err
    assert ("has no attention heads" in err) == bool(status)
    assert bool(list(home.versions.glob("rtn*"))) == (status == 0)
    if status:
        assert home.call(*words, "--force", **asked)[0] == 0
