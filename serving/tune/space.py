"""The settings that are searched, and the steps from one value to the next. Pure.

A setting is a key of the profile: a field, or `vllm.NAME` and `environment.NAME` for what is passed through.
Its values are tried in the order given; a ladder is climbed from where the profile stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quantserve.serving.hardware.facts import Cpu
from quantserve.serving.hardware.system import format_id_list
from quantserve.serving.profiles import Profile

Value = str | int | float | bool | None
Changes = dict[str, Value]
"""Settings that differ from the profile the search began with; None removes one that is passed through."""

_SEQUENCES = (8, 16, 32, 64, 128, 256, 512, 1024)
_BATCHED_TOKENS = (256, 512, 1024, 2048, 4096, 8192, 16384)
_COPIES = (1, 2, 4, 8, 16)
BINDING = "environment.VLLM_CPU_OMP_THREADS_BIND"
SPECULATION = "vllm.speculative-config"
KV_DTYPE = "vllm.kv-cache-dtype"


@dataclass(frozen=True)
class Dimension:
    """One setting. On a ladder the values lie in order and neighbours are tried; otherwise each is."""

    key: str
    values: tuple[Value, ...]
    ladder: bool
    why: str


def ngram(tokens: int) -> str:
    """vLLM's option for guessing the next `tokens` tokens from the text so far."""
    return (
        f'{{"method":"ngram","num_speculative_tokens":{tokens},"prompt_lookup_max":4,"prompt_lookup_min":2}}'
    )


def dimensions(device: str, cpu: Cpu) -> tuple[Dimension, ...]:
    """What is searched on a device, most influential first."""
    found = [
        Dimension("max_sequences", _SEQUENCES, True, "how many requests share a step"),
        Dimension("max_batched_tokens", _BATCHED_TOKENS, True, "how long a prefill holds up the answers"),
        Dimension("chunked_prefill", (True, False), False, "whether long prompts are cut into steps"),
        Dimension(
            SPECULATION, (None, ngram(2), ngram(4)), False, "guesses from the text pay where it repeats"
        ),
    ]
    if device == "gpu":
        found.append(Dimension(KV_DTYPE, (None, "fp8"), False, "half the cache's bytes, some conversions"))
    elif len(cpu.usable) > 1:
        copies = tuple(number for number in _COPIES if number <= cpu.cores)
        found.insert(
            0, Dimension("data_parallel", copies, True, "copies of the model, none waits for others")
        )
        fewer = format_id_list(cpu.usable[:-1])
        found.insert(
            0,
            Dimension(BINDING, (None, fewer, "nobind"), False, "which processors compute, and which answer"),
        )
    return tuple(found)


def value_of(profile: Profile, key: str) -> Value:
    """Return a setting's value in a profile."""
    section, _, name = key.partition(".")
    if not name:
        value: Value = getattr(profile, key)
        return value
    passed: dict[str, Value] = dict(getattr(profile, section))
    return passed.get(name)


def with_changes(profile: Profile, changes: Changes) -> Profile:
    """Return the profile with settings changed; checked like one that is read from a file."""
    data: dict[str, Any] = profile.model_dump(exclude_unset=True)
    for key, value in changes.items():
        section, _, name = key.partition(".")
        if not name:
            data[key] = value
            continue
        passed = dict(data.get(section) or {})
        passed.pop(name, None)
        if value is not None:
            passed[name] = value
        data[section] = passed
    return Profile.model_validate(data)


def candidates(dimension: Dimension, now: Value) -> tuple[Value, ...]:
    """Return the values to try from `now`: the rest, or on a ladder the step up, then the step down."""
    if not dimension.ladder:
        return tuple(value for value in dimension.values if value != now)
    above = [v for v in dimension.values if _size(v) > _size(now)]
    below = [v for v in dimension.values if _size(v) < _size(now)]
    return (*above[:1], *below[-1:])


def onward(dimension: Dimension, before: Value, now: Value) -> Value:
    """Return the ladder's next value in the direction of the step from `before` to `now`; None at its end."""
    rest: Sequence[Value]
    if _size(now) > _size(before):
        rest = [v for v in dimension.values if _size(v) > _size(now)]
        return rest[0] if rest else None
    rest = [v for v in dimension.values if _size(v) < _size(now)]
    return rest[-1] if rest else None


def _size(value: Value) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
