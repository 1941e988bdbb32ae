"""Write outcomes.json anew from what happens today, to be read before it is committed.

    .venvs/rag/bin/python -m tests.architectures.record [--engine] FOLDER [SHAPE…]

Shapes are made in FOLDER; what was seen in full goes to FOLDER/seen.jsonl. Without --engine the engine's part
of outcomes.json stays as it is.
"""

from __future__ import annotations

import argparse
import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.architectures.outcomes import METHODS, OK, outcomes, write_outcomes
from tests.architectures.program import QUANTIZE, Program
from tests.architectures.served import FAR, LAYOUTS, engine, why_not
from tests.architectures.shapes import all_shapes


def words(message: str) -> str:
    """Return the part of a message that does not name a folder, a tensor or a mend."""
    problem = message.split(". ")[0]
    return re.sub(r"^/\S+ ", "", problem)


# Of the engine's reasons what does not change from run to run; the whole is in seen.jsonl.
_GENERAL = (
    "object has no attribute",
    "were not initialized from checkpoint",
    "There is no module or parameter named",
    "is missing special tokens",
    "are not supported for now",
    "is out of bounds for dimension",
    FAR,
    "MoE backend supports the deployment configuration",
)


def general(reason: str) -> str:
    """Return the part of the engine's reason that the next run gives too."""
    return next((part for part in _GENERAL if part in reason), reason[:160])


def main() -> None:
    """Record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", action="store_true")
    parser.add_argument("folder", type=Path)
    parser.add_argument("shapes", nargs="*")
    asked = parser.parse_args()
    folder: Path = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[str, dict[str, str]] = outcomes()
    with ExitStack() as stack:
        seen = stack.enter_context((folder / "seen.jsonl").open("a", encoding="utf-8"))
        quantizer = Program(QUANTIZE, "tests.architectures.worker", folder, env={}, log=folder / "worker.log")
        stack.callback(quantizer.close)
        served = None
        if asked.engine:
            plain = quantizer.ask({"shape": "llama"})
            served = stack.enter_context(engine(Path(plain["directory"]), folder / "engine.log"))
        for name in asked.shapes or all_shapes():
            row = known.get(name, {"engine": ""})
            if served is not None:
                row["engine"] = general(why_not(served, quantizer.ask({"shape": name})) or OK)
            for method in METHODS:
                row[method], loads = _method(name, method, quantizer, served, row["engine"], seen, folder)
                if served is not None:
                    row.pop(f"engine {method}", None)
                    row |= {f"engine {method}": general(loads)} if loads != OK else {}
            known[name] = row
            seen.flush()
            write_outcomes({shape: known[shape] for shape in all_shapes() if shape in known})


def _method(
    name: str, method: str, quantizer: Program, served: Program | None, has: str, seen: Any, folder: Path
) -> tuple[str, str]:
    """Return how the quantizer ended, and what the engine says of what was made."""
    kept = folder / f"artifact-{name}-{method}"
    wanted = served is not None and has == OK and method in LAYOUTS
    task = {"shape": name, "method": method, **({"keep": str(kept)} if wanted else {})}
    found = quantizer.ask(task)
    if served is not None and wanted and found.get("outcome") == "ok":
        found["engine"] = why_not(served, {**found, "directory": str(kept)}) or OK
    for key in ("logprobs", "rounded"):
        found.pop(key, None)
    seen.write(json.dumps({**task, **found}) + "\n")
    outcome = str(found.get("outcome", "died"))
    if outcome == "ok":
        return OK, found.get("engine", OK)
    return (words(found["message"]) if outcome == "refused" else outcome), OK


if __name__ == "__main__":
    main()
