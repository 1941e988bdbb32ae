from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from quantserve.quantize.artifact import Manifest, Parent, file_records, now, write_manifest
from quantserve.quantize.gate.measure.config import GateConfig, Measurement
from quantserve.quantize.models.source import content_hash
from tests.integration.quantize_gate.fake_serving import ASKED

Make = Callable[..., Path]
KERNEL_LOG = [
    "INFO [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: quantization=auto_gptq,",
    "INFO [auto_gptq.py:352] Using CPUWNA16LinearKernel for AutoGPTQLinearMethod",
]


def checkpoint(directory: Path, weight_bytes: int, behaviour: dict[str, Any]) -> Path:
    """Write a directory that looks like a checkpoint, with the fake engine's behaviour in it."""
    directory.mkdir(parents=True)
    header = json.dumps({"w": {"dtype": "I8", "shape": [weight_bytes], "data_offsets": [0, weight_bytes]}})
    data = struct.pack("<Q", len(header)) + header.encode() + bytes(weight_bytes)
    (directory / "model.safetensors").write_bytes(data)
    (directory / "config.json").write_text("{}", encoding="utf-8")
    (directory / "tokenizer.json").write_text(tokenizer(), encoding="utf-8")
    (directory / "fake.json").write_text(json.dumps(behaviour), encoding="utf-8")
    return directory


def tokenizer() -> str:
    """Whole words are English tokens; Korean is spelt in parts of letters, as English-only models do."""
    words = (
        "At today ' s meeting we will review next quarter budget and staffing plan , a new date for the "
        "server replacement postponed last month . set"
    )
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words.split()))}
    made = Tokenizer(models.WordLevel({**vocabulary, "?": 999}, unk_token="?"))
    made.normalizer = normalizers.NFD()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("[\u1100-\u11ff]"), "isolated")]
    )
    text: str = made.to_str()
    return text


@pytest.fixture
def config(tmp_path: Path) -> GateConfig:
    """The gate with the fake serving interpreter in place of the real one."""
    interpreter = tmp_path / "environments/serving/bin/python"
    interpreter.parent.mkdir(parents=True)
    fake = Path(__file__).with_name("fake_serving.py")
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} {fake} "$@"\n', encoding="utf-8")
    interpreter.chmod(0o755)
    return GateConfig(
        measurement=Measurement(
            passages=4, reported_passages=2, facts=ASKED, speed_concurrencies=(1, 4), speed_tokens=8
        ),
        serving_python=interpreter,
        models_dir=tmp_path / "models",
        run_dir=tmp_path / "run",
        ready_timeout_s=30.0,
        request_timeout_s=30.0,
        stop_timeout_s=10.0,
    )


@pytest.fixture
def base(config: GateConfig) -> Path:
    """A base model that answers well and gives its best token half of the mass."""
    config.run_dir.mkdir()
    return checkpoint(config.models_dir / "tiny", 10_000, {"decay": 0.5})


@pytest.fixture
def make_artifact(tmp_path: Path, config: GateConfig, base: Path) -> Make:
    """Make an artifact of that base whose engine behaves as told; by default a sound 4-bit one."""

    def make(bits: float = 4.0, weight_bytes: int = 4_000, **behaviour: Any) -> Path:
        told = {"decay": 0.52, "log": KERNEL_LOG, **behaviour}
        directory = checkpoint(tmp_path / "artifacts/tiny/v1", weight_bytes, told)
        manifest = Manifest(
            name="tiny",
            version="v1",
            key="v1",
            created=now(),
            method="gptq",
            bits=bits,
            parameters={},
            base=Parent(id="tiny", sha256=content_hash(base, config.run_dir)),
            files=file_records(directory),
        )
        write_manifest(directory, manifest)
        return directory

    return make
