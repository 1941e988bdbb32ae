"""The deliberately wrong artifacts differ from the good one, and by their manifest alone nobody can tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from quantserve.quantize.artifact import (
    Manifest,
    check_files,
    file_records,
    now,
    read_manifest,
    write_manifest,
)
from quantserve.quantize.models.finite import not_finite
from tests.damage import FILES, WEIGHTS, damage
from tests.tiny_llama import write_tiny_llama

NOT_FINITE = {"nan_in_a_scale", "nan_in_a_norm", "nan_in_the_last_norm", "infinite_norm"}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in the layout of INT8: codes, and a scale for each row."""
    directory = write_tiny_llama(tmp_path_factory.mktemp("artifacts") / "tiny/v1")
    tensors = load_file(directory / "model.safetensors")
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        rows = np.abs(tensors[name]).max(axis=1, keepdims=True).astype(np.float32) / 127
        tensors[name] = np.round(tensors[name] / rows).astype(np.int8)
        tensors[f"{name}_scale"] = rows
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    made = {"name": "tiny", "version": "v1", "key": "v1", "created": now(), "method": "int8", "bits": 8.0}
    records = file_records(directory)
    write_manifest(directory, Manifest(**made, parameters={}, base=None, files=records))  # type: ignore[arg-type]
    return directory


@pytest.mark.parametrize("kind", [*WEIGHTS, *FILES])
def test_each_kind_is_another_artifact_that_its_manifest_fits(
    artifact: Path, tmp_path: Path, kind: str
) -> None:
    made = damage(artifact, tmp_path, kind)

    manifest = read_manifest(made)
    check_files(made, manifest, full=True)
    assert (manifest.name, manifest.version, manifest.method) == ("tiny", kind, "int8")
    good = read_manifest(artifact).files
    assert [name for name, record in manifest.files.items() if record.sha256 != good[name].sha256]
    assert bool(not_finite(made)) is (kind in NOT_FINITE)


def test_the_rest_of_the_weights_stays(artifact: Path, tmp_path: Path) -> None:
    good = load_file(artifact / "model.safetensors")
    bad = load_file(damage(artifact, tmp_path, "scales_doubled") / "model.safetensors")

    changed = [name for name in good if not np.array_equal(good[name], bad[name])]
    assert changed == ["model.layers.1.mlp.down_proj.weight_scale"]
    assert np.array_equal(bad[changed[0]], 2 * good[changed[0]])
