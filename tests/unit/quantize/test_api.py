"""What quantserve.quantize exports: light to import, and in step with the command line."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.testing

from quantserve import quantize
from quantserve.core.errors import UsageError
from quantserve.quantize import api
from quantserve.quantize.__main__ import app
from quantserve.quantize.cli.gate import auto as auto_command
from quantserve.quantize.cli.gate import gate as gate_command
from quantserve.quantize.cli.quantization import import_ as import_command
from quantserve.quantize.cli.quantization import run as run_command
from quantserve.quantize.config import CalibrationOptions, QuantizeOptions
from quantserve.quantize.gate import run as gate_run
from quantserve.quantize.gate.case import GateLimits
from quantserve.quantize.gate.measure.config import GateConfig
from quantserve.quantize.lifecycle.places import NotAccepted
from quantserve.quantize.methods.registry import METHODS
from tests.unit.quantize.made import make_artifact

HEAVY = ("scipy", "torch", "transformers", "numpy", "httpx", "typer", "pydantic", "huggingface_hub")


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


OVERRIDES = {"precision_override": ("down_proj", "o_proj=8"), "layout": "auto"}


def fields(*classes: Any) -> set[str]:
    return {field.name for cls in classes for field in dataclasses.fields(cls)}


def test_quantize_knows_every_option_of_the_command_line() -> None:
    known = fields(QuantizeOptions, CalibrationOptions, *(method.options for method in METHODS.values()))
    offered = set(inspect.signature(run_command).parameters)
    assert offered == known | {"method"}


def test_gate_knows_every_option_of_the_command_line() -> None:
    offered = set(inspect.signature(gate_command).parameters)
    tasks = {"tasks", "tasks_dir", "tasks_limit"}
    assert offered <= fields(GateLimits, GateConfig) | tasks | {"artifact", "base", "force"}


@pytest.mark.parametrize(
    ("command", "offered"),
    [
        (auto_command, {"max_ppl_increase", "model", "target", "artifacts_dir", "run_dir", "sources"}),
        (import_command, {"directory", "name", "target", "artifacts_dir", "run_dir", "force", "requantize"}),
    ],
)
def test_a_command_offers_the_fields_it_names(command: Any, offered: set[str]) -> None:
    assert set(inspect.signature(command).parameters) - {"prefer", "force"} == offered - {"force"}


def test_options_reach_the_run_they_are_meant_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("quantserve.quantize.run.run", lambda *arguments: seen.extend(arguments))
    api.quantize(
        "models/x",
        method="awq",
        group_size=64,
        precision_override=["down_proj"],
        calibration="a.txt",
        sequences=8,
        artifacts_dir="out",
        force=True,
        target="cpu",
    )
    method, options, calibration, where = seen
    assert (method.name, options.group_size, options.precision_override) == ("awq", 64, ("down_proj",))
    assert (calibration.sources, calibration.sequences, calibration.seed) == (("a.txt",), 8, 0)
    assert (where.model, where.artifacts_dir, where.force) == (Path("models/x"), Path("out"), True)


@pytest.mark.parametrize(("target", "method"), [("cpu", "int8"), ("cuda", "gptq")])
def test_the_method_is_by_default_the_target_s(
    monkeypatch: pytest.MonkeyPatch, target: str, method: str
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("quantserve.quantize.run.run", lambda *arguments: seen.extend(arguments))
    api.quantize(target=target)
    assert seen == [
        METHODS[method],
        METHODS[method].options(),
        CalibrationOptions(),
        QuantizeOptions(target=target),
    ]


@pytest.mark.parametrize(
    ("words", "method", "changed"),
    [
        (["--target", "cpu"], "int8", {}),
        (["--target", "cuda"], "gptq", {}),
        (["--method", "awq", "--bits", "4", "--symmetric"], "awq", {"symmetric": True, "layout": "packed"}),
        (
            ["--method", "gptq", "--precision-override", "down_proj", "--precision-override", "o_proj=8"],
            "gptq",
            OVERRIDES,
        ),
        (
            ["--method", "int8", "--smoothing", "0", "--no-feedback"],
            "int8",
            {"smoothing": 0, "feedback": False},
        ),
    ],
)
def test_the_command_line_gives_what_python_gives(
    monkeypatch: pytest.MonkeyPatch, words: list[str], method: str, changed: dict[str, Any]
) -> None:
    seen: list[Any] = []

    def made(*arguments: Any) -> None:
        seen.extend(arguments)
        raise typer.Exit

    monkeypatch.setattr("quantserve.quantize.cli.quantization.run_quantization", made)
    typer.testing.CliRunner().invoke(app, ["run", "--target", "cpu", *words], catch_exceptions=False)
    chosen, options, calibration, where = seen
    assert chosen is METHODS[method]
    assert options == replace(METHODS[method].options(), **changed)
    assert (calibration, where.model, where.force) == (CalibrationOptions(), QuantizeOptions().model, False)


def test_sources_languages_and_places_are_read_from_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        "quantserve.quantize.cli.quantization.run_quantization", lambda *arguments: seen.extend(arguments)
    )
    words = ["--calibration", "a.txt:2", "--calibration", "corpus", "--seed", "3", "--artifacts-dir", "out"]
    typer.testing.CliRunner().invoke(app, ["run", "--target", "cpu", "--force", *words])
    _, _, calibration, where = seen
    assert (calibration.sources, calibration.seed, calibration.sequences) == (("a.txt:2", "corpus"), 3, 32)
    assert (where.artifacts_dir, where.force, where.name) == (Path("out"), True, None)


@pytest.mark.parametrize(("given", "read"), [("5%", 0.05), ("0.05", 0.05), ("150%", 1.5)])
def test_limits_are_fractions_or_have_a_percent_sign(
    monkeypatch: pytest.MonkeyPatch, given: str, read: float
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(gate_run, "gate_artifact", lambda *a, **more: seen.extend(a))
    words = ["gate", "artifacts/m/v1", "--max-ppl-increase", given, "--max-new-bad-answers", "3"]
    typer.testing.CliRunner().invoke(app, words)
    assert (seen[3].max_ppl_increase, seen[3].max_new_bad_answers) == (pytest.approx(read), 3)


@pytest.mark.parametrize("call", [api.quantize, lambda **options: quantize.gate("x", **options)])
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
    assert (config.run_dir, limits) == (Path("elsewhere"), GateLimits(max_ppl_increase=0.05))


def test_promote_asks_for_the_verdict_and_returns_what_it_replaced(tmp_path: Path) -> None:
    first = make_artifact(tmp_path, "v1")
    second = make_artifact(tmp_path, "v2", verdict="REGRESSION")
    assert quantize.promote("m/v1", artifacts_dir=tmp_path) is None
    with pytest.raises(NotAccepted):
        quantize.promote(second)
    assert quantize.promote(second, force=True) == first
