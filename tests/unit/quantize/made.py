"""Makes small whole artifacts, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quantserve.quantize.artifact import Manifest, file_records, write_manifest
from tests.unit.quantize.checkpoints import make_checkpoint


def make_artifact(artifacts: Path, version: str, *, name: str = "m", day: int = 1, **changes: Any) -> Path:
    """Make artifacts/NAME/VERSION; `verdict` and `figures` go into the report, the rest into the manifest."""
    directory = make_checkpoint(artifacts / name / version)
    verdict = changes.pop("verdict", "ACCEPT")
    if verdict:
        report = {"verdict": verdict, "figures": changes.pop("figures", {})}
        (directory / "report.json").write_text(json.dumps(report))
    facts: dict[str, Any] = {
        "name": name,
        "version": version,
        "key": version * 8,
        "created": f"2026-01-{day:02}T00:00:00+00:00",
        "method": "gptq",
        "bits": 4,
        "parameters": {"group_size": 32},
        "base": None,
        "files": file_records(directory),
    }
    write_manifest(directory, Manifest(**{**facts, **changes}))
    return directory
