"""The sensitivity pass in the quantize environment, on a tiny model whose first layer loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.tiny_llama import LAYERS, write_tiny_llama

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venvs" / "quantize" / "bin" / "python"
PROGRAM = """
import json, sys
from pathlib import Path
from quantserve.quantize.config import CalibrationOptions
from quantserve.quantize.ladder.sensitivity import layer_losses
print(json.dumps(layer_losses(Path("tiny"), CalibrationOptions(), Path("run"))))
"""


def write_on_the_grid(directory: Path, prefix: str) -> None:
    """Replace a layer's matrices by multiples of 1/64 that four bits hold exactly in every group."""
    path = directory / "model.safetensors"
    tensors = load_file(path)
    random = np.random.default_rng(3)
    for name, tensor in tensors.items():
        if name.startswith(prefix) and tensor.ndim == 2:
            levels = random.integers(-8, 8, tensor.shape)
            levels[:, ::32], levels[:, 1::32] = -8, 7  # both ends occur, so the grid is this one
            tensors[name] = (levels / 64).astype(np.float16)
    save_file(tensors, path, metadata={"format": "pt"})


def losses(home: Path) -> list[float]:
    done = subprocess.run(
        [PYTHON, "-c", PROGRAM],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ladder")
    write_on_the_grid(write_tiny_llama(path / "tiny"), "model.layers.0.")
    return path


def test_a_layer_on_the_grid_loses_nothing_and_the_result_is_kept(home: Path) -> None:
    first, *others = losses(home)

    assert len(others) == LAYERS - 1
    assert first == pytest.approx(0.0, abs=1e-6)
    assert all(loss > 1e-4 for loss in others)

    (kept,) = (path for path in (home / "run/sensitivity").glob("*.json"))
    kept.write_text(json.dumps({"losses": [9.0, 8.0]}), encoding="utf-8")
    assert losses(home) == [9.0, 8.0]  # found again, not measured again
