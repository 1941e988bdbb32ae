"""An artifact proves itself before it is called made: what is spoiled after writing is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.quantize.home import PYTHON, Home
from tests.programs import last_json
from tests.tiny_llama import LAYERS, write_tiny_llama

METHODS = ("int8", "gptq", "awq", "rtn")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("home")
    write_tiny_llama(path / "models" / "tiny")
    return Home(path)


@pytest.fixture(scope="module", params=METHODS)
def made(home: Home, request: pytest.FixtureRequest) -> dict[str, Any]:
    return home.run("--method", request.param)


@pytest.fixture(scope="module")
def said(home: Home, made: dict[str, Any]) -> dict[str, str]:
    script = Path(__file__).with_name("prove_spoiled.py")
    found: dict[str, str] = last_json(
        PYTHON, script, home.path / "models" / "tiny", home.path / made["artifact"], timeout_s=300
    )
    return found


def test_the_figures_are_in_what_is_printed(made: dict[str, Any]) -> None:
    proof = made["proof"]
    assert proof["tokens"] == 256
    assert proof["logit_error"] <= 1.1 * proof["plain_logit_error"]
    assert proof["folded_error"] is None or proof["folded_error"] < 1e-4


def test_every_matrix_is_counted(made: dict[str, Any]) -> None:
    assert (made["quantized"], made["unquantized"]) == (7 * LAYERS, {})


@pytest.mark.parametrize("way", ["as made", "one code moved"])
def test_what_is_right_is_not_refused(said: dict[str, str], way: str) -> None:
    assert said[way] == ""


@pytest.mark.parametrize("way", ["norm divided twice", "one scale doubled", "rows swapped", "not a number"])
def test_what_is_wrong_is_refused_with_figures(said: dict[str, str], way: str) -> None:
    assert "worse than plain rounding: relative logit error" in said[way]
    assert "layer" in said[way]
