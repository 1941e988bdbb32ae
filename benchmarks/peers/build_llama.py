"""Build llama.cpp's server for this CPU, in ten minutes on two cores.

Run: python -m quantserve.benchmarks.peers.build_llama

The source comes from the Python package index (llama-cpp-python carries llama.cpp whole), the tools from
requirements/peers.txt in an environment of their own, .venvs/peers. Instruction sets are those the CPU
advertises, except AMX.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Collection
from pathlib import Path

from quantserve.benchmarks.errors import BenchmarkError
from quantserve.benchmarks.peers.commands import LLAMA_SERVER
from quantserve.core.console import console
from quantserve.core.home import shipped
from quantserve.core.machine import this_machine

SOURCE = "llama-cpp-python==0.3.36"
ENVIRONMENT = LLAMA_SERVER.parent.parent
TARGETS = ("llama-server", "llama-quantize")
# /proc/cpuinfo flag → llama.cpp's build option. AMX is left out: see the docstring.
ISA = {
    "avx": "GGML_AVX",
    "avx2": "GGML_AVX2",
    "fma": "GGML_FMA",
    "f16c": "GGML_F16C",
    "bmi2": "GGML_BMI2",
    "avx512f": "GGML_AVX512",
    "avx512_vbmi": "GGML_AVX512_VBMI",
    "avx512vbmi": "GGML_AVX512_VBMI",
    "avx512_vnni": "GGML_AVX512_VNNI",
    "avx512_bf16": "GGML_AVX512_BF16",
}
SWITCHED_OFF = (
    "BUILD_SHARED_LIBS",
    "GGML_NATIVE",
    "LLAMA_BUILD_TESTS",
    "LLAMA_BUILD_EXAMPLES",
    "LLAMA_BUILD_APP",
    "LLAMA_BUILD_UI",
    "LLAMA_USE_PREBUILT_UI",
    "LLAMA_OPENSSL",
)


def options(cpu_flags: Collection[str]) -> list[str]:
    """CMake definitions for a CPU."""
    on = sorted({option for flag, option in ISA.items() if flag in cpu_flags})
    return [
        "-DCMAKE_BUILD_TYPE=Release",
        "-DLLAMA_BUILD_SERVER=ON",
        *(f"-D{name}=OFF" for name in SWITCHED_OFF),
        *(f"-D{name}=ON" for name in on),
    ]


def build() -> Path:
    """Make the environment, fetch the source, build; return the server's path. Built before: nothing happens.

    Raises:
        BenchmarkError: a step failed; its output is above.
    """
    if all((LLAMA_SERVER.parent / name).is_file() for name in TARGETS):
        return LLAMA_SERVER
    if not (LLAMA_SERVER.parent / "python").exists():
        _run([sys.executable, "-m", "venv", str(ENVIRONMENT)])
        python = str(LLAMA_SERVER.parent / "python")
        _run([python, "-m", "pip", "install", "--quiet", "-r", str(shipped("requirements") / "peers.txt")])
    tools = LLAMA_SERVER.parent.resolve()
    python = str(LLAMA_SERVER.parent / "python")
    with tempfile.TemporaryDirectory(prefix="quantserve-llama-") as name:
        folder = Path(name)
        fetch = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
        _run([*fetch, "--no-binary", ":all:", "--dest", name, SOURCE], tools)
        with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
        source = next(folder.glob("*/vendor/llama.cpp"))
        work = str(folder / "build")
        _run(["cmake", "-S", str(source), "-B", work, "-G", "Ninja", *options(this_machine().flags)], tools)
        _run(["cmake", "--build", work, "--target", *TARGETS], tools)
        for target in TARGETS:
            shutil.copy2(folder / "build" / "bin" / target, LLAMA_SERVER.parent / target)
    return LLAMA_SERVER


def _run(argv: list[str], tools: Path | None = None) -> None:
    path = os.environ.get("PATH", "")
    env = {**os.environ, "PATH": f"{tools}{os.pathsep}{path}" if tools else path}
    console.print(f"{' '.join(argv[:6])} …", style="dim")
    try:
        subprocess.run(argv, check=True, env=env, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchmarkError(
            f"llama.cpp could not be built ({error})", mend="Compare without it: leave --gguf out"
        ) from error


if __name__ == "__main__":
    console.print(str(build()))
