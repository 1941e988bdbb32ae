"""`serving doctor`: what this machine can do, each finding with its mend."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer
from rich.table import Table

from quantserve.core.console import console, emit_json, styled
from quantserve.serving.commands import parameters as p
from quantserve.serving.config import RunDirectory
from quantserve.serving.doctor import Finding, check_hardware, check_port, check_room, check_tools
from quantserve.serving.errors import HardwareError
from quantserve.serving.hardware import load_or_probe
from quantserve.serving.state import read_state

_ROOT = Path(__file__).resolve().parents[2]
_COLOURS = {"good": "green", "warning": "yellow", "bad": "bold red"}


def doctor(
    json_output: p.JsonOption = False,
    run_dir: p.RunDirOption = p.RUN.path,
    port: p.PortOption = p.SERVE.port,
) -> None:
    """Probe the machine anew and list what is good, slow or broken. Exit code 1 when something is bad."""
    run = RunDirectory(run_dir)
    state = read_state(run.state)
    findings = [*check_tools(_ROOT), *check_room(_ROOT)]
    findings += check_port(p.SERVE.host, port, ours=state is not None and state.port == port)
    try:
        with console.status("measuring this machine …"):
            hardware = load_or_probe(run.hardware, refresh=True)
        findings += check_hardware(hardware)
    except HardwareError as error:
        findings.append(Finding("bad", "hardware probe", error.problem, error.mend))
    if not json_output:
        _print(findings)
    bad = sum(finding.level == "bad" for finding in findings)
    if json_output:
        emit_json({"bad": bad, "findings": [asdict(finding) for finding in findings]})
    raise typer.Exit(1 if bad else 0)


def _print(findings: list[Finding]) -> None:
    table = Table("", "found", "mend")
    for finding in findings:
        colour = _COLOURS[finding.level]
        table.add_row(styled((finding.what, colour)), finding.found, finding.mend)
    console.print(table)
