"""`serving plan`: what would be started, and why, without starting it."""

from __future__ import annotations

import sys
from typing import Any

from rich.table import Table

from quantserve.core.console import console, emit_json
from quantserve.core.sizes import binary_size
from quantserve.serving.command import Item, Plan
from quantserve.serving.commands import parameters as p
from quantserve.serving.commands.say import warn
from quantserve.serving.config import RunDirectory
from quantserve.serving.guard.settings import VARIABLE
from quantserve.serving.hardware import load_or_probe
from quantserve.serving.prepare import prepare
from quantserve.serving.profiles import load_profile


def plan(
    target: p.TargetArgument,
    vllm_args: p.VllmArgument = None,
    host: p.HostOption = p.SERVE.host,
    port: p.PortOption = p.SERVE.port,
    profile: p.ProfileOption = p.SERVE.profile,
    served_model_name: p.NameOption = p.SERVE.served_model_name,
    full_check: p.FullCheckOption = p.SERVE.full_check,
    keys: p.KeysOption = p.SERVE.keys,
    guard: p.GuardOption = p.SERVE.guard,
    private: p.PrivateOption = p.SERVE.private,
    lora: p.LoraOption = None,
    run_dir: p.RunDirOption = p.RUN.path,
    json_output: p.JsonOption = False,
) -> None:
    """Print every flag and variable the engine would get, each with its reason."""
    options = p.serve_options(host, port, profile, served_model_name, full_check, vllm_args)
    options = p.with_lora(p.guarded(options, keys, guard, private, run_dir), lora)
    run = RunDirectory(run_dir)
    _, decided = prepare(target, options, run)
    if json_output:
        found = {**decided.to_json(), "argv": decided.argv(sys.executable), "env": decided.env()}
        emit_json({**found, **_circumstances(decided, run)})
    else:
        _print(decided)


def _circumstances(decided: Plan, run: RunDirectory) -> dict[str, Any]:
    """Return what a program that changes the profile and measures needs to know of it and of the machine."""
    profile, hardware = load_profile(decided.profile), load_or_probe(run.hardware)
    cpu = hardware.cpu
    return {
        "profile_settings": {
            "own": profile.model_dump(exclude_unset=True, mode="json"),
            "values": profile.model_dump(mode="json"),
        },
        "machine": {
            "identity": hardware.identity,
            "words": f"{cpu.model}, {cpu.cores} cores, {len(hardware.gpus)} GPUs",
            "processors": cpu.usable,
            "cores": cpu.cores,
        },
    }


def _print(decided: Plan) -> None:
    table = Table(title=f"{decided.model}, profile {decided.profile}", box=None, header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("value", overflow="fold", max_width=28)
    table.add_column("from", no_wrap=True)
    table.add_column("why", overflow="fold")
    for item in (*decided.flags, *decided.environment, *decided.notes):
        if item.name != VARIABLE:  # what it carries is shown in full below
            _row(table, item)
    table.add_section()
    for item in decided.guard:
        _row(table, item)
    console.print(table)
    cache = "no KV cache"
    if decided.kv is not None:
        cache = (
            f"KV cache {binary_size(decided.kv.size_bytes)} a device = {decided.kv.tokens} tokens "
            f"= {decided.kv.sequences:g} requests of {decided.max_model_length}"
        )
    each = f", each of {decided.copies} times" if decided.copies > 1 else ""
    console.print(f"weights {binary_size(decided.weights_bytes)}, {cache}{each}")
    warn(decided)


def _row(table: Table, item: Item) -> None:
    value = " ".join((item.value or "", *item.more)).strip()
    table.add_row(item.name, value, item.source, item.reason)
