"""Pickle weights become safetensors only when named, and only when they are weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantserve.quantize.models.checks import check_checkpoint
from tests.integration.quantize_lifecycle.conftest import Program
from tests.unit.quantize.checkpoints import make_checkpoint

PICKLES = """
import json, os, torch
weights = {"model.layers.0.a.weight": torch.ones(2, 3), "model.norm.weight": torch.arange(4.0)}
weights["lm_head.weight"] = weights["model.layers.0.a.weight"]
torch.save(weights, "old/pytorch_model.bin")

class Evil:
    def __reduce__(self):
        return os.system, ("touch ran",)

torch.save({"a": Evil()}, "evil/pytorch_model.bin")
torch.save({"a": "no tensor"}, "strange/pytorch_model.bin")
print(json.dumps({}))
"""


@pytest.fixture
def pickles(program: Program) -> Program:
    for name in ("old", "evil", "strange"):
        (make_checkpoint(program.path / name) / "model.safetensors").unlink()
    program.python(PICKLES)
    return program


def test_a_named_pickle_is_converted_and_the_result_checked(pickles: Program) -> None:
    status, made, seen = pickles("convert", "old", "--allow-pickle", "pytorch_model.bin")
    assert status == 0, seen
    directory = pickles.path / "models" / "old"
    assert made["directory"] == "models/old"
    assert {name: info.shape for name, info in check_checkpoint(directory).tensors.items()} == {
        "lm_head.weight": (2, 3),
        "model.layers.0.a.weight": (2, 3),
        "model.norm.weight": (4,),
    }
    assert not list(directory.glob("*.bin"))
    assert json.loads((directory / "source.json").read_text())["converted"] == ["pytorch_model.bin"]


def test_an_unnamed_pickle_stays_refused(pickles: Program) -> None:
    status, _, seen = pickles("convert", "old")
    assert (status, "Name each one you trust: --allow-pickle FILE" in seen) == (2, True)
    status, _, seen = pickles("convert", "old", "--allow-pickle", "other.bin")
    assert (status, "It holds pytorch_model.bin" in seen) == (2, True)
    assert not (pickles.path / "models").exists()


@pytest.mark.parametrize("name", ["evil", "strange"])
def test_a_pickle_with_more_than_weights_runs_nothing_and_leaves_nothing(pickles: Program, name: str) -> None:
    status, _, seen = pickles("convert", name, "--allow-pickle", "pytorch_model.bin")
    assert (status, "cannot be converted" in seen) == (2, True), seen
    assert not (pickles.path / "ran").exists()
    assert not (pickles.path / "models" / name).exists()


def test_an_existing_model_is_not_overwritten(pickles: Program) -> None:
    there = Path("models") / "old"
    (pickles.path / there).mkdir(parents=True)
    status, _, seen = pickles("convert", "old", "--allow-pickle", "pytorch_model.bin")
    assert (status, "exists already" in seen) == (2, True)
