"""`from quantserve.quantize import quantize, gate, promote`: light to import, and in step with the command line."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from quantserve import quantize
from quantserve.core.errors import UsageError
from quantserve.quantize import api
from quantserve.quantize.config import CalibrationOptions, RunOptions
from quantserve.quantize.gate import command as gate_command
from quantserve.quantize.gate import run as gate_run
from quantserve.quantize.gate.config import GateConfig
from quantserve.quantize.gate.run import Limits
from quantserve.quantize.lifecycle import NotAccepted
from quantserve.quantize.methods import METHODS
from quantserve.quantize.run_command import run as run_command
from tests.unit.quantize.made import make_artifact

HEAVY = ("torch", "transformers", "numpy", "httpx", "typer", "pydantic", "huggingface_hub")


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, quantize\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
        "from quantserve.quantize import gate, promote, quantize\n"
        "print(callable(quantize), callable(gate), callable(promote), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True True True False"]


def test_gate_is_the_package_and_can_be_called() -> None:
    package = sys.modules["quantserve.quantize.gate"]
    assert inspect.ismodule(package)
    assert id(package) == id(quantize.gate)
    assert callable(quantize.gate)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        getattr(quantize, "absent")  # noqa: B009


def fields(*classes: Any) -> set[str]:
    return {field.name for cls in classes for field in dataclasses.fields(cls)}


def test_quantize_knows_every_option_of_the_command_line() -> None:
    known = fields(RunOptions, CalibrationOptions, *(method.options for method in METHODS.values()))
    offered = set(inspect.signature(run_command).parameters)
    assert offered <= known | {"method", "calibration"}


def test_gate_knows_every_option_of_the_command_line() -> None:
    offered = set(inspect.signature(gate_command.gate).parameters)
    tasks = {"tasks", "tasks_dir", "tasks_limit"}
    assert offered <= fields(Limits, GateConfig) | tasks | {"artifact", "base", "force"}


def test_options_reach_the_run_they_are_meant_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("quantserve.quantize.run.run", lambda *arguments: seen.extend(arguments))
    api.quantize(
        "models/x",
        method="awq",
        group_size=64,
        keep=["down_proj"],
        calibration="a.txt",
        sequences=8,
        artifacts_dir="out",
        force=True,
        target="cpu",
    )
    method, options, calibration, where = seen
    assert (method.name, options.group_size, options.keep) == ("awq", 64, ("down_proj",))
    assert (calibration.sources, calibration.sequences, calibration.seed) == (("a.txt",), 8, 0)
    assert (where.model, where.artifacts_dir, where.force) == (Path("models/x"), Path("out"), True)


def test_defaults_are_the_command_line_s(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("quantserve.quantize.run.run", lambda *arguments: seen.extend(arguments))
    api.quantize(target="cpu")
    assert seen == [
        METHODS["gptq"],
        METHODS["gptq"].options(),
        CalibrationOptions(),
        RunOptions(target="cpu"),
    ]


@pytest.mark.parametrize("call", [api.quantize, lambda **options: api.gate("x", **options)])
def test_an_option_there_is_none_of_is_refused(call: Any) -> None:
    with pytest.raises(UsageError, match="has no option"):
        call(colour="red")


def test_limits_and_places_reach_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        gate_run, "gate_artifact", lambda *a, force, tasks: seen.extend([*a, force, tasks.names, tasks.limit])
    )
    quantize.gate(
        "artifacts/m/v1",
        "models/m",
        max_ppl_increase=0.05,
        run_dir="elsewhere",
        tasks="arc_easy,kobest",
        tasks_limit=5,
        force=True,
    )
    artifact, base, config, limits, force, *tasks = seen
    assert tasks == [("arc_easy", "kobest"), 5]
    assert (artifact, base, force) == (Path("artifacts/m/v1"), Path("models/m"), True)
    assert (config.run_dir, limits) == (Path("elsewhere"), Limits(max_ppl_increase=0.05))


def test_promote_asks_for_the_verdict_and_returns_what_it_replaced(tmp_path: Path) -> None:
    first = make_artifact(tmp_path, "v1")
    second = make_artifact(tmp_path, "v2", verdict="REGRESSION")
    assert quantize.promote("m/v1", artifacts_dir=tmp_path) is None
    with pytest.raises(NotAccepted):
        quantize.promote(second)
    assert quantize.promote(second, force=True) == first
