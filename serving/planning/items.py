"""What goes into a plan and what comes out of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from quantserve.serving.adapters import Adapter
from quantserve.serving.config import ServeOptions
from quantserve.serving.hardware.facts import Hardware
from quantserve.serving.kv import KvEstimate
from quantserve.serving.model import ModelFacts, Task
from quantserve.serving.planning.words import parse_flags
from quantserve.serving.profiles import Profile
from quantserve.serving.target import Target
from quantserve.serving.tls import Tls

ENGINE_MODULE = "quantserve.serving.vllm_server"


@dataclass(frozen=True)
class Item:
    """One flag or variable. `value` None is a flag without a value."""

    name: str
    value: str | None
    source: str
    """hardware, model, profile, manifest, user or safety."""
    reason: str
    more: tuple[str, ...] = ()
    """Further words of a flag that takes several."""

    @property
    def words(self) -> tuple[str, ...]:
        """The flag as it stands in argv."""
        return (self.name, *(() if self.value is None else (self.value,)), *self.more)


@dataclass(frozen=True)
class PlanInputs:
    """All the plan may depend on. `available_bytes` is the memory that is free now."""

    target: Target
    hardware: Hardware
    profile_name: str
    profile: Profile
    options: ServeOptions
    available_bytes: int
    adapters: tuple[Adapter, ...] = ()
    fitted_length: int | None = None
    """Longest request there is memory for, where that is less than the model's own."""
    draft: ModelFacts | None = None
    """The small model that guesses ahead, where the profile names one."""

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU computes; a profile for both takes one where there is one."""
        return self.profile.device == "gpu" or (self.profile.device == "auto" and bool(self.hardware.gpus))

    def given(self, name: str) -> str | None:
        """Return the value of a flag the user gave after --."""
        return parse_flags(self.options.vllm_args).get(name)

    def given_number(self, name: str) -> int | None:
        """Return such a flag's value where it is a whole number; anything else is vLLM's to judge."""
        value = self.given(name)
        return int(value) if value is not None and value.isdigit() else None

    def wished(self, name: str) -> str | None:
        """Return the value of a flag the user gave, else of the vLLM option the profile passes through."""
        through = self.profile.vllm.get(name.removeprefix("--"))
        return self.given(name) or (None if through is None else str(through))


@dataclass(frozen=True)
class Plan:
    """What will be started, and why."""

    profile: str
    device: str
    dtype: str
    model: str
    version: str | None
    max_model_length: int
    drain_s: int
    weights_bytes: int
    kv: KvEstimate | None
    flags: tuple[Item, ...]
    environment: tuple[Item, ...]
    warnings: tuple[str, ...] = field(default=())
    guard: tuple[Item, ...] = field(default=())
    """The guard's settings; serving.guard.plan decides them."""
    task: Task = "generate"
    notes: tuple[Item, ...] = field(default=())
    """Decisions that the engine follows without being told by a flag."""
    adapters: tuple[Adapter, ...] = field(default=())
    """What clients may have loaded, by name."""
    copies: int = 1
    """Engines in the server, each with the whole model and a cache of its own."""

    tls: Tls | None = None
    """What the public address speaks TLS with."""

    @property
    def kv_tokens(self) -> int | None:
        """Tokens that all caches hold together; None where there is none."""
        return self.kv.tokens * self.copies if self.kv else None

    def argv(self, python: str, parent: int | None = None) -> list[str]:
        """Return the command line of the engine, which ends with the process `parent` if one is given."""
        words = [python, "-m", ENGINE_MODULE, *(["--parent", str(parent)] if parent else [])]
        for item in self.flags:
            words.extend(item.words)
        return words

    def env(self) -> dict[str, str]:
        """Return the variables to add to the environment."""
        return {item.name: item.value or "" for item in self.environment}

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `plan --json`."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return plain
