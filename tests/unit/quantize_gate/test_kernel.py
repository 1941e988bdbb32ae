"""The lines are vLLM 0.32's own, shortened at the right."""

from __future__ import annotations

import pytest

from quantserve.quantize.gate.measure.engine import read_evidence

CONFIG = (
    "(EngineCore pid=7) INFO 11-22 08:54:19 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config:"
    " model='m', speculative_config=None, dtype=torch.float16, quantization={}, quantization_config=None,"
)
GPTQ = "(Worker pid=9) INFO 11-22 08:54:20 [auto_gptq.py:352] Using {} for AutoGPTQLinearMethod"
INT8 = (
    "(Worker pid=9) INFO 11-22 08:54:20 [__init__.py:884] "
    "Selected CPUInt8ScaledMMLinearKernel for CompressedTensorsW8A8Int8"
)
AMD = (
    "INFO [__init__.py:9] Using ZentorchWNA16LinearKernel for mixed-precision linear\n"
    "INFO [zentorch.py:212] [zen_cpu] ZentorchWNA16 fast path not eligible for this layer (AWQ pack layout); "
    "falling back to CPUWNA16LinearKernel (cpu_gemm_wna16)."
)
OTHER = "INFO 11-22 [utils.py:347] Using LBHNC KV cache layout.\nINFO [cuda.py:1] Using FLASH_ATTN backend"


@pytest.mark.parametrize(
    ("log", "quantization", "kernels", "proved"),
    [
        (
            "\n".join([CONFIG.format("auto_gptq"), GPTQ.format("CPUWNA16LinearKernel"), OTHER]),
            "auto_gptq",
            ("CPUWNA16LinearKernel",),
            True,
        ),
        (
            "\n".join([CONFIG.format("compressed-tensors"), INT8, INT8]),
            "compressed-tensors",
            ("CPUInt8ScaledMMLinearKernel",),
            True,
        ),
        (
            "\n".join([CONFIG.format("auto_awq"), AMD]),
            "auto_awq",
            ("ZentorchWNA16LinearKernel", "CPUWNA16LinearKernel"),
            True,
        ),
        (CONFIG.format("None") + "\n" + OTHER, None, (), False),
        (CONFIG.format("auto_gptq"), "auto_gptq", (), False),
        (
            "\n".join([CONFIG.format("mxfp4"), GPTQ.format("EmulationMxfp4LinearKernel")]),
            "mxfp4",
            ("EmulationMxfp4LinearKernel",),
            False,
        ),
        (CONFIG.format("bitsandbytes") + "\n" + OTHER, "bitsandbytes", ("BitsAndBytes",), True),
        (
            "\n".join([CONFIG.format("auto_awq"), "Using HummingLinearKernel for mixed-precision linear"]),
            "auto_awq",
            ("HummingLinearKernel",),
            True,
        ),
        (
            CONFIG.format("gptq") + "\nINFO [moe.py:139] Using CompressedTensorsWNA16MoEMethod",
            "gptq",
            ("CompressedTensorsWNA16MoEMethod",),
            True,
        ),
        (
            CONFIG.format("fp8") + "\nINFO [x.py:1] Selected PerTensorTorchFP8ScaledMMLinearKernel for Fp8",
            "fp8",
            ("PerTensorTorchFP8ScaledMMLinearKernel",),
            False,
        ),
        ("", None, (), False),
    ],
)
def test_read_evidence(log: str, quantization: str | None, kernels: tuple[str, ...], proved: bool) -> None:
    evidence = read_evidence(log)

    assert evidence.quantization == quantization
    assert evidence.kernels == kernels
    assert evidence.proved is proved


def test_the_lines_it_rests_on_are_kept_once_and_without_their_prefix() -> None:
    log = "\n".join([CONFIG.format("auto_gptq"), *[GPTQ.format("CPUWNA16LinearKernel")] * 3])

    assert read_evidence(log).lines == (
        "Initializing a V1 LLM engine with quantization=auto_gptq",
        "Using CPUWNA16LinearKernel for AutoGPTQLinearMethod",
    )
