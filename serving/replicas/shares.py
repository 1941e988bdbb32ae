"""What one replica computes on, and how GPUs are divided; processors: hardware.facts.Cpu.shared_out. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from quantserve.serving.errors import HardwareError


@dataclass(frozen=True)
class Lane:
    """What one replica computes on: processors on a CPU, devices by CUDA's names on GPUs."""

    cpus: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()


def gpu_lanes(visible: tuple[str, ...], each: int, replicas: int) -> tuple[Lane, ...]:
    """Cut the GPUs into pieces of `each`; pieces beyond `replicas` are spare and used while one is replaced.

    Raises:
        HardwareError: there are too few.
    """
    if replicas * each > len(visible):
        raise HardwareError(
            f"{replicas} replicas of {each} {'GPU' if each == 1 else 'GPUs'} each need {replicas * each}, "
            f"{len(visible)} are here",
            mend=f"Use --replicas {len(visible) // each}" if len(visible) > each else "Use no --replicas",
        )
    return tuple(
        Lane(gpus=visible[start : start + each]) for start in range(0, len(visible) - each + 1, each)
    )


def visible_gpus(count: int, variable: str | None) -> tuple[str, ...]:
    """Name the GPUs: what CUDA_VISIBLE_DEVICES lists, else 0, 1, ….

    `count` is how many torch sees, which decides where the variable lists more.
    """
    listed = tuple(word.strip() for word in variable.split(",") if word.strip()) if variable else ()
    return listed[:count] if len(listed) >= count > 0 else tuple(str(k) for k in range(count))
