from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from quantserve.quantize.artifact import CalibrationRecord, Manifest, Parent
from quantserve.quantize.gate.report.card import card

REPORT: dict[str, Any] = {
    "verdict": "ACCEPT",
    "reasons": [],
    "figures": {
        "perplexity_ratio": {"value": 1.03456},
        "mean_kl": {"value": 0.012345},
        "top1_agreement": {"value": 0.91},
    },
    "speed": {"sentence": "The artifact is faster."},
    "checks": [{"name": "a|b", "base": "1", "candidate": "2", "value": "x|y", "limit": ""}],
    "base": {"directory": "nowhere"},
    "evaluation": {"judged": ["en", "ko"]},
    "environment": {"engine": "vllm-0.32.0", "processor": "a processor"},
}


def manifest(base: str | None) -> Manifest:
    return Manifest(
        name="m",
        version="v",
        key="k",
        created="2026-01-01T00:00:00+00:00",
        method="awq",
        bits=4,
        parameters={"group_size": 32, "symmetric": False},
        base=Parent(id=base, sha256="0") if base else None,
        calibration=CalibrationRecord(
            source="corpus", sha256="0", tokens=8192, sequences=32, languages={"en": 1.0}
        ),
        files={},
    )


def front(text: str) -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return value


def test_the_front_matter_is_in_the_hubs_form(tmp_path: Path) -> None:
    (tmp_path / "source.json").write_text(json.dumps({"license": "Apache-2.0"}), encoding="utf-8")

    found = front(card(tmp_path, manifest("org/model"), {**REPORT, "base": {"directory": str(tmp_path)}}))

    assert found == {
        "base_model": "org/model",
        "base_model_relation": "quantized",
        "license": "apache-2.0",
        "language": ["en", "ko"],
        "library_name": "vllm",
        "pipeline_tag": "text-generation",
        "tags": ["quantized", "awq"],
        "quantization": {"base": "org/model", "method": "awq", "bits": 4.0, "group_size": 32},
        "gate": {
            "verdict": "ACCEPT",
            "perplexity_ratio": 1.0346,
            "mean_kl_nats": 0.0123,
            "top1_agreement": 0.91,
        },
    }


@pytest.mark.parametrize("base", [None, "pypi:package/model"])
def test_what_is_not_on_the_hub_is_no_base_model_there(tmp_path: Path, base: str | None) -> None:
    found = front(card(tmp_path, manifest(base), REPORT))

    assert "base_model" not in found
    assert "license" not in found


def test_the_text_has_the_figures_and_the_calibration(tmp_path: Path) -> None:
    text = card(tmp_path, manifest("org/model"), REPORT)

    assert "| a|b | 1 | 2 | x\\|y |  |" in text
    assert "Calibrated on 8,192 tokens of corpus (100% en)." in text
    assert "The artifact is faster." in text
