"""The base against itself: as it is served, in 16 bits, and in float32. What differs is noise, not loss.

A greedy answer follows the highest logit, and where two are nearly equal, rounding to 16 bits decides. So
some answers differ between two runs of the same weights; a candidate is held to account beyond that only.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from quantserve.core.console import console
from quantserve.quantize.gate import cache
from quantserve.quantize.gate.client import Client
from quantserve.quantize.gate.config import GateConfig
from quantserve.quantize.gate.engine import running
from quantserve.quantize.gate.errors import EngineFailed
from quantserve.quantize.gate.measure import Said, look_again
from quantserve.quantize.gate.pairing import Asked
from quantserve.quantize.gate.speed import Tick

EXACT = "float32"
_OPTIONS = ("--dtype", EXACT)


@dataclass(frozen=True)
class Reference:
    """What the base says in float32; without it, why not."""

    said: Said | None
    problem: str = ""


def needed(config: GateConfig, served_dtype: str | None) -> str:
    """Return why no second run of the base is to be made, or nothing."""
    if not config.measurement.float32:
        return "not asked for"
    return f"the base is served in {EXACT}, which has none" if served_dtype == EXACT else ""


def measure_reference(
    config: GateConfig, base: Path, served_dtype: str | None, asked: Asked, kept: Path | None, tick: Tick
) -> Reference:
    """Serve the base in float32 and ask it the questions, or take what it said from `kept`.

    A machine that has no room for the base in float32 judges without a floor, and the report says so.

    Raises:
        BadReply: the base answered with something that is no answer.
    """
    if problem := needed(config, served_dtype):
        return Reference(None, problem)
    if kept is not None and (said := cache.load_said(kept)) is not None:
        return Reference(said)
    try:
        with running(config, base, f"base-{EXACT}", _OPTIONS) as engine:
            client = Client(engine.url, engine.model, timeout_s=config.request_timeout_s)
            with contextlib.closing(client):
                plan = config.measurement
                said = look_again(client, plan, asked.questions, asked.fact_questions, tick)
    except EngineFailed as error:
        console.print(f"no noise floor: the base in {EXACT}: {error}", markup=False, soft_wrap=True)
        return Reference(None, f"the base did not run in {EXACT}: {error}")
    return Reference(said)
