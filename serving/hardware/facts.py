"""The dataclasses a probe fills in. Sizes in bytes, speeds in GFLOP/s, unknown is None."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Cpu:
    """The processors this process may use."""

    model: str
    vendor: str
    architecture: str
    usable: tuple[int, ...]
    """Ids of the logical processors in our affinity mask."""
    quota_cores: float | None
    """The control group's limit in cores, or None without one."""
    numa_nodes: tuple[tuple[int, ...], ...]
    """Logical processors of each NUMA node, restricted to the usable ones."""
    threads_per_core: int

    @property
    def cores(self) -> int:
        """Processors that can be kept busy at once."""
        return max(1, min(len(self.usable), int(self.quota_cores or len(self.usable))))

    @property
    def busy(self) -> tuple[int, ...]:
        """Ids of the processors to compute on: as many of the usable ones as the limit keeps busy."""
        return self.usable[: self.cores]

    def shared_out(self, parts: int) -> tuple[tuple[int, ...], ...]:
        """Cut the busy processors into neighbouring pieces that differ by one at most.

        They are taken in the order of the NUMA nodes, so that a piece lies within one where their number
        allows. With more parts than processors, number k gets processor k modulo their count.
        """
        ids = tuple(cpu for node in self.busy_nodes for cpu in node)
        if parts > len(ids):
            return tuple((ids[k % len(ids)],) for k in range(parts))
        size, larger = divmod(len(ids), parts)
        ends = [size * (k + 1) + min(k + 1, larger) for k in range(parts)]
        return tuple(ids[start:end] for start, end in zip([0, *ends], ends, strict=False))

    @property
    def busy_nodes(self) -> tuple[tuple[int, ...], ...]:
        """The busy processors of each NUMA node that has any."""
        busy = set(self.busy)
        nodes = (tuple(cpu for cpu in node if cpu in busy) for node in self.numa_nodes)
        return tuple(node for node in nodes if node)


@dataclass(frozen=True)
class Memory:
    """Memory as the tighter of machine and control group sees it; changes all the time."""

    total_bytes: int
    available_bytes: int


@dataclass(frozen=True)
class Instruction:
    """An instruction set: does the processor claim it, and did one instruction of it run?"""

    name: str
    advertised: bool
    executes: bool | None
    """None when it could not be tried."""
    detail: str = ""

    @property
    def lies(self) -> bool:
        """Claimed and yet fatal."""
        return self.advertised and self.executes is False


@dataclass(frozen=True)
class GemmSpeed:
    """One core's speed in one number format under one oneDNN instruction-set cap (None: no cap)."""

    dtype: str
    isa_cap: str | None
    gflops: dict[str, float] | None
    """Rows of the left matrix → GFLOP/s; None when the child died."""
    failure: str | None = None

    @property
    def speed(self) -> float:
        """Geometric mean over the batched shapes (decode at 32 to prefill at 512), 0 when dead."""
        batched = [value for rows, value in (self.gflops or {}).items() if int(rows) >= 32]
        if not batched:
            return 0.0
        product = 1.0
        for value in batched:
            product *= value
        return float(product ** (1 / len(batched)))


@dataclass(frozen=True)
class AttentionTrial:
    """vLLM's own CPU attention kernel in one number format: the engine picks its kernel by CPU flags."""

    dtype: str
    kernel: str
    lives: bool
    failure: str | None = None


@dataclass(frozen=True)
class Gpu:
    """One CUDA device."""

    index: int
    name: str
    capability: tuple[int, int]
    total_bytes: int
    free_bytes: int
    peers: tuple[int, ...]
    """Devices it can read directly."""


@dataclass(frozen=True)
class Libraries:
    """Shared libraries that make an engine faster: their paths, None when absent."""

    tcmalloc: str | None
    iomp: str | None
    zentorch: str | None = None
    """AMD's kernels; None, too, on a processor for which vLLM does not take them."""


@dataclass(frozen=True)
class Hardware:
    """Everything the plan may know about a machine. Free memory is not here: it is read at plan time."""

    identity: str
    cpu: Cpu
    memory_total_bytes: int
    instructions: tuple[Instruction, ...]
    gemm: tuple[GemmSpeed, ...]
    attention: tuple[AttentionTrial, ...]
    """Empty where vLLM is not installed."""
    gpus: tuple[Gpu, ...]
    libraries: Libraries
    torch_version: str | None
    probed_at: str
    probe_s: float

    def instruction(self, name: str) -> Instruction | None:
        """Return what is known about an instruction set."""
        return next((item for item in self.instructions if item.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; `from_json` reads it back."""
        return asdict(self)


def from_json(data: dict[str, Any]) -> Hardware:
    """Rebuild a Hardware from `to_json`'s data.

    Raises:
        KeyError, TypeError, ValueError: the data is not of this version's shape.
    """
    cpu = data["cpu"]
    return Hardware(
        **{
            **data,
            "cpu": Cpu(
                **{
                    **cpu,
                    "usable": tuple(cpu["usable"]),
                    "numa_nodes": tuple(tuple(node) for node in cpu["numa_nodes"]),
                }
            ),
            "instructions": tuple(Instruction(**item) for item in data["instructions"]),
            "gemm": tuple(GemmSpeed(**item) for item in data["gemm"]),
            "attention": tuple(AttentionTrial(**item) for item in data["attention"]),
            "gpus": tuple(
                Gpu(
                    **{
                        **gpu,
                        "capability": (int(gpu["capability"][0]), int(gpu["capability"][1])),
                        "peers": tuple(gpu["peers"]),
                    }
                )
                for gpu in data["gpus"]
            ),
            "libraries": Libraries(**data["libraries"]),
        }
    )
