"""The gate with the real engine, on a tiny random model that is its own candidate.

The whole measurement through the command line is in tests/end_to_end; here a small one does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from quantserve.quantize.artifact import Manifest, Parent, file_records, now, write_manifest
from quantserve.quantize.models.source import content_hash
from tests.tiny_llama import write_tiny_llama

pytestmark = pytest.mark.engine

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venvs/quantize/bin/python"
SMALL_GATE = Path(__file__).with_name("small_gate.py")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home")
    write_tiny_llama(path / "models/tiny")
    return path


def make_artifact(home: Path, version: str, **config: Any) -> Path:
    """Copy the base into an artifact in 16 bits, with values of its config replaced."""
    base, directory = home / "models/tiny", home / "artifacts/tiny" / version
    shutil.copytree(base, directory)
    values = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (directory / "config.json").write_text(json.dumps({**values, **config}), encoding="utf-8")
    manifest = Manifest(
        name="tiny",
        version=version,
        key=version,
        created=now(),
        method="none",
        bits=16,
        parameters={},
        base=Parent(id="tiny", sha256=content_hash(base, home / "run")),
        files=file_records(directory),
    )
    write_manifest(directory, manifest)
    return directory


def gate(home: Path, artifact: Path) -> tuple[int, dict[str, Any], str]:
    """Return the exit code, the last line's JSON and what people saw."""
    ended = subprocess.run(
        [PYTHON, SMALL_GATE, artifact.relative_to(home)],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    return ended.returncode, json.loads(ended.stdout.splitlines()[-1]), ended.stderr


def test_the_base_as_its_own_candidate_is_accepted_without_any_difference(home: Path) -> None:
    artifact = make_artifact(home, "same")

    code, said, shown = gate(home, artifact)

    assert (code, said["verdict"], said["reasons"]) == (0, "ACCEPT", []), shown
    figures = said["figures"]
    assert figures["perplexity_ratio"]["value"] == pytest.approx(1.0, abs=1e-6)
    assert figures["mean_kl"]["value"] == pytest.approx(0.0, abs=1e-6)
    assert figures["top1_agreement"]["value"] == 1.0
    # a random model of 288 tokens knows about nothing
    assert 100 < figures["base_perplexity"] < 1000
    report = json.loads((artifact / "report.json").read_text(encoding="utf-8"))
    assert report["candidate"]["evidence"] == ["Initializing a V1 LLM engine with quantization=None"]
    assert report["candidate"]["memory_bytes"] > 100e6
    assert [len(report[role]["rounds"]) for role in ("base", "candidate")] == [2, 2]
    assert set(report["candidate"]["output_tokens_per_s"]) == {"1", "4"}
    assert (artifact / "report.html").is_file()

    code, said, shown = gate(home, artifact)

    assert (code, said["unchanged"]) == (0, True)


def test_a_checkpoint_the_engine_cannot_load_is_infeasible(home: Path) -> None:
    code, said, _ = gate(home, make_artifact(home, "odd", hidden_size=96))

    assert (code, said["verdict"]) == (5, "INFEASIBLE")
    assert said["reasons"][0].strip()
    assert said["base"]["ready_s"] is None  # the base was not started for it
