"""Every layout, quantized on CUDA by our own pass, is loaded by the engine and runs on the kernel meant for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.gpu.conftest import QUANTIZE, ROOT, SERVING, Record, last_json
from tests.integration.quantize.make_layouts_cases import BITS_EXACT, PROMPT
from tests.tiny_llama import write_tiny_llama

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

_PROGRAMS = ROOT / "tests/integration/quantize"
_MARLIN, _INT8, _FEW_BITS = "MarlinLinearKernel", "CutlassInt8ScaledMMLinearKernel", "HummingLinearKernel"
KERNELS = {
    "gptq": {_MARLIN},
    "gptq kept": {_MARLIN},
    "awq": {_MARLIN},
    "awq kept": {_MARLIN},
    "mixed": {_MARLIN, _INT8},
    "mixed symmetric": {_MARLIN, _INT8},
    "rtn": {_MARLIN},
    "w8": {_MARLIN},
    "int8": {_INT8},
    "int8 calibrated": {_INT8},
    "fp8": {"CutlassFP8ScaledMMLinearKernel"},
    "llm_int8": {"BitsAndBytesLinearMethod"},
    "w2": {_FEW_BITS},
    "w3": {_FEW_BITS},
}
# Largest difference of a log-probability from float32 on the same weights; these round activations too.
_ROUNDS_ACTIVATIONS = ("mixed", "mixed symmetric", "int8", "int8 calibrated", "fp8", "llm_int8")
# Compiled when they are first used, which takes minutes: in a process of their own.
FEW_BITS = ("w2", "w3")

Facts = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Each layout, with the log-probabilities its unpacked weights give in float32."""
    home = tmp_path_factory.mktemp("layouts")
    write_tiny_llama(home / "tiny")
    return last_json(QUANTIZE, _PROGRAMS / "make_layouts.py", "tiny", "made", cwd=home)


@pytest.fixture(scope="module")
def ask(made: Facts, tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...]], Facts]:
    """Load layouts in the engine as the serving plan says, one after the other, and ask each the prompt."""
    home = tmp_path_factory.mktemp("asked")

    def load(cases: tuple[str, ...]) -> Facts:
        directories = {case: made[case]["directory"] for case in cases}
        # A tiny model needs no more, and several engines may be up at once.
        small = ["--gpu-memory-utilization", "0.1", "--kv-cache-memory-bytes", "100000000", "--enforce-eager"]
        first = directories[cases[0]]
        plan = last_json(SERVING, "-m", "serving", "plan", first, "--json", "--", *small, cwd=home)
        (home / "flags.json").write_text(json.dumps(plan["argv"][3:]), encoding="utf-8")
        words = [_PROGRAMS / "load_with_vllm.py", "flags.json", json.dumps(PROMPT), *directories.values()]
        told = last_json(SERVING, *words, cwd=home, **{**plan["env"], "VLLM_ENABLE_V1_MULTIPROCESSING": "0"})
        return {case: told[directory] for case, directory in directories.items()}

    return load


@pytest.fixture(scope="module")
def common(ask: Callable[[tuple[str, ...]], Facts]) -> Facts:
    return ask(tuple(case for case in KERNELS if case not in FEW_BITS))


@pytest.fixture(scope="module")
def few_bits(ask: Callable[[tuple[str, ...]], Facts]) -> Facts:
    return ask(FEW_BITS)


def test_the_calibrated_methods_computed_on_the_gpu(made: Facts) -> None:
    assert {made[case]["device"] for case in BITS_EXACT} == {"cuda:0"}


@pytest.mark.parametrize("case", BITS_EXACT)
def test_the_files_hold_what_the_gpu_computed(made: Facts, case: str) -> None:
    assert made[case]["largest_difference"] == 0


@pytest.mark.parametrize("case", KERNELS)
def test_the_engine_computes_with_the_same_weights_on_the_kernel_meant_for_them(
    made: Facts, request: pytest.FixtureRequest, record: Record, case: str
) -> None:
    told = request.getfixturevalue("few_bits" if case in FEW_BITS else "common")[case]
    pairs = zip(told["logprobs"], made[case]["reference"], strict=True)
    difference = max(abs(ours - theirs) for ours, theirs in pairs)
    record("layout", {"case": case, "kernels": told["kernels"], "largest_difference": round(difference, 4)})
    assert set(told["kernels"]) == KERNELS[case]
    # A wrong zero point or order gives 1 and more.
    assert difference < (0.4 if case in _ROUNDS_ACTIVATIONS else 0.2)
    assert told["text"]
