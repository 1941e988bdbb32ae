"""The shape of a profile and its reader; an unknown key is answered with the nearest right one."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.config import RunDirectory
from serving.errors import ProfileError

_FOLDER = Path(__file__).parent
TUNED = RunDirectory().path / "profiles"
"""Where `serving tune` leaves the profiles of this machine."""


class KvWishes(BaseModel):
    """How much memory the KV cache may take on a CPU."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory_fraction: float = Field(0.5, gt=0, le=0.95, description="share of what weights leave free")
    max_gib: float = Field(4.0, gt=0, description="never more than this")
    tokens_per_sequence: int = Field(1024, ge=16, description="length a typical request reaches")


class Profile(BaseModel):
    """One profile. `None` lets the hardware or the model decide."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str
    device: Literal["cpu", "gpu"]
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    eager: bool = False
    max_sequences: int = Field(64, ge=1)
    max_batched_tokens: int = Field(2048, ge=16)
    max_model_length: int | None = Field(None, ge=16)
    max_requests: int = Field(256, ge=1, description="running and waiting together; more are refused")
    prefix_caching: bool = True
    chunked_prefill: bool = True
    drain_s: int = Field(30, ge=0, description="time running requests get when the server stops")
    kv: KvWishes = KvWishes.model_validate({})
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    tensor_parallel: int = Field(1, ge=1)
    pipeline_parallel: int = Field(1, ge=1)
    environment: dict[str, str] = Field(default_factory=dict)
    vllm: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="any vLLM option by its name without dashes in front"
    )


def profile_names() -> tuple[str, ...]:
    """Return the names of the profiles that come with the program, and of those tuned on this machine."""
    return tuple(sorted({path.stem for folder in (_FOLDER, TUNED) for path in folder.glob("*.yaml")}))


def _nearest(word: str, candidates: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(candidates)}"


def _known_keys(location: tuple[int | str, ...]) -> tuple[str, ...]:
    model = KvWishes if location[:1] == ("kv",) and len(location) > 1 else Profile
    return tuple(model.model_fields)


def load_profile(name: str) -> Profile:
    """Load a profile by its name, or from a path ending in .yaml or .yml.

    Raises:
        ProfileError: there is no such profile, or its content is wrong; names the nearest right word.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise ProfileError(f"there is no profile file {path}")
    else:
        own = _FOLDER / f"{name}.yaml"
        path = own if own.is_file() else TUNED / f"{name}.yaml"
        if name not in profile_names():
            raise ProfileError(f"there is no profile {name!r}", mend=_nearest(name, profile_names()))
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise ProfileError(f"{path} is not YAML: {first}", mend="Mend the file") from error
    try:
        return Profile.model_validate(data)
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"]) or "the file"
        if found["type"] == "extra_forbidden":
            mend = _nearest(str(found["loc"][-1]), _known_keys(found["loc"]))
            raise ProfileError(f"{path}: unknown key {where!r}", mend=mend) from error
        raise ProfileError(f"{path}: {where}: {found['msg']}", mend="Mend the value") from error
