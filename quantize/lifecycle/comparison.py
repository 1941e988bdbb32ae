"""Two artifacts side by side: what they were made with, what they measured, what they weigh. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from quantserve.quantize.artifact import Manifest

# Differ between any two artifacts, so they say nothing.
_ALWAYS_DIFFERENT = {"version", "key", "created", "files", "schema_version"}
_SECTIONS = {"parameters": "parameter", "tools": "tool", "calibration": "calibration"}


@dataclass(frozen=True)
class Row:
    """One line of a comparison; None says that one side does not have it."""

    section: str
    name: str
    a: Any
    b: Any

    @property
    def same(self) -> bool:
        """Whether both sides say the same."""
        return bool(self.a == self.b)

    @property
    def change(self) -> float | None:
        """Return b over a less 1 where both are numbers and a is not 0."""
        numbers = [v for v in (self.a, self.b) if isinstance(v, int | float) and not isinstance(v, bool)]
        return numbers[1] / numbers[0] - 1 if len(numbers) == 2 and numbers[0] else None


def compare(a: Manifest, b: Manifest, report_a: Mapping[str, Any], report_b: Mapping[str, Any]) -> list[Row]:
    """Return every parameter, origin, figure and file size of two artifacts and their reports."""
    rows = list(_rows("", _facts(a), _facts(b)))
    rows += _rows("figure", _figures(report_a), _figures(report_b))
    rows.append(Row("size", "all files, bytes", a.size_bytes, b.size_bytes))
    rows.append(Row("size", "weights, bytes", a.weight_bytes, b.weight_bytes))
    rows += _rows(
        "size",
        {f"{name}, bytes": record.size_bytes for name, record in a.files.items()},
        {f"{name}, bytes": record.size_bytes for name, record in b.files.items()},
    )
    content_a, content_b = ({n: r.sha256 for n, r in m.files.items()} for m in (a, b))
    rows += [
        Row("content", name, content_a[name][:12], content_b[name][:12])
        for name in sorted(content_a.keys() & content_b.keys())
    ]
    return rows


def _rows(section: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Row]:
    for name in dict.fromkeys((*a, *b)):
        where, dot, rest = name.partition(".")
        if not section and dot:
            yield Row(_SECTIONS.get(where, where), rest, a.get(name), b.get(name))
        else:
            yield Row(section or "origin", name, a.get(name), b.get(name))


def _facts(manifest: Manifest) -> dict[str, Any]:
    value = manifest.model_dump(mode="json", exclude=_ALWAYS_DIFFERENT)
    return dict(_flat(value))


def _figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict and every number the gate measured."""
    found = dict(_flat(report.get("figures") or {}))
    return {"verdict": report.get("verdict"), **found}


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested objects under dotted names; a list is one leaf."""
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item
