"""The settings that are searched, and the steps from one value to the next. Pure.

A setting is a key of the profile: a field, or `vllm.NAME` and `environment.NAME` for what is passed
through. Its values are tried in the order given; a ladder is climbed from where the profile stands. Whether
a profile is right is for `serving` to say, which reads it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
class TuneOptions:
    """What every engine is asked, and how long is searched."""

    workload: str = "synthetic:prompt=16-128,output=32-96"
    load: str = "closed:32"
    requests: int = 64
    slo: str = ""
    """Limits as ttft=2s,tpot=200ms; with them requests that meet all of them are counted, not tokens."""
    only: tuple[str, ...] = ()
    """Settings whose name contains one of these; empty: all."""
    minutes: float = 60.0
    """No comparison is begun after so long."""
    at_once: int | None = None
    """Engines that stay up; None: two on a CPU and one on a GPU."""


@dataclass(frozen=True)
class ProfileSettings:
    """A profile as `serving plan --json` tells it."""

    own: Mapping[str, Any]
    """What it says itself: so it is written."""
    values: Mapping[str, Any]
    """Every setting, with what it leaves to the defaults."""

    def value(self, key: str, changes: Changes | None = None) -> Value:
        """Return a setting's value, after some changes."""
        if changes is not None and key in changes:
            return changes[key]
        section, _, name = key.partition(".")
        found: Value = self.values[section].get(name) if name else self.values[section]
        return found

    def changed(self, changes: Changes) -> dict[str, Any]:
        """Return the profile with settings changed, as data to be written."""
        data = dict(self.own)
        for key, value in changes.items():
            section, _, name = key.partition(".")
            if not name:
                data[key] = value
                continue
            passed = dict(data.get(section) or {})
            passed.pop(name, None)
            data[section] = passed if value is None else {**passed, name: value}
        return data


@dataclass(frozen=True)
class Dimension:
    """One setting. On a ladder the values lie in order and neighbours are tried; otherwise each is."""

    key: str
    values: tuple[Value, ...]
    ladder: bool
    why: str


def ngram(tokens: int) -> str:
    """vLLM's option for speculative decoding of `tokens` tokens from the text so far."""
    return (
        f'{{"method":"ngram","num_speculative_tokens":{tokens},"prompt_lookup_max":4,"prompt_lookup_min":2}}'
    )


def dimensions(device: str, processors: Sequence[int], cores: int) -> tuple[Dimension, ...]:
    """What is searched on a device, most influential first.

    Args:
        device: cpu or gpu.
        processors: ids of those that the engine may use.
        cores: so many of them can be kept busy at once.
    """
    found = [
        Dimension("max_sequences", _SEQUENCES, True, "how many requests share a step"),
        Dimension("max_batched_tokens", _BATCHED_TOKENS, True, "how long a prefill holds up the answers"),
        Dimension("chunked_prefill", (True, False), False, "whether long prompts are cut into steps"),
        Dimension(SPECULATION, (None, ngram(2), ngram(4)), False, "it pays where the text repeats itself"),
    ]
    if device == "gpu":
        found.append(Dimension(KV_DTYPE, (None, "fp8"), False, "half the cache's bytes, some conversions"))
    elif len(processors) > 1:
        bindings = (None, _id_list(processors[:-1]), "nobind")
        copies = tuple(number for number in _COPIES if number <= cores)
        found[:0] = [
            Dimension(BINDING, bindings, False, "which processors compute, and which answer"),
            Dimension("data_parallel", copies, True, "copies of the model, none waits for others"),
        ]
    return tuple(found)


def _id_list(ids: Sequence[int]) -> str:
    """Compress ids as the kernel writes them: 0, 1, 2, 3, 8 is "0-3,8"."""
    runs: list[list[int]] = []
    for _, run in itertools.groupby(enumerate(sorted(ids)), key=lambda pair: pair[1] - pair[0]):
        runs.append([value for _, value in run])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def candidates(dimension: Dimension, now: Value) -> tuple[Value, ...]:
    """Return the values to try from `now`: the rest, or on a ladder the step up, then the step down."""
    if not dimension.ladder:
        return tuple(value for value in dimension.values if value != now)
    above = [v for v in dimension.values if _size(v) > _size(now)]
    below = [v for v in dimension.values if _size(v) < _size(now)]
    return (*above[:1], *below[-1:])


def onward(dimension: Dimension, before: Value, now: Value) -> Value:
    """Return the ladder's next value in the direction of the step from `before` to `now`; None at its end."""
    if _size(now) > _size(before):
        above = [v for v in dimension.values if _size(v) > _size(now)]
        return above[0] if above else None
    below = [v for v in dimension.values if _size(v) < _size(now)]
    return below[-1] if below else None


def _size(value: Value) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
