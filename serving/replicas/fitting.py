"""Whether N replicas fit this machine, said with figures before any starts, and what each is given.

Processors are divided by hardware.facts.Cpu.shared_out, GPUs here.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

from quantserve.core.errors import UsageError
from quantserve.core.sizes import binary_size
from quantserve.serving.command import Plan, PlanInputs, make_plan, parse_flags
from quantserve.serving.config import LOOPBACK, RunDirectory, ServeOptions
from quantserve.serving.errors import HardwareError, NotEnoughMemory
from quantserve.serving.forking import BINDING
from quantserve.serving.guard.plan import require_keys
from quantserve.serving.hardware import Hardware
from quantserve.serving.hardware.system import read_memory
from quantserve.serving.memory import FIXED_BYTES
from quantserve.serving.prepare import plan_inputs, resolved_target
from quantserve.serving.profiles import Profile
from quantserve.serving.target import Target
from quantserve.serving.tls import REFRESH, Tls, without_tls
from quantserve.serving.waiting import VARIABLE as WAIT_VARIABLE

_OWN_ADDRESS = ("--host", "--port", "--uds", "--data-parallel-size", "--api-server-count")
_DEVICES = ("--tensor-parallel-size", "--pipeline-parallel-size")
_KV = "--kv-cache-memory-bytes"
_WAIT_S = "0.0002"
"""Sleep of a waiting process between two looks: a hundredth of a step, and a hundredth of a processor."""


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


@dataclass(frozen=True)
class Fit:
    """What every replica is started with. `plan` is one replica's, without its guard."""

    target: Target
    profile_name: str
    profile: Profile
    lanes: tuple[Lane, ...]
    """One for each replica; on GPUs the spare ones follow."""
    options: ServeOptions
    plan: Plan
    warnings: tuple[str, ...]
    tls: Tls | None = None
    """What the front speaks; the replicas behind it are on loopback and speak plain HTTP."""


def fit_replicas(target: Path, options: ServeOptions, run: RunDirectory) -> Fit:
    """Divide the machine by `options.replicas`.

    Raises:
        NotEnoughMemory, HardwareError: they do not fit; the message has the figures.
        UsageError: an option belongs to the supervisor, or strangers could use the server.
    """
    require_keys(options.host, options.keys, run.keys)
    for name in _OWN_ADDRESS:
        if name in parse_flags(options.vllm_args):
            raise UsageError(f"{name} after -- cannot be used with --replicas", mend="Leave it out")
    resolved = resolved_target(target, options, run)
    count = options.replicas
    inputs = plan_inputs(resolved, replace(options, host=LOOPBACK), run)
    available, on_cpu = inputs.available_bytes, not inputs.on_gpu
    share = available // count if on_cpu else available
    try:
        plan = make_plan(replace(inputs, available_bytes=share))
    except NotEnoughMemory as error:
        raise NotEnoughMemory(
            f"{count} replicas do not fit: of {binary_size(available)} free each gets {binary_size(share)}; "
            f"{error.problem}",
            mend=f"Use fewer replicas, or: {error.mend}",
        ) from error
    if plan.copies > 1:
        raise UsageError(
            f"profile {inputs.profile_name!r} keeps {plan.copies} copies of the model in each server",
            mend="Leave data_parallel at 1: each replica is a copy",
        )
    if plan.tls is not None:
        _require_steady(plan)
        plan.tls.server_context()
    lanes = _lanes(plan, inputs.hardware, count)
    extra = (_KV, str(plan.kv.size_bytes)) if on_cpu and plan.kv is not None else ()
    given = options.vllm_args if _KV in parse_flags(options.vllm_args) else (*options.vllm_args, *extra)
    plain = {name: value for name, value in inputs.profile.vllm.items() if without_tls([f"--{name}"])}
    return Fit(
        target=resolved,
        profile_name=inputs.profile_name,
        profile=inputs.profile.model_copy(update={"vllm": plain}),
        lanes=lanes,
        options=replace(options, host=LOOPBACK, replicas=1, vllm_args=without_tls(given)),
        plan=plan,
        warnings=(*plan.warnings, *_shared(lanes, count)),
        tls=plan.tls,
    )


def _require_steady(plan: Plan) -> None:
    """Refuse certificates that are to be read again while the front runs: it reads them once.

    Raises:
        UsageError: with the way out.
    """
    if any(item.name.replace("_", "-") == REFRESH for item in plan.flags):
        raise UsageError(
            f"{REFRESH} cannot be used with --replicas", mend="Leave it out; restart with new certificates"
        )


def _lanes(plan: Plan, hardware: Hardware, replicas: int) -> tuple[Lane, ...]:
    if plan.device == "gpu":
        sizes = {item.name: int(item.value or 1) for item in plan.flags if item.name in _DEVICES}
        visible = visible_gpus(len(hardware.gpus), os.environ.get("CUDA_VISIBLE_DEVICES"))
        return gpu_lanes(visible, math.prod(sizes.values()), replicas)
    return tuple(Lane(cpus=cpus) for cpus in hardware.cpu.shared_out(replicas))


def _shared(lanes: tuple[Lane, ...], replicas: int) -> tuple[str, ...]:
    used = {lane.cpus for lane in lanes if lane.cpus}
    if used and len(used) < replicas:
        return (f"{replicas} replicas share {len(used)} processors: slower than {len(used)} replicas",)
    return ()


def fit_again(before: Fit, target: Path, run: RunDirectory) -> Fit:
    """Return what replicas of another version are started with: the same shares, the same cache size.

    Raises:
        NotEnoughMemory: it would not fit even in the place of an old one.
    """
    resolved = resolved_target(target, before.options, run)
    freed = _need(before) if before.plan.device == "cpu" else 0
    after = replace(before, target=resolved)
    return replace(after, plan=make_plan(_inputs(after, run, read_memory().available_bytes + freed)))


def fits_beside(fit: Fit, run: RunDirectory) -> bool:
    """Whether one more replica fits into the memory of a CPU machine that is free now."""
    try:
        make_plan(_inputs(fit, run, read_memory().available_bytes))
    except NotEnoughMemory:
        return False
    return True


def _inputs(fit: Fit, run: RunDirectory, available: int) -> PlanInputs:
    return replace(plan_inputs(fit.target, fit.options, run), available_bytes=available)


def _need(fit: Fit) -> int:
    """Bytes a replica gives back when it ends, without its working memory."""
    return fit.plan.weights_bytes + FIXED_BYTES + (fit.plan.kv.size_bytes if fit.plan.kv else 0)


def lane_profile(profile: Profile, lane: Lane, cpu_list: str) -> dict[str, object]:
    """Return the profile's YAML for one replica: bound to its processors unless the profile binds itself."""
    data = profile.model_dump(mode="json")
    if lane.cpus:
        data["tensor_parallel"] = 1  # its processors lie side by side
        ours = {BINDING: cpu_list, WAIT_VARIABLE: _WAIT_S}
        data["environment"] = {**ours, **profile.environment}
    return data
