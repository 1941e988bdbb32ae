"""What the engine's own plan says of a model: the serving package itself is asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from quantserve.quantize.models import served
from tests.programs import ROOT
from tests.tiny_llama import write_tiny_llama

pytestmark = pytest.mark.engine

PYTHON = ROOT / ".venvs/serving/bin/python"


def test_a_comment_in_serving_changes_no_plan_and_another_limit_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("core", "quantize", "serving", "quantserve"):
        shutil.copytree(ROOT / package, tmp_path / "sources" / package)
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "sources")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "sources"))  # before what is installed
    monkeypatch.chdir(tmp_path)
    write_tiny_llama(tmp_path / "tiny")

    def digest() -> str | None:
        return served.plan_digest(PYTHON, tmp_path / "tiny", tmp_path / "run")

    before = digest()
    chat = tmp_path / "sources/serving/chat.py"
    chat.write_text(chat.read_text(encoding="utf-8") + "\n# a comment\n", encoding="utf-8")
    commented = digest()
    profile = tmp_path / "sources/serving/profiles/cpu.yaml"
    text = profile.read_text(encoding="utf-8")
    profile.write_text(text.replace("max_sequences: 64", "max_sequences: 8"), encoding="utf-8")
    limited = digest()

    assert before is not None
    assert commented == before
    assert limited not in (None, before)


def test_a_plan_is_unknown_where_there_is_no_serving_environment(tmp_path: Path) -> None:
    assert served.plan_digest(tmp_path / "absent", tmp_path, tmp_path) is None
