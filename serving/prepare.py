"""From what the user typed to a plan: target, hardware, profile and memory brought together."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from serving.command import Plan, PlanInputs, default_profile, make_plan
from serving.config import RunDirectory, ServeOptions
from serving.guard.prepare import guarded
from serving.hardware import load_or_probe
from serving.hardware.system import read_memory
from serving.profiles import load_profile
from serving.target import Target, resolve_target


def prepare(target: Path, options: ServeOptions, run: RunDirectory) -> tuple[Target, Plan]:
    """Check the target, probe or recall the machine, and plan. Nothing is started."""
    resolved = resolve_target(target, stamps=run.verified, full_check=options.full_check)
    hardware = load_or_probe(run.hardware)
    name = options.profile or default_profile(hardware)
    plan = make_plan(
        PlanInputs(
            target=resolved,
            hardware=hardware,
            profile_name=name,
            profile=load_profile(name),
            options=options,
            available_bytes=read_memory().available_bytes,
        )
    )
    return resolved, guarded(plan, resolved, options, run)


def request_of(target: Path, options: ServeOptions) -> dict[str, Any]:
    """Return what identifies a server: two equal requests are the same server."""
    asked = asdict(options)
    asked["vllm_args"] = list(options.vllm_args)
    return {"target": str(target.resolve()), **asked}
