"""What each shape must give, and the table of it in the documentation.

    python -m tests.architectures.outcomes

writes the table anew from outcomes.json, which is the ground of the tests.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.architectures.shapes import NOT_MADE, Shape, all_shapes, registry
from tests.programs import ROOT

METHODS = ("int8", "gptq", "awq", "rtn")
FILE = Path(__file__).with_name("outcomes.json")
PAGE = ROOT / "docs/quantization-methods.md"
BEGIN, END = "<!-- architectures -->", "<!-- /architectures -->"
OK = "ok"


def outcomes() -> dict[str, dict[str, str]]:
    """Return what each shape must give by method, `ok` or words of the refusal.

    `engine` is the CPU's with the checkpoint in 16 bits, `engine METHOD` its words about an artifact that it
    does not load.
    """
    found: dict[str, dict[str, str]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def table() -> str:
    """Return the table: a row for each type that has shapes, and the reasons below it."""
    expected = outcomes()
    by_type: dict[str, list[Shape]] = {}
    for shape in all_shapes().values():
        by_type.setdefault(shape.model_type, []).append(shape)
    reasons: list[str] = []

    def cell(model_type: str, what: str) -> str:
        told = {shape.name: _told(expected[shape.name], what) for shape in by_type[model_type]}
        general = told.pop(model_type, next(iter(told.values())))
        others = sorted({reason for reason in told.values() if reason != general})
        return " ".join(_short(reason, reasons) for reason in (general, *others))

    lines = [
        f"| type | variants | {' | '.join(METHODS)} | engine on a CPU |",
        f"|---|--:|{'---|' * len(METHODS)}---|",
    ]
    for model_type in sorted(by_type):
        cells = [cell(model_type, what) for what in (*METHODS, "engine")]
        lines.append(f"| `{model_type}` | {len(by_type[model_type])} | {' | '.join(cells)} |")
    lines += ["", _counts(expected), ""]
    lines += [f"{number}. {reason}" for number, reason in enumerate(reasons, start=1)]
    missing = "; ".join(f"`{name}`: {why}" for name, why in sorted(NOT_MADE.items()))
    lines += ["", f"Known to both, without a shape: {missing}."]
    return "\n".join(lines)


def _told(row: dict[str, str], what: str) -> str:
    """Return an outcome, the engine's with what it says of artifacts that it does not load."""
    unloaded = {key.removeprefix("engine "): why for key, why in row.items() if key.startswith("engine ")}
    if what != "engine" or not unloaded:
        return row[what]
    return "; ".join(f"16 bits load, {method} does not: {why}" for method, why in unloaded.items())


def _short(reason: str, reasons: list[str]) -> str:
    """Return ok, or the number of a reason in the list below the table."""
    if reason == OK:
        return OK
    if reason not in reasons:
        reasons.append(reason)
    return f"({reasons.index(reason) + 1})"


def _counts(expected: dict[str, dict[str, str]]) -> str:
    """Return one sentence of counts."""
    made = {method: sum(row[method] == OK for row in expected.values()) for method in METHODS}
    loads = sum(row["engine"] == OK for row in expected.values())
    whole = sum(row["engine"] == OK == _told(row, "engine") for row in expected.values())
    kinds = ", ".join(f"{count} by {method}" for method, count in made.items())
    return (
        f"{len(expected)} shapes of {len({shape.model_type for shape in all_shapes().values()})} types, of "
        f"{len(registry())} that both know: {kinds} made and right, the others refused before the work; the "
        f"engine on a CPU loads {loads} of the 16-bit shapes, and of {whole} of these every artifact."
    )


def with_table(page: str) -> str:
    """Return the page with the table of today."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def write_outcomes(found: dict[str, dict[str, Any]]) -> None:
    """Write the file in the order of names, a line for each shape."""
    lines = [f" {json.dumps(name)}: {json.dumps(row)}" for name, row in sorted(found.items())]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
