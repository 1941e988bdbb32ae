"""Manifests of every schema version there was stay readable; newer ones are refused clearly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from quantserve.quantize.artifact import SCHEMA_VERSION, ArtifactError, read_manifest

FROZEN = Path(__file__).with_name("manifests")


def frozen(version: int, directory: Path) -> dict[str, Any]:
    """Copy a manifest as that version wrote it, and return it."""
    shutil.copyfile(FROZEN / f"schema_{version}.json", directory / "manifest.json")
    value: dict[str, Any] = json.loads((directory / "manifest.json").read_text())
    return value


def test_every_schema_version_has_a_frozen_manifest() -> None:
    assert [path.name for path in sorted(FROZEN.iterdir())] == [
        f"schema_{version}.json" for version in range(1, SCHEMA_VERSION + 1)
    ]


def test_schema_1_is_read_with_what_it_knew(tmp_path: Path) -> None:
    frozen(1, tmp_path)
    manifest = read_manifest(tmp_path)
    assert (manifest.schema_version, manifest.version) == (1, "gptq-w4-g32-b7dcabcd")
    assert manifest.calibration is not None
    assert manifest.calibration.source == "pydoc_data.topics"
    assert manifest.calibration.tokens == 8192
    assert (manifest.calibration.parts, manifest.calibration.warnings) == ([], [])
    assert manifest.weight_bytes == manifest.files["model.safetensors"].size_bytes


def test_schema_2_is_read_with_parts_and_warnings(tmp_path: Path) -> None:
    frozen(2, tmp_path)
    calibration = read_manifest(tmp_path).calibration
    assert calibration is not None
    assert [(part.source, part.weight) for part in calibration.parts] == [
        ("corpus/ko", 0.25),
        ("owner/name", 0.75),
    ]
    assert calibration.parts[1].revision == "97a19da9aba5edaee9d6450d5d5080c104f6308b"
    assert (calibration.asked_languages, calibration.warnings) == ("ko=0.5,en=0.5", ["language-share"])


def test_schema_3_is_read_with_its_proof_and_what_stayed_in_16_bits(tmp_path: Path) -> None:
    frozen(3, tmp_path)
    manifest = read_manifest(tmp_path)
    assert manifest.proof is not None
    assert (manifest.proof.logit_error, manifest.proof.plain_logit_error) == (0.0573, 0.0762)
    assert (manifest.quantized, manifest.unquantized) == (210, {"lm_head": "outside the layers"})
    assert manifest.rejected == ["The result is worse than plain rounding"]


@pytest.mark.parametrize("version", [3, 4])
def test_a_precision_override_is_read_under_the_name_it_has_had_since_schema_4(
    tmp_path: Path, version: int
) -> None:
    value = frozen(version, tmp_path)
    value["parameters"] = {("keep" if version < 4 else "precision_override"): ["down_proj=8"], "bits": 4}
    (tmp_path / "manifest.json").write_text(json.dumps(value))
    manifest = read_manifest(tmp_path)
    assert manifest.parameters == {"precision_override": ["down_proj=8"], "bits": 4}
    assert manifest.unquantized == {"lm_head": "outside the layers"}


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 99])
def test_a_newer_schema_says_update_whatever_else_it_holds(tmp_path: Path, version: int) -> None:
    value = {**frozen(1, tmp_path), "schema_version": version, "field_of_the_future": 1}
    (tmp_path / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(ArtifactError, match=rf"schema version {version}.*reads up to .*Update quantserve"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"schema_version": "x"}', b"\xff"])
def test_a_manifest_that_is_none_is_one_clear_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(data)
    with pytest.raises(
        ArtifactError,
        match=r"manifest\.json is not (a valid manifest|valid JSON|a JSON object).*Quantize again",
    ):
        read_manifest(tmp_path)
