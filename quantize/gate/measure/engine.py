"""One engine for the length of a measurement, started exactly as it would be deployed; what its log proves.

vLLM 0.32 logs its configuration with `quantization=METHOD` (None when it reads plain weights) and, when
the layers are built, the kernel it chose: "Using CPUWNA16LinearKernel for AutoGPTQLinearMethod",
"Using MacheteLinearKernel for CompressedTensorsWNA16", "Selected CPUInt8ScaledMMLinearKernel for
CompressedTensorsW8A8Int8" (model_executor/layers/quantization, model_executor/kernels/linear). bitsandbytes
has one kernel and names it nowhere; its plugin logs outside vLLM's own logger, so the configuration must do.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from quantserve.core.process import ProgramFailed, served
from quantserve.core.sizes import decimal_size
from quantserve.quantize.gate.measure.config import GateConfig
from quantserve.quantize.gate.measure.errors import GateError, MeasuredEngineFailed
from quantserve.quantize.models.served import refusal_in

# Wide lines, so that no complaint is broken in two; INFO, since the kernel is named at that level.
_ENVIRONMENT = {"COLUMNS": "400", "VLLM_LOGGING_LEVEL": "INFO"}
_CONFIG = re.compile(r"\bquantization=([A-Za-z0-9_\-]+)")
_KERNEL = re.compile(r"\b(?:Using|Selected) (\w*(?:Kernel|Experts|GEMM)\w*) for (\w+)")
# Experts are logged without the layer.
_EXPERTS = re.compile(r"\bUsing (\w+MoEMethod)\b")
# AMD's kernel leaves a layout it does not read to vLLM's own.
_INSTEAD = re.compile(r"falling back to (\w+LinearKernel)")
_BITSANDBYTES = "bitsandbytes"
_PREFIX = re.compile(r"^.*?\] ")
# Kernels that unpack to 16 bits or emulate the format: correct, but neither small nor fast.
_FALLBACK = re.compile(r"Emulation|Torch(?!ao)")
_KV_FLAG = "--kv-cache-memory-bytes"
# The launcher gives the cache a share of what is free: with this much the second gets as much as the first.
_SLACK = 1.5


@dataclass(frozen=True)
class MeasuredEngine:
    """A running server that has decoded a token."""

    url: str
    model: str
    ready: dict[str, Any]
    """What `serving serve` wrote into its ready file."""
    log: Path
    """The engine's own log."""
    process: subprocess.Popen[bytes]

    @property
    def dtype(self) -> str | None:
        """The type the engine computes in."""
        if "dtype" in self.ready:
            return str(self.ready["dtype"])
        argv = [str(part) for part in self.ready.get("argv", [])]
        return argv[argv.index("--dtype") + 1] if "--dtype" in argv[:-1] else None

    def log_text(self) -> str:
        """Return the engine's log so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""

    def memory_bytes(self) -> int | None:
        """Return the memory of the whole process tree, shared pages counted once (PSS), or None."""
        total = 0
        try:
            root = psutil.Process(self.process.pid)
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None
        return total


@contextlib.contextmanager
def running_engine(
    config: GateConfig, target: Path, role: str, options: Sequence[str] = ()
) -> Iterator[MeasuredEngine]:
    """Serve `target` for the length of the block; `role` names its logs in `run/gate/`.

    However the block ends, the server is gone afterwards; should this process be killed, the server
    notices by itself (--die-with-parent).

    Raises:
        GateError: there is no serving environment.
        EngineFailed: the server did not become ready; the message is its log's telling line.
    """
    if not config.serving_python.exists():
        raise GateError(
            f"there is no serving environment at {config.serving_python}",
            mend="Make it: quantserve setup",
        )
    logs = config.run_dir / "gate"
    logs.mkdir(parents=True, exist_ok=True)
    printed, log = logs / f"{role}.out", (logs / f"{role}.log").absolute()
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="quantserve-gate-") as folder:
        try:
            with served(
                target,
                config.serving_python.absolute(),
                Path(folder),
                words=("--log", str(log), "--run-dir", str(config.run_dir)),
                engine=options,
                output=printed,
                env=_ENVIRONMENT,
                ready_timeout_s=config.ready_timeout_s,
                stop_timeout_s=config.stop_timeout_s,
            ) as server:
                state = dict(server.state)
                yield MeasuredEngine(str(state["url"]), server.model, state, log, server.process)
        except ProgramFailed as error:
            raise MeasuredEngineFailed(_complaint(printed) or error.problem) from error


def _complaint(printed: Path) -> str:
    """Return what `serving` printed last: its one-line error already holds the log's telling line."""
    text = printed.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (refusal_in(text) or (lines[-1] if lines else ""))[:600]


@dataclass(frozen=True)
class KernelEvidence:
    """What the log says about the weights."""

    quantization: str | None
    """vLLM's name of the method, None for plain weights or when the log does not tell."""
    kernels: tuple[str, ...]
    """Kernel classes in the order of their appearance."""
    lines: tuple[str, ...]
    """The log lines this rests on."""

    @property
    def fallback(self) -> tuple[str, ...]:
        """The kernels among them that are fallbacks."""
        return tuple(name for name in self.kernels if _FALLBACK.search(name))

    @property
    def proved(self) -> bool:
        """Whether a quantized kernel was loaded and no fallback."""
        return self.quantization is not None and bool(self.kernels) and not self.fallback


def read_evidence(log: str) -> KernelEvidence:
    """Read an engine's log."""
    quantization: str | None = None
    kernels: dict[str, None] = {}
    lines: list[str] = []
    for line in log.splitlines():
        if (found := _CONFIG.search(line)) and "Initializing a V1 LLM engine" in line:
            quantization = None if found[1] == "None" else found[1]
            lines.append(f"Initializing a V1 LLM engine with quantization={found[1]}")
            if quantization == _BITSANDBYTES:
                kernels["BitsAndBytes"] = None
        elif found := (_KERNEL.search(line) or _EXPERTS.search(line) or _INSTEAD.search(line)):
            if found[1] not in kernels:
                lines.append(_PREFIX.sub("", line).strip()[:200])
            kernels[found[1]] = None
    return KernelEvidence(quantization, tuple(kernels), tuple(lines))


@dataclass(frozen=True)
class EngineRoom:
    """The decision and its figures."""

    side_by_side: bool
    reason: str


def decide_room(
    *, argv: Sequence[str], first_bytes: int | None, available_bytes: int, more_weights: int, on_gpu: bool
) -> EngineRoom:
    """Decide, purely, from the first engine's command line and memory, and what is free beside it.

    first_bytes: the resident memory of the candidate's engine, which is up first. more_weights: bytes by
    which the base's weights are larger; it needs that much more than the candidate took.
    """
    if on_gpu:
        return EngineRoom(False, "an engine takes the whole GPU, so the two take turns")
    if first_bytes is None:
        return EngineRoom(False, "the candidate's memory is unknown, so the two take turns")
    needed = int((first_bytes + _kv_bytes(argv) + max(0, more_weights)) * _SLACK)
    figures = f"{decimal_size(needed)} needed for the base, {decimal_size(available_bytes)} free"
    if needed > available_bytes:
        return EngineRoom(False, f"{figures}: the two take turns")
    return EngineRoom(True, f"{figures}: both are up at once")


def _kv_bytes(argv: Sequence[str]) -> int:
    """Return the cache an engine was given; pages it has not written to are not resident yet."""
    words = list(argv)
    if _KV_FLAG not in words[:-1]:
        return 0
    value = words[words.index(_KV_FLAG) + 1]
    return int(value) if value.isdigit() else 0


def available_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the memory that can be had: the machine's, or what a container's limit leaves (cgroup v2)."""
    free: int = psutil.virtual_memory().available
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
    except (FileNotFoundError, PermissionError):
        return free
    return free if limit == "max" else min(free, int(limit) - used)
