"""From what the user typed to a plan: target, hardware, profile and memory brought together."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict
from pathlib import Path
from typing import Any

from quantserve.serving.adapters import parse_adapters, read_adapters
from quantserve.serving.command import Plan, PlanInputs, default_profile, make_plan
from quantserve.serving.config import RunDirectory, ServeOptions
from quantserve.serving.errors import ServingError
from quantserve.serving.guard.plan import plan_guarded
from quantserve.serving.hardware import load_or_probe
from quantserve.serving.hardware.system import read_memory
from quantserve.serving.inspection import Views
from quantserve.serving.profiles import load_profile
from quantserve.serving.target import Target, resolve_target

WITH_ENGINE = "Run it by quantserve serving, which finds its environment"


def engine_is_here() -> bool:
    """Can this Python import vLLM?"""
    return importlib.util.find_spec("vllm") is not None


def require_engine() -> None:
    """Refuse to start what this Python does not have.

    Raises:
        ServingError: vLLM is not installed beside it.
    """
    if not engine_is_here():
        raise ServingError("vLLM is not in this Python", mend=WITH_ENGINE)


def prepare(target: Path, options: ServeOptions, run: RunDirectory) -> tuple[Target, Plan]:
    """Check the target, probe or recall the machine, and plan. Nothing is started."""
    resolved = resolved_target(target, options, run)
    plan = make_plan(plan_inputs(resolved, options, run))
    if plan.tls is not None:
        plan.tls.server_context()  # refuses files that do not go together
    return resolved, plan_guarded(plan, resolved, options, run)


def resolved_target(target: Path, options: ServeOptions, run: RunDirectory) -> Target:
    """Check the target, and ask the engine about it."""
    views = Views(run.views, options.vllm_args)
    return resolve_target(target, stamps=run.verified, full_check=options.full_check, views=views)


def plan_inputs(resolved: Target, options: ServeOptions, run: RunDirectory) -> PlanInputs:
    """Bring together what the plan depends on, with the memory that is free now."""
    hardware = load_or_probe(run.hardware)
    name = options.profile or default_profile(hardware, resolved.facts)
    profile = load_profile(name)
    wanted = {**profile.lora.adapters, **parse_adapters(options.lora)}
    served = options.served_model_name or resolved.name
    draft = profile.speculation.draft if profile.speculation is not None else None
    return PlanInputs(
        target=resolved,
        hardware=hardware,
        profile_name=name,
        profile=profile,
        options=options,
        available_bytes=read_memory().available_bytes,
        adapters=read_adapters(wanted, served, resolved.facts),
        draft=resolve_target(draft).facts if draft is not None else None,
    )


def request_of(target: Path, options: ServeOptions) -> dict[str, Any]:
    """Return what identifies a server: two equal requests are the same server."""
    asked = asdict(options)
    asked["vllm_args"], asked["lora"] = list(options.vllm_args), list(options.lora)
    return {"target": str(target.resolve()), **asked}
