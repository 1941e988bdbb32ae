"""The GPU profiles start an 8B-shaped model as planned; its speed in 16 bits and each layout is recorded."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from quantserve.quantize.gate.measure.engine import read_evidence
from quantserve.quantize.methods.formats.layouts import Format
from tests.gpu.conftest import Record
from tests.gpu.dummy_llama import VOCABULARY, write_dummy_llama
from tests.gpu.speed import output_speeds
from tests.programs import ENVIRONMENT, PYTHON, ROOT, last_json

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]

_READY_S = 600.0


@dataclass(frozen=True)
class Case:
    """One server: how the weights are kept, the profile, further flags, and the kernel it must use."""

    method: Format | None
    profile: str
    flags: tuple[str, ...] = ()
    kernel: str | None = None

    def __str__(self) -> str:
        return " ".join([self.method or "16-bit", self.profile, *self.flags])


_WEIGHTS = "(Humming|Marlin|Machete)LinearKernel"
CASES = (
    Case(None, "gpu-throughput"),
    Case("fp8", "gpu-throughput", kernel="CutlassFP8ScaledMMLinearKernel"),
    Case("gptq", "gpu-throughput", kernel=_WEIGHTS),
    Case("awq", "gpu-throughput", kernel=_WEIGHTS),
    Case("int8", "gpu-throughput", kernel="CutlassInt8ScaledMMLinearKernel"),
    Case(None, "gpu-throughput", ("--kv-cache-dtype", "fp8")),
    Case(None, "gpu-latency"),
)


@contextlib.contextmanager
def serving(case: Case, home: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """Serve a dummy model for the length of the block; yield the ready file's content and the log."""
    name = str(case).replace(" ", "_")
    model = home / (case.method or "16-bit")
    if not model.is_dir():
        write_dummy_llama(model, case.method)
    ready, log = home / f"{name}.json", home / f"{name}.log"
    words = ["-m", "quantserve.serving", "serve", str(model), "--port", "0", "--private", "--die-with-parent"]
    words += ["--profile", case.profile, "--run-dir", str(home / "run"), "--log", str(log)]
    words += ["--ready-file", str(ready), "--", "--load-format", "dummy", *case.flags]
    process = subprocess.Popen(
        [PYTHON, *words], env={**os.environ, **ENVIRONMENT}, stderr=subprocess.PIPE, text=True
    )
    try:
        end = time.monotonic() + _READY_S
        while not ready.is_file():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end, log.read_text(encoding="utf-8")[-3000:]
            time.sleep(0.2)
        yield json.loads(ready.read_text(encoding="utf-8")), log
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serving")


def figures(case: Case, home: Path) -> dict[str, Any]:
    """Start a server, measure it, stop it."""
    with serving(case, home) as (ready, log):
        speeds = output_speeds(ready["url"], ready["model"], VOCABULARY)
        evidence = read_evidence(log.read_text(encoding="utf-8", errors="replace"))
    return {
        "case": str(case),
        "ready_s": ready["ready_s"],
        "dtype": ready["dtype"],
        "kv_tokens": ready["kv_cache_tokens"],
        "kv_tokens_planned": ready["kv_cache_tokens_planned"],
        "kernels": list(evidence.kernels),
        "output_tokens_per_s": speeds,
    }


def test_the_probe_sees_the_gpu_and_the_plan_follows_it(home: Path, device: str, record: Record) -> None:
    model = write_dummy_llama(home / "planned", None)
    plan = last_json(
        PYTHON, "-m", "quantserve.serving", "plan", model, "--json", "--run-dir", "run", cwd=home
    )
    hardware = json.loads((home / "run/hardware.json").read_text(encoding="utf-8"))
    record("probe", {"gpus": hardware["gpus"], "probe_s": hardware["probe_s"]})
    gpu = hardware["gpus"][0]
    assert gpu["name"] in device
    assert gpu["total_bytes"] > 8 << 30
    assert (plan["profile"], plan["device"]) == ("gpu-throughput", "gpu")
    assert plan["dtype"] == ("bfloat16" if gpu["capability"] >= [8, 0] else "float16")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_server_starts_as_planned_and_decodes(case: Case, home: Path, record: Record) -> None:
    found = figures(case, home)
    record("serving", found)
    assert abs(found["kv_tokens_planned"] / found["kv_tokens"] - 1) < 0.05
    assert case.kernel is None or any(re.fullmatch(case.kernel, kernel) for kernel in found["kernels"])


def test_an_fp8_cache_holds_twice_the_tokens(home: Path) -> None:
    model = home / "16-bit"
    if not model.is_dir():
        write_dummy_llama(model, None)
    common = ("-m", "quantserve.serving", "plan", str(model), "--json", "--run-dir", str(home / "run"))
    plain = last_json(PYTHON, *common, cwd=ROOT)
    half = last_json(PYTHON, *common, "--", "--kv-cache-dtype", "fp8", cwd=ROOT)
    assert half["kv"]["tokens"] == pytest.approx(2 * plain["kv"]["tokens"], rel=1e-3)
