"""The shape of a profile and its reader; an unknown key is answered with the nearest right one."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.config import RunDirectory
from serving.errors import ProfileError
from serving.model import Task

_FOLDER = Path(__file__).parent
Positive = Annotated[int, Field(ge=1)]
TUNED = RunDirectory().path / "profiles"
"""Where `serving tune` leaves the profiles of this machine."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KvWishes(_Section):
    """How large the KV cache may be on a CPU, and in which format it is kept."""

    memory_fraction: float = Field(0.5, gt=0, le=0.95, description="share of what weights leave free")
    max_gib: float = Field(4.0, gt=0, description="never more than this")
    tokens_per_sequence: int = Field(1024, ge=16, description="length a typical request reaches")
    dtype: Literal["auto", "fp8", "fp8_e4m3", "fp8_e5m2"] = Field(
        "auto", description="fp8 holds twice the tokens; on GPUs from compute capability 8.9 on"
    )


class LoraWishes(_Section):
    """Adapters clients may ask for by name."""

    adapters: dict[str, Path] = Field(default_factory=dict, description="name → directory of the adapter")
    max_in_batch: int = Field(4, ge=1, description="different adapters computed in one step")
    max_loaded: int = Field(16, ge=1, description="adapters kept in main memory")


class Speculation(_Section):
    """Tokens guessed ahead and checked in one step; the answers stay the same."""

    method: Literal["ngram", "draft_model"]
    tokens: int = Field(4, ge=1, le=16, description="guessed in each step")
    lookup_tokens: int = Field(4, ge=1, description="ngram: longest run of tokens looked up in the prompt")
    draft: Path | None = Field(None, description="draft_model: directory of the small model")


class Profile(_Section):
    """One profile. `None` and `auto` let the hardware or the model decide."""

    description: str
    task: Task = "generate"
    device: Literal["auto", "cpu", "gpu"]
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    eager: bool | None = Field(None, description="None: eager on a CPU, compiled on a GPU")
    max_sequences: int = Field(64, ge=1)
    max_batched_tokens: int = Field(2048, ge=16)
    max_model_length: int | None = Field(None, ge=16)
    max_requests: int = Field(256, ge=1, description="running and waiting together; more are refused")
    prefix_caching: bool = True
    chunked_prefill: bool = True
    drain_s: int = Field(30, ge=0, description="time running requests get when the server stops")
    kv: KvWishes = KvWishes.model_validate({})
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    tensor_parallel: Positive | Literal["auto", "all"] = Field(
        "auto", description="auto: as few GPUs as the model needs, NUMA nodes on a CPU; all: every GPU"
    )
    pipeline_parallel: Positive | Literal["auto"] = Field("auto", description="auto: follows tensor_parallel")
    nodes: int = Field(1, ge=1, description="machines with the same GPUs, joined by Ray")
    lora: LoraWishes = LoraWishes.model_validate({})
    speculation: Speculation | None = None
    tool_parser: str | None = Field(None, description="None: by the chat template; none: no tool calls")
    environment: dict[str, str] = Field(default_factory=dict)
    vllm: dict[str, str | int | float | bool | list[Any] | dict[str, Any]] = Field(
        default_factory=dict, description="any vLLM option by its name without dashes in front"
    )


_SECTIONS: dict[str, type[BaseModel]] = {"kv": KvWishes, "lora": LoraWishes, "speculation": Speculation}


def profile_names() -> tuple[str, ...]:
    """Return the names of the profiles that come with the program, and of those tuned on this machine."""
    return tuple(sorted({path.stem for folder in (_FOLDER, TUNED) for path in folder.glob("*.yaml")}))


def nearest(word: str, candidates: tuple[str, ...]) -> str:
    """Return a sentence that names the candidate most like `word`, or all of them."""
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(candidates)}"


def _known_keys(location: tuple[int | str, ...]) -> tuple[str, ...]:
    model = _SECTIONS.get(str(location[0]), Profile) if len(location) > 1 else Profile
    return tuple(model.model_fields)


def load_profile(name: str) -> Profile:
    """Load a profile by its name, or from a path ending in .yaml or .yml.

    Directories in a file of the user's are relative to that file.

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
            raise ProfileError(f"there is no profile {name!r}", mend=nearest(name, profile_names()))
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise ProfileError(f"{path} is not YAML: {first}", mend="Mend the file") from error
    try:
        return _with_paths_from(Profile.model_validate(data), path.parent)
    except ValidationError as error:
        found = error.errors()[0]
        # pydantic names the branch of a union, which is no key of the file.
        keys = [str(part) for part in found["loc"] if not str(part).startswith(("constrained", "literal["))]
        where = ".".join(keys) or "the file"
        if found["type"] == "extra_forbidden":
            mend = nearest(str(found["loc"][-1]), _known_keys(found["loc"]))
            raise ProfileError(f"{path}: unknown key {where!r}", mend=mend) from error
        raise ProfileError(f"{path}: {where}: {found['msg']}", mend="Mend the value") from error


def _with_paths_from(profile: Profile, folder: Path) -> Profile:
    adapters = {name: folder / path for name, path in profile.lora.adapters.items()}
    changes: dict[str, Any] = {"lora": profile.lora.model_copy(update={"adapters": adapters})}
    if profile.speculation is not None and profile.speculation.draft is not None:
        draft = folder / profile.speculation.draft
        changes["speculation"] = profile.speculation.model_copy(update={"draft": draft})
    return profile.model_copy(update=changes)
