"""registry.json is the engine's own answer."""

from __future__ import annotations

import json

import pytest

from tests.architectures.shapes import REGISTRY
from tests.programs import ROOT, told_by


@pytest.mark.engine
def test_the_committed_registry_is_the_engine_s_own() -> None:
    told = told_by(ROOT / "tests/architectures/registry.py")
    assert json.loads(REGISTRY.read_text(encoding="utf-8")) == told
