from __future__ import annotations

from typing import Any

import pytest

from quantserve.core.errors import InputError, UsageError
from quantserve.quantize.lifecycle.recognise import recognise, refuse_imported

AUTOGPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
AUTOAWQ = {"quant_method": "awq", "w_bit": 4, "q_group_size": 128, "zero_point": True, "version": "gemm"}


def test_autogptq_says_all_of_its_grid() -> None:
    found = recognise(AUTOGPTQ, "x")
    assert (found.method, found.bits, found.group_size, found.symmetric) == ("gptq", 4.0, 128, True)


def test_autoawq_has_its_own_names() -> None:
    found = recognise(AUTOAWQ, "x")
    assert (found.method, found.bits, found.group_size, found.symmetric) == ("awq", 4.0, 128, False)


def test_what_is_not_said_is_none() -> None:
    found = recognise({"quant_method": "gptq", "bits": 4}, "x")
    assert (found.group_size, found.symmetric) == (None, None)


def test_groups_of_different_widths_have_no_one_width() -> None:
    groups = {"a": {"weights": {"num_bits": 4}}, "b": {"weights": {"num_bits": 8}}}
    assert recognise({"quant_method": "compressed-tensors", "config_groups": groups}, "x").bits is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"desc_act": True}, r"desc_act on.*no longer loads.*import x --requantize"),
        ({"sym": False}, r"zero points.*--requantize"),
        ({"bits": 3}, r"3 bits in gptq's layout.*--requantize"),
        ({"bits": 8}, r"no kernel in the engine on CPU"),
    ],
)
def test_what_the_engine_refuses_names_the_conversion(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        refuse_imported(recognise({**AUTOGPTQ, **changes}, "x"), "cpu", "x")


def test_codes_that_do_not_fill_a_word_are_refused() -> None:
    groups = {"a": {"weights": {"num_bits": 3}}}
    found = recognise({"quant_method": "compressed-tensors", "config_groups": groups}, "x")
    with pytest.raises(UsageError, match=r"3 bits in compressed-tensors' layout.*--bits 2, 4 or 8"):
        refuse_imported(found, "cuda", "x")


def test_desc_act_over_whole_rows_is_no_order_at_all() -> None:
    refuse_imported(recognise({**AUTOGPTQ, "desc_act": True, "group_size": -1}, "x"), "cpu", "x")


@pytest.mark.parametrize(
    ("settings", "message"),
    [(None, "is not quantized"), ({"quant_method": "quark"}, "quantized by quark, which")],
)
def test_other_checkpoints_are_not_imported(settings: dict[str, Any] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recognise(settings, "x")
