"""Run in the quantize environment: judge an artifact by a small measurement, and say what came out.

python small_gate.py ARTIFACT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from quantserve.quantize.gate.case import GateLimits
from quantserve.quantize.gate.measure.config import GateConfig, Measurement
from quantserve.quantize.gate.run import gate_artifact

SMALL = Measurement(
    passages=6,
    reported_passages=2,
    max_answer_tokens=16,
    max_call_tokens=16,
    facts=12,
    float32=False,
    speed_concurrencies=(1, 4),
    speed_tokens=8,
)

if __name__ == "__main__":
    outcome = gate_artifact(Path(sys.argv[1]), None, GateConfig(measurement=SMALL), GateLimits())
    print(json.dumps({**outcome.report, "unchanged": outcome.unchanged}))
    sys.exit(outcome.verdict.exit_code)
