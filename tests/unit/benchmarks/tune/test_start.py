"""What `serving plan --json` tells is what a search begins with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantserve.benchmarks import servers
from quantserve.benchmarks.errors import BadOption
from quantserve.benchmarks.tune import scenario
from quantserve.benchmarks.tune.space import ProfileSettings, TuneOptions
from quantserve.serving.commands.plan import plan
from quantserve.serving.hardware import Hardware, Memory
from quantserve.serving.model import ModelFacts
from quantserve.serving.profiles import load_profile
from quantserve.serving.target import Target
from tests.unit.benchmarks.tune.build import settings
from tests.unit.serving.machines import AMD, GIB, H100, LLAMA_70B, SMOLLM2, with_gpus

BERT = replace(SMOLLM2, architecture="BertModel", model_type="bert", task="embed", causal=False)
FOUR = with_gpus(4, (9, 0), 80 * GIB)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Have every target be a model on a machine, and `serving plan` run in this process."""

    def stand_in(hardware: Hardware, facts: ModelFacts) -> None:
        target = Target(tmp_path, "m", None, None, None, facts)
        for module in ("quantserve.serving.commands.plan", "quantserve.serving.prepare"):
            monkeypatch.setattr(f"{module}.load_or_probe", lambda cache: hardware)
        monkeypatch.setattr("quantserve.serving.prepare.read_memory", lambda: Memory(24 * GIB, 20 * GIB))
        monkeypatch.setattr("quantserve.serving.prepare.resolve_target", lambda given, **how: target)

        def ask(*words: str) -> dict[str, Any]:
            assert words[:2] == ("plan", str(tmp_path))
            profile = words[words.index("--profile") + 1] if "--profile" in words else None
            plan(tmp_path, profile=profile, private=True, run_dir=tmp_path / "run", json_output=True)
            found: dict[str, Any] = json.loads(capsys.readouterr().out)
            return found

        monkeypatch.setattr(servers, "ask_serving", ask)

    return stand_in


@pytest.mark.parametrize(
    ("hardware", "facts", "asked", "name"),
    [
        (AMD, SMOLLM2, None, "cpu"),
        (H100, SMOLLM2, None, "gpu-throughput"),
        (FOUR, SMOLLM2, None, "gpu-throughput"),
        (FOUR, LLAMA_70B, None, "multi-gpu"),
        (FOUR, SMOLLM2, "gpu-latency", "gpu-latency"),
    ],
)
def test_search_begins_with_the_profile_that_serves_the_model(
    told: Any, tmp_path: Path, hardware: Hardware, facts: ModelFacts, asked: str | None, name: str
) -> None:
    told(hardware, facts)
    found = scenario.planned(str(tmp_path), asked, (), tmp_path / "run")
    assert found["profile"] == name
    assert ProfileSettings(**found["profile_settings"]) == settings(load_profile(name))
    assert found["machine"]["identity"] == hardware.identity
    assert found["machine"]["processors"] == list(hardware.cpu.usable)


def test_a_setting_that_is_not_there_is_refused_before_anything_starts(told: Any, tmp_path: Path) -> None:
    told(AMD, SMOLLM2)
    with pytest.raises(BadOption, match="no setting is named like nothing"):
        tune(tmp_path, TuneOptions(only=("nothing",)))


def test_model_that_generates_nothing_is_refused(told: Any, tmp_path: Path) -> None:
    told(AMD, BERT)
    with pytest.raises(BadOption, match="m is served to embed") as caught:
        tune(tmp_path, TuneOptions())
    assert "profile embedding" in caught.value.mend


@pytest.mark.parametrize(
    "how", [TuneOptions(workload="poetry"), TuneOptions(load="closed:0"), TuneOptions(slo="speed=1")]
)
def test_work_that_the_benchmarks_do_not_know_is_refused_before_a_plan(
    tmp_path: Path, how: TuneOptions
) -> None:
    with pytest.raises(BadOption):
        tune(tmp_path, how)


def tune(folder: Path, how: TuneOptions) -> None:
    scenario.measure(str(folder), how, profile=None, engine=(), out=None, run_dir=folder / "run")
