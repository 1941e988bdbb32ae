"""What an artifact's own files say about it: its manifest and the gate's report.

Read as plain JSON: the artifact directory is a seam, and benchmarks imports no package but core.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.errors import BadRun


def facts(target: Path) -> tuple[str, dict[str, Any]]:
    """A name for a report (version, or directory name) and what is known of size and quality.

    Raises:
        BadRun: there is no checkpoint.
    """
    directory = target.resolve()
    if not (directory / "config.json").is_file():
        raise BadRun(f"{target} is no checkpoint or artifact", mend="Name a directory with a config.json")
    weights = sum(path.stat().st_size for path in directory.glob("*.safetensors"))
    manifest, report = _json(directory / "manifest.json"), _json(directory / "report.json")
    if not manifest:
        return directory.name, {"bits": 16, "weight_bytes": weights}
    return str(manifest.get("version") or directory.name), {
        "bits": manifest.get("bits"),
        "method": manifest.get("method"),
        "key": manifest.get("key"),
        "weight_bytes": weights,
        "verdict": report.get("verdict"),
        **_quality(report.get("figures") or {}),
    }


def _quality(figures: dict[str, Any]) -> dict[str, float | None]:
    """The gate's estimates, without their intervals."""
    names = ("perplexity_ratio", "mean_kl", "top1_agreement")
    return {name: (figures.get(name) or {}).get("value") for name in names}


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise BadRun(f"{path} is no JSON ({error})") from error
    return value if isinstance(value, dict) else {}
