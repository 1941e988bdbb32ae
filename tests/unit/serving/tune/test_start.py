"""The profile a search begins with is the one `plan` shows and `up` serves with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from quantserve.core.errors import UsageError
from quantserve.serving.commands.tune import tune
from quantserve.serving.hardware import Hardware, Memory
from quantserve.serving.model import ModelFacts
from quantserve.serving.profiles import Profile, load_profile
from quantserve.serving.target import Target
from tests.unit.serving.machines import AMD, GIB, H100, LLAMA_70B, SMOLLM2, with_gpus

BERT = replace(SMOLLM2, architecture="BertModel", model_type="bert", task="embed", causal=False)
FOUR = with_gpus(4, (9, 0), 80 * GIB)


def stand_in(patch: pytest.MonkeyPatch, hardware: Hardware, facts: ModelFacts, directory: Path) -> None:
    """Have this machine be `hardware`, and every target a model of these `facts`."""
    target = Target(directory, "m", None, None, None, facts)
    for module in ("quantserve.serving.commands.tune", "quantserve.serving.prepare"):
        patch.setattr(f"{module}.load_or_probe", lambda cache: hardware)
    patch.setattr("quantserve.serving.prepare.read_memory", lambda: Memory(24 * GIB, 20 * GIB))
    patch.setattr("quantserve.serving.prepare.resolve_target", lambda given, **how: target)


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
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hardware: Hardware,
    facts: ModelFacts,
    asked: str | None,
    name: str,
) -> None:
    stand_in(monkeypatch, hardware, facts, tmp_path)
    begun: list[str] = []

    def load(name: str) -> Profile:
        begun.append(name)
        return load_profile(name)

    monkeypatch.setattr("quantserve.serving.commands.tune.load_profile", load)
    with pytest.raises(UsageError, match="no setting is named like nothing"):  # ends before an engine starts
        tune(tmp_path, profile=asked, only=["nothing"], run_dir=tmp_path / "run")
    assert begun == [name]


def test_model_that_generates_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, AMD, BERT, tmp_path)
    with pytest.raises(UsageError, match="m is served to embed") as caught:
        tune(tmp_path, run_dir=tmp_path / "run")
    assert "profile embedding" in caught.value.mend
