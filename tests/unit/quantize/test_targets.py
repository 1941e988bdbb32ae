from __future__ import annotations

from typing import Any

import pytest

from quantserve.core.errors import UsageError
from quantserve.quantize.config import GptqOptions
from quantserve.quantize.methods.registry import make_options, method_named, settled_target


@pytest.mark.parametrize("bits", [2, 8])
def test_widths_without_a_cpu_kernel_are_for_cuda(bits: int) -> None:
    with pytest.raises(UsageError, match=r"no kernel in the engine on CPU.*--target cuda"):
        make_options(method_named("gptq"), {"bits": bits}, "cpu")
    assert make_options(method_named("gptq"), {"bits": bits}, "cuda") == GptqOptions(bits=bits)


def test_three_bits_have_no_layout_that_the_engine_loads() -> None:
    with pytest.raises(UsageError, match=r"3 bits has no layout.*--bits 2, 4 or 8"):
        make_options(method_named("gptq"), {"bits": 3}, "cuda")


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("gptq", {}),
        ("gptq", {"symmetric": True}),
        ("awq", {}),
        ("rtn", {}),
        ("int8", {}),
        ("int8", {"feedback": True}),
        ("gptq", {"precision_override": ("down_proj=8",)}),
    ],
)
def test_what_a_cpu_serves(method: str, given: dict[str, Any]) -> None:
    assert make_options(method_named(method), given, "cpu")


def test_a_group_without_a_cuda_kernel_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Group size 16 has no kernel.*32, 64, 128 or -1"):
        make_options(method_named("gptq"), {"group_size": 16}, "cuda")
    assert make_options(method_named("gptq"), {"group_size": 16}, "cpu")


def test_an_unknown_target_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match="Choose one of cpu, cuda"):
        settled_target("tpu")
