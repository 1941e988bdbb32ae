"""What this machine can really do: measured in child processes, so that a crash is an answer.

`probe_machine()` looks at cores, memory, instruction sets and GPUs and times small matrix products in each
number format; `load_or_probe()` keeps the result in a file until the machine changes. Out comes a
frozen `Hardware`, the only thing `serving.command` knows about the machine.
"""

from quantserve.serving.hardware.facts import (
    AttentionTrial,
    Cpu,
    GemmSpeed,
    Gpu,
    Hardware,
    Instruction,
    Libraries,
    Memory,
)
from quantserve.serving.hardware.probe import load_or_probe, probe_machine

__all__ = [
    "AttentionTrial",
    "Cpu",
    "GemmSpeed",
    "Gpu",
    "Hardware",
    "Instruction",
    "Libraries",
    "Memory",
    "load_or_probe",
    "probe_machine",
]
