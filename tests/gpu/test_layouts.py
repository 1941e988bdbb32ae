"""Every layout, quantized on CUDA by our own pass, is loaded by the engine on a kernel for its widths."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gpu.conftest import QUANTIZE, Record
from tests.integration.quantize.make_layouts_cases import BITS_EXACT, PROMPT
from tests.programs import PYTHON, ROOT, last_json
from tests.tiny_llama import write_tiny_llama

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

_PROGRAMS = ROOT / "tests/integration/quantize"
# vLLM 0.32 puts Humming before Marlin on Hopper, where humming-kernels is installed.
_WEIGHTS = frozenset({"MarlinLinearKernel", "HummingLinearKernel", "MacheteLinearKernel"})
_INT8, _FP8 = "CutlassInt8ScaledMMLinearKernel", "CutlassFP8ScaledMMLinearKernel"
# Of each pair the engine must have used one: one for each width in the checkpoint.
KERNELS: dict[str, tuple[frozenset[str], ...]] = {
    "gptq": (_WEIGHTS,),
    "gptq kept": (_WEIGHTS,),
    "awq": (_WEIGHTS,),
    "awq kept": (_WEIGHTS,),
    "mixed": (_WEIGHTS, frozenset({_INT8})),
    "mixed symmetric": (_WEIGHTS, frozenset({_INT8})),
    "rtn": (_WEIGHTS,),
    "w8": (_WEIGHTS,),
    "w2": (frozenset({"HummingLinearKernel"}),),
    "int8": (frozenset({_INT8}),),
    "int8 calibrated": (frozenset({_INT8}),),
    "fp8": (frozenset({_FP8}),),
    "llm_int8": (frozenset({"BitsAndBytesLinearMethod"}),),
}
# Largest difference of a log-probability from float32 on the same weights; these round activations too.
_ROUNDS_ACTIVATIONS = ("mixed", "mixed symmetric", "int8", "int8 calibrated", "fp8", "llm_int8")

Facts = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Each layout, with the log-probabilities its unpacked weights give in float32."""
    home = tmp_path_factory.mktemp("layouts")
    write_tiny_llama(home / "tiny")
    return last_json(QUANTIZE, _PROGRAMS / "make_layouts.py", "tiny", "made", cwd=home)


@pytest.fixture(scope="module")
def asked(made: Facts, tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Load each layout in the engine as the serving plan says, one after the other, and ask it the prompt."""
    home = tmp_path_factory.mktemp("asked")
    directories = {case: made[case]["directory"] for case in KERNELS}
    # A tiny model needs no more memory, and nothing is compiled for one prompt.
    small = ("--gpu-memory-utilization", "0.1", "--kv-cache-memory-bytes", "100000000", "--enforce-eager")
    plan = last_json(
        PYTHON, "-m", "quantserve.serving", "plan", directories["gptq"], "--json", "--", *small, cwd=home
    )
    (home / "flags.json").write_text(json.dumps(plan["argv"][3:]), encoding="utf-8")
    words = [_PROGRAMS / "load_with_vllm.py", "flags.json", json.dumps(PROMPT), *directories.values()]
    told = last_json(PYTHON, *words, cwd=home, env={**plan["env"], "VLLM_ENABLE_V1_MULTIPROCESSING": "0"})
    return {case: told[directory] for case, directory in directories.items()}


def test_the_calibrated_methods_computed_on_the_gpu(made: Facts) -> None:
    assert {made[case]["device"] for case in BITS_EXACT} == {"cuda:0"}


@pytest.mark.parametrize("case", BITS_EXACT)
def test_the_files_hold_what_the_gpu_computed(made: Facts, case: str) -> None:
    assert made[case]["largest_difference"] == 0


@pytest.mark.parametrize("case", KERNELS)
def test_the_engine_computes_with_the_same_weights_on_a_kernel_for_them(
    made: Facts, asked: Facts, record: Record, case: str
) -> None:
    told = asked[case]
    pairs = zip(told["logprobs"], made[case]["reference"], strict=True)
    difference = max(abs(ours - theirs) for ours, theirs in pairs)
    record("layout", {"case": case, "kernels": told["kernels"], "largest_difference": round(difference, 4)})
    assert len(told["kernels"]) == len(KERNELS[case])
    assert all(any(kernel in allowed for kernel in told["kernels"]) for allowed in KERNELS[case])
    # A wrong zero point or order gives 1 and more.
    assert difference < (0.4 if case in _ROUNDS_ACTIVATIONS else 0.2)
    assert told["text"]
