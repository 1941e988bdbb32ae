"""What an artifact's own files say about it: its manifest and the gate's report.

Read as plain JSON: the artifact directory is a seam, and benchmarks imports no package but core.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quantserve.benchmarks.errors import BadRun
from quantserve.core.checkpoints import find_weights, model_name


def facts(target: Path) -> tuple[str, dict[str, Any]]:
    """A name for a report (version, or directory name) and what is known of size and quality.

    Raises:
        BadRun: there is no checkpoint.
    """
    directory = target.resolve()
    if not (directory / "config.json").is_file():
        raise BadRun(f"{target} is no checkpoint or artifact", mend="Name a directory with a config.json")
    config = _json(directory / "config.json")
    present = any(directory.glob("*.safetensors"))
    weights = find_weights(directory, config, error=BadRun).size_bytes if present else 0
    manifest, report = _json(directory / "manifest.json"), _json(directory / "report.json")
    if not manifest:
        return model_name(directory), {"bits": 16, "weight_bytes": weights}
    return str(manifest.get("version") or model_name(directory)), {
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
