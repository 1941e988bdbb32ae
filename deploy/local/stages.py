"""The stages of `quantserve up`: what each runs, in which environment, and what it found."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quantserve.core.errors import QuantserveError, ResourceError, UsageError
from quantserve.core.home import VARIABLE, command_home, python_of
from quantserve.deploy.local.options import UpOptions

Found = dict[str, dict[str, Any]]
"""What the stages so far printed as their last line of JSON, by stage name."""


class StageFailed(QuantserveError):
    """A stage's program ended with an error that it has already explained."""

    def __init__(self, name: str, exit_code: int, mend: str) -> None:
        """Keep the program's own exit code; without a mend of ours its own line is the only one."""
        problem = f"stage {name} failed" if mend else ""
        if exit_code < 0:
            problem = f"stage {name} was killed by {signal.Signals(-exit_code).name}"
            mend, exit_code = mend or "Run it again; what was finished is kept", 128 - exit_code
        super().__init__(problem, mend=mend)
        self.stage = name
        self.exit_code = exit_code


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: what it is called on the screen and in `found`.
        command: from the options and what earlier stages found to the argv to run.
        says: from its own last line of JSON to the few words shown beside its name.
        mend: what to do when it fails, by exit code; the program's own message comes first.
    """

    name: str
    command: Callable[[UpOptions, Found], list[str]]
    says: Callable[[dict[str, Any]], str]
    mend: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a finished stage reported and how long it took."""

    result: dict[str, Any]
    seconds: float


def program(package: str, *words: str) -> list[str]:
    """Return the argv of one of our programs, which is run in the environment of its name."""
    return [str(python_of(package)), "-m", f"quantserve.{package}", *words]


def run_program(command: list[str], stdout: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run one of our programs where the generated files are kept."""
    home = command_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"QUANTSERVE_HOME={home} cannot be made: {error.strerror}") from error
    paths = {VARIABLE: str(home)}  # made absolute, for it is read from there
    # Ctrl-C reaches the program, too, which ends in order and says so; we wait for it. A handler, since what
    # is ignored would be ignored by the program as well.
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.run(
            command, cwd=home, env={**os.environ, **paths}, stdout=stdout, text=True, check=False
        )
    except FileNotFoundError as error:
        raise ResourceError(f"{command[0]} is not there", mend="Make it: quantserve setup") from error
    finally:
        signal.signal(signal.SIGINT, before)


def run_stage(stage: Stage, options: UpOptions, found: Found) -> Outcome:
    """Run one stage; its stderr goes to the terminal, its stdout's last line is its result.

    Raises:
        StageFailed: its program ended with a non-zero exit code.
    """
    started = time.perf_counter()
    done = run_program(stage.command(options, found), stdout=subprocess.PIPE)
    if done.returncode != 0:
        raise StageFailed(stage.name, done.returncode, stage.mend.get(done.returncode, ""))
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Outcome(result, time.perf_counter() - started)


def _accel(options: UpOptions) -> list[str]:
    return ["--accel", options.accel] if options.accel else []


def _status(result: dict[str, Any]) -> str:
    return str(result.get("status", "done"))


def _model(options: UpOptions, found: Found) -> list[str]:
    return program("quantize", "model", *([options.model] if options.model else []))


def _quantize(options: UpOptions, found: Found) -> list[str]:
    words = [
        "--model",
        found["model"]["directory"],
        *(["--method", options.method] if options.method else []),
        *(["--target", options.accel] if options.accel else []),
        *shlex.split(options.quantize),
    ]
    return program("quantize", "run", *words)


def _gate(options: UpOptions, found: Found) -> list[str]:
    words = [
        found["quantize"]["artifact"],
        "--base",
        found["model"]["directory"],
        *shlex.split(options.gate),
    ]
    return program("quantize", "gate", *words)


def _promote(options: UpOptions, found: Found) -> list[str]:
    return program("quantize", "promote", found["quantize"]["artifact"])


def _serve(options: UpOptions, found: Found) -> list[str]:
    current = Path(found["promote"]["artifact"]).parent / "current"
    words = [str(current), "--host", options.host, "--port", str(options.port)]
    return program("serving", "up", *words, *shlex.split(options.serve))


def _index(options: UpOptions, found: Found) -> list[str]:
    model = ["--embedding-model", options.embedding_model] if options.embedding_model else []
    return program("rag", "index", *map(str, options.documents), *model, "--json")


def _gate_words(result: dict[str, Any]) -> str:
    figures = result["figures"]
    if not figures:  # the engine did not even load it
        return str(result["verdict"])
    ratio, kl, top1 = (figures[name]["value"] for name in ("perplexity_ratio", "mean_kl", "top1_agreement"))
    facts = result["facts"] and result["facts"]["candidate_against_base"]
    known = f"  short prompts {facts['before']} → {facts['after']} right" if facts else ""
    return f"{result['verdict']}  perplexity ×{ratio:.3f}  KL {kl:.3f}  top-1 agreement {top1:.1%}{known}"


def _unchanged(result: dict[str, Any]) -> str:
    return "unchanged" if result["unchanged"] else "done"


SERVE = Stage(
    "serve",
    _serve,
    lambda result: f"{result['base_url']} {result['status']}, ready after {result['ready_s']} s",
)

STAGES: tuple[Stage, ...] = (
    Stage(
        "setup",
        lambda options, found: [sys.executable, "-m", "quantserve.deploy", "setup", *_accel(options)],
        _status,
    ),
    Stage("model", _model, lambda result: f"{result['directory']} {_status(result)}"),
    Stage("quantize", _quantize, lambda result: f"{result['version']} {_status(result)}"),
    Stage(
        "gate",
        _gate,
        _gate_words,
        {
            3: "The model lost too much quality: the reasons stand above; try --method int8 or gptq",
            4: "The figures contradict each other: read report.json in the artifact, then quantize again",
            5: "The engine cannot load the artifact: read its log, then quantize with other options",
        },
    ),
    Stage("promote", _promote, lambda result: f"{result['current']} is current"),
    SERVE,
    Stage(
        "index",
        _index,
        lambda result: f"{result['files']} files, {result['chunks']} passages, {_unchanged(result)}",
    ),
)
NAMES = tuple(stage.name for stage in STAGES)
