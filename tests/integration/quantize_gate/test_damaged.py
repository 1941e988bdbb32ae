"""Artifacts whose weights are no numbers: by their files, and by what an engine makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantserve.quantize.artifact import file_records, read_manifest, write_manifest
from quantserve.quantize.gate.case import GateLimits
from quantserve.quantize.gate.judge.verdict import GateVerdict
from quantserve.quantize.gate.measure.config import GateConfig
from quantserve.quantize.gate.run import gate_artifact
from tests.integration.quantize_gate.conftest import Make
from tests.integration.quantize_gate.test_gate import starts


def with_a_nan(directory: Path) -> None:
    """Call four of the weights' bytes a float32 that is no number."""
    path = directory / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["norm"] = {"dtype": "F32", "shape": [1], "data_offsets": [4000, 4004]}
    text = json.dumps(header).encode()
    body = data[8 + length :] + b"\x00\x00\xc0\x7f"
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def test_an_artifact_with_a_nan_in_its_weights_is_anomalous_before_anything_starts(
    config: GateConfig, make_artifact: Make
) -> None:
    artifact = make_artifact()
    with_a_nan(artifact)
    write_manifest(artifact, read_manifest(artifact).model_copy(update={"files": file_records(artifact)}))

    outcome = gate_artifact(artifact, None, config, GateLimits())

    assert outcome.verdict is GateVerdict.ANOMALOUS
    assert outcome.report["reasons"] == ["weights that are no finite numbers: norm"]
    assert outcome.report["figures"] is None
    assert not (config.run_dir / "starts").exists()


@pytest.mark.parametrize("nan", ["400", "500", "null"])
def test_an_engine_whose_figures_are_no_numbers_makes_the_artifact_anomalous(
    config: GateConfig, make_artifact: Make, nan: str
) -> None:
    outcome = gate_artifact(make_artifact(nan=nan), None, config, GateLimits())

    assert outcome.verdict is GateVerdict.ANOMALOUS
    assert "not finite: its weights are damaged" in outcome.report["reasons"][0]
    assert (outcome.report["figures"], outcome.verdict.exit_code) == (None, 4)
    assert starts(config) == ["v1", "tiny"]
