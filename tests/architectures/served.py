"""A shape's checkpoint and its artifacts in the engine, as they would be served on this machine's CPU."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.architectures.program import Program
from tests.programs import ENVIRONMENT, PYTHON

LAYOUTS = ("int8", "gptq")
"""A method for each layout that a CPU is given by default: awq's and rtn's are gptq's."""
FAR = "it computes another model"
"""What is in the reason where the engine computes another model."""
AGREES = 0.08
"""The largest distance from float32 at which an engine that rounds to 16 bits computes the same model. What
does lies at 0.01 to 0.03, in mixtures up to 0.06; latent attention on a CPU lies at 0.08 to 0.18, also where
it computes in float32."""
ROUNDINGS = 3.0
MOST = 0.3
"""Where transformers in bfloat16 lies far from itself in float32, the engine may by so many times as much, up
to the most."""


@contextmanager
def engine(like: Path, log: Path) -> Iterator[Program]:
    """Yield the program that loads checkpoints, under the flags and variables planned for one of them."""
    done = subprocess.run(
        [PYTHON, "-m", "quantserve.serving", "plan", str(like), "--json"],
        cwd=log.parent,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=True,
    )
    plan = json.loads(done.stdout.splitlines()[-1])
    flags = log.with_name("flags.json")
    flags.write_text(json.dumps(plan["argv"][3:]), encoding="utf-8")
    variables = {**plan["env"], "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    program = Program(PYTHON, "tests.architectures.engine", flags, env=variables, log=log)
    try:
        yield program
    finally:
        program.close()


def why_not(engine: Program, reference: dict[str, Any], expected: str = "") -> str | None:
    """Return why the engine does not compute what float32 does, or None.

    A load that fails can spoil the engine's process for the next: a reason that is not the expected one
    counts when a new process gives it.

    reference: `directory`, `prompt`, float32's `logprobs` and bfloat16's, `rounded`.
    """
    reason = _why_not(engine, reference)
    if reason is not None and not (expected and expected in reason):
        engine.close()
        reason = _why_not(engine, reference)
    return reason


def _why_not(engine: Program, reference: dict[str, Any]) -> str | None:
    told = engine.ask({key: reference[key] for key in ("directory", "prompt")})
    if "died" in told:
        return f"the engine died {told['died']}"
    if not told["loads"]:
        return str(told["reason"])
    far = distance(told["logprobs"], reference["logprobs"])
    rounding = distance(reference["rounded"], reference["logprobs"])
    return None if far <= max(AGREES, ROUNDINGS * rounding) else f"{FAR}: distance {far:.2f}"


def distance(found: list[float], wanted: list[float]) -> float:
    """Return how far log-probabilities lie from those wanted: 0 the same, about 1.4 unrelated.

    The tenth of the tokens farthest off is left out: an engine that rounds to 16 bits sends some of them to
    another expert.
    """
    if len(found) != len(wanted) or not all(map(math.isfinite, found)):
        return math.inf
    squares = sorted((a - b) ** 2 for a, b in zip(found, wanted, strict=True))
    nearest = squares[: len(squares) - len(squares) // 10]
    return math.sqrt(statistics.fmean(nearest)) / statistics.pstdev(wanted)
