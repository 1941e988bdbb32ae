from __future__ import annotations

from pathlib import Path

import pytest

from quantserve.core.errors import UsageError
from quantserve.quantize.config import AwqOptions, CalibrationOptions, GptqOptions
from quantserve.quantize.methods.preflight import check_shapes
from quantserve.quantize.methods.registry import make_options, method_named
from quantserve.quantize.models.checks import check_checkpoint
from quantserve.quantize.run import content_key, parameters, version_name
from tests.unit.quantize.checkpoints import llama_structure, make_checkpoint

GPTQ = method_named("gptq")
KEY_FACTS = {"base_sha256": "b", "text_sha256": "t"}


def test_an_unknown_method_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match="Choose one of gptq, awq"):
        method_named("gguf")


def test_options_not_given_keep_their_defaults() -> None:
    assert make_options(GPTQ, {"group_size": 64, "mse": None}) == GptqOptions(group_size=64)


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("gptq", {"desc_act": True}, "no longer loads GPTQ with desc_act.*--act-group-aware"),
        ("gptq", {"bits": 3}, "no kernel"),
        ("gptq", {"bits": 5}, "no kernel"),
        ("gptq", {"damping": 1.5}, "not between 0 and 1"),
        ("gptq", {"group_size": 33}, "not even"),
        ("awq", {"damping": 0.1}, "awq has no option --damping.*--group-size"),
        ("int8", {"smoothing": 1.5}, "not between 0 and 1"),
        ("int8", {"precision_override": ("down_proj=8",)}, "changes nothing in 8 bits"),
        ("fp8", {}, "emulated.*--method int8"),
        ("bitsandbytes", {}, "on CUDA only.*--target cuda"),
        ("gptq", {"layout": "gguf"}, "no layout 'gguf'.*Use awq, packed"),
        ("gptq", {"layout": "gptq"}, "without zero points.*Use awq, packed"),
        ("rtn", {"layout": "awq", "symmetric": True}, "with zero points.*Use gptq, packed"),
        (
            "awq",
            {"layout": "awq", "precision_override": ("down_proj=8",)},
            "8 bits beside others.*Use packed",
        ),
        ("awq", {"layout": "packed", "driver": "gptqmodel"}, "--driver layers only"),
        ("awq", {"driver": "magic"}, "Choose one of layers, gptqmodel"),
    ],
)
def test_what_the_engine_would_refuse_is_refused_first(
    method: str, given: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make_options(method_named(method), given)


def test_a_group_size_that_does_not_divide_says_which_do(tmp_path: Path) -> None:
    checkpoint = check_checkpoint(make_checkpoint(tmp_path / "model"))
    with pytest.raises(UsageError, match=r"input sizes 64, 128.*--group-size 64 or 32 or 16"):
        check_shapes(llama_structure(checkpoint), AwqOptions(group_size=128))


def test_a_group_size_that_divides_is_taken(tmp_path: Path) -> None:
    checkpoint = check_checkpoint(make_checkpoint(tmp_path / "model"))
    check_shapes(llama_structure(checkpoint), GptqOptions(group_size=64))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"{name}-1.0")


@pytest.mark.usefixtures("library")
def test_the_same_inputs_give_the_same_version() -> None:
    first = content_key(GPTQ, parameters(GptqOptions(), CalibrationOptions()), **KEY_FACTS)
    again = content_key(GPTQ, parameters(GptqOptions(), CalibrationOptions()), **KEY_FACTS)
    assert first == again
    assert version_name(GPTQ, GptqOptions(), first) == f"gptq-w4-g32-{first[:8]}"


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("options", "calibration", "facts"),
    [
        (GptqOptions(damping=0.01), CalibrationOptions(), KEY_FACTS),
        (GptqOptions(), CalibrationOptions(seed=1), KEY_FACTS),
        (GptqOptions(), CalibrationOptions(), {**KEY_FACTS, "base_sha256": "c"}),
        (GptqOptions(), CalibrationOptions(), {**KEY_FACTS, "text_sha256": "u"}),
    ],
)
def test_any_other_input_gives_another_key(
    options: GptqOptions, calibration: CalibrationOptions, facts: dict[str, str]
) -> None:
    base = content_key(GPTQ, parameters(GptqOptions(), CalibrationOptions()), **KEY_FACTS)
    assert content_key(GPTQ, parameters(options, calibration), **facts) != base
