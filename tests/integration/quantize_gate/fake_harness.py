"""Stands in for the interpreter with lm-evaluation-harness: asks the engine once, then writes results.

The base scores 0.8, every other model 0.4.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path


def main(argv: list[str]) -> int:
    settings = dict(part.split("=", 1) for part in argv[argv.index("--model_args") + 1].split(","))
    body = json.dumps({"model": settings["model"], "prompt": "a b c", "max_tokens": 1}).encode()
    with urllib.request.urlopen(settings["base_url"], body, timeout=10) as reply:
        if not json.load(reply)["choices"]:
            return 1
    score = 0.8 if settings["model"] == "tiny" else 0.4
    tasks = argv[argv.index("--tasks") + 1].split(",")
    results = {task: {"alias": task, "acc,none": score, "acc_stderr,none": 0.1} for task in tasks}
    folder = Path(argv[argv.index("--output_path") + 1], settings["model"])
    folder.mkdir(parents=True)
    (folder / "results_2026.json").write_text(json.dumps({"results": results}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
