from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantserve.core.errors import InputError
from quantserve.quantize.config import CalibrationOptions, GptqOptions
from quantserve.quantize.methods.registry import method_named
from quantserve.quantize.models.source import check_adapter
from quantserve.quantize.run import content_key, parameters
from tests.unit.quantize.checkpoints import safetensors_bytes


def adapter(folder: Path, **settings: Any) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **settings}))
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes({"a": (4, 4)}))
    return folder


def test_an_adapter_says_its_base(tmp_path: Path) -> None:
    assert check_adapter(adapter(tmp_path / "a", base_model_name_or_path="x/y")).base == "x/y"


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of the kind PROMPT_TUNING"):
        check_adapter(adapter(tmp_path / "a", peft_type="PROMPT_TUNING"))


def test_pickled_adapters_are_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(InputError, match=r"pickle weights.*safe_serialization"):
        check_adapter(folder)


def test_a_truncated_adapter_is_refused(tmp_path: Path) -> None:
    weights = adapter(tmp_path / "a") / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    with pytest.raises(InputError, match="its header asks for"):
        check_adapter(weights.parent)


def test_the_adapter_is_part_of_the_key() -> None:
    chosen = parameters(GptqOptions(), CalibrationOptions())
    keys = {
        content_key(method_named("gptq"), chosen, base_sha256="b", text_sha256="t", adapter_sha256=sha256)
        for sha256 in (None, "one", "two")
    }
    assert len(keys) == 3
