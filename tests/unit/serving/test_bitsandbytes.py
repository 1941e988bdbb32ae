from __future__ import annotations

from dataclasses import replace

import pytest

from quantserve.serving.command import make_plan
from quantserve.serving.errors import HardwareError
from tests.unit.serving.machines import AMD, GIB, H100, SMOLLM2, inputs


def test_an_artifact_quantized_while_loading_says_so_to_the_engine() -> None:
    given = inputs(H100, "gpu-throughput")
    flags = dict.fromkeys(("--quantization", "--load-format"), "bitsandbytes")
    plan = make_plan(replace(given, target=replace(given.target, method="bitsandbytes", bits=4)))
    assert {item.name: item.value for item in plan.flags if item.name in flags} == flags


def test_the_plan_counts_what_the_weights_take_once_loaded() -> None:
    given = inputs(H100, "gpu-throughput", facts=replace(SMOLLM2, tied_embeddings=True))
    plan = make_plan(replace(given, target=replace(given.target, method="bitsandbytes", bits=4)))
    # vLLM on an H100 said 0.11 GiB.
    assert plan.weights_bytes / GIB == pytest.approx(0.11, rel=0.06)


def test_eight_bits_are_in_the_files_and_need_no_flag() -> None:
    given = inputs(H100, "gpu-throughput", facts=replace(SMOLLM2, quantization="bitsandbytes"))
    plan = make_plan(replace(given, target=replace(given.target, method="bitsandbytes", bits=8)))
    assert "--quantization" not in {item.name for item in plan.flags}


def test_bitsandbytes_on_a_cpu_is_refused_with_what_serves_there() -> None:
    given = inputs(AMD, "cpu")
    with pytest.raises(HardwareError, match=r"on a GPU only.*--method int8"):
        make_plan(replace(given, target=replace(given.target, method="bitsandbytes", bits=4)))
