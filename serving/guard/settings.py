"""Every limit of the guard with its default: read from YAML at plan time, from the environment in the engine.

read_user_settings(path)   at plan time; unknown keys are refused
from_environment()         in the engine's process
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from quantserve.core.errors import UsageError
from quantserve.serving.guard.request.limits import MIB, FrozenModel, RequestLimits, TokenBounds
from quantserve.serving.model import Task

VARIABLE = "QUANTSERVE_GUARD"
"""Environment variable that carries the planned settings into the engine's process, as JSON."""


class GuardError(UsageError):
    """The server would be open to strangers, or the guard's settings are wrong."""


class Audit(FrozenModel):
    """The log of who asked what. Never the prompt unless `prompts` is set."""

    file: str | None = Field(None, description="JSON lines; none is written without a file")
    max_bytes: int = Field(64 * MIB, ge=1024, description="size at which a new file is begun")
    files: int = Field(5, ge=1, description="old files that are kept")
    prompts: bool = Field(False, description="write what was asked, too")


class Artifact(FrozenModel):
    """What is served, for the audit log and the info metric."""

    name: str = ""
    version: str | None = None
    sha256: str | None = Field(None, description="hash of the manifest, which holds every file's hash")
    method: str | None = None
    bits: float | None = None


class OfferedAdapter(FrozenModel):
    """A LoRA adapter that may be loaded by its name: its directory and the weights that were checked."""

    name: str
    directory: str
    bytes: int
    mtime_ns: int


class GuardSettings(FrozenModel):
    """Everything the guard is told."""

    limits: RequestLimits = RequestLimits.model_validate({})
    tokens: TokenBounds = TokenBounds.model_validate({})
    audit: Audit = Audit.model_validate({})
    keys_file: str | None = Field(None, description="hashed keys; without a file nobody is asked for one")
    internal_key_sha256: str | None = Field(None, description="hash of the supervisor's own key")
    metrics_open: bool = Field(True, description="/metrics without a key")
    metrics_port: int | None = Field(None, ge=1, le=65535, description="serve /metrics on this port, too")
    metrics_host: str | None = Field(None, description="address of that port, by default the server's own")
    share_prefix_cache: bool = Field(
        False, description="let keys share cached beginnings; the time of an answer tells what others asked"
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="origins whose pages may ask a server without keys, each as http://name:port"
    )
    extra_paths: tuple[str, ...] = Field(
        (), description="further paths, each as 'POST /v1/path'; checked like a chat"
    )
    allowed_media_hosts: tuple[str, ...] = Field(
        (), description="hosts that image, audio and video addresses may name; data: is always allowed"
    )
    refused_fields: tuple[str, ...] = Field(
        (
            "chat_template",
            "prompt_embeds",
            "logits_processors",
            "kv_transfer_params",
            "ec_transfer_params",
            "mm_payload",
            "mm_processor_kwargs",
            "media_io_kwargs",
            "vllm_xargs",
            "use_beam_search",
        ),
        description="fields refused: they run templates, read tensors or steer the engine's inside",
    )
    adapters: tuple[OfferedAdapter, ...] = Field((), description="LoRA adapters, filled in by the plan")
    task: Task = Field("generate", description="what the engine does, filled in by the plan")
    auto_tools: bool = Field(
        True, description="the model writes tool calls of its own accord, filled in by the plan"
    )
    tokenizer: str | None = Field(
        None, description="directory for the compiler of schemas, filled in by the plan"
    )
    artifact: Artifact = Artifact.model_validate({})


def from_environment() -> GuardSettings:
    """Read the planned settings in the engine's process.

    Raises:
        UsageError: the variable is absent or was not written by the planner.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        raise UsageError(f"{VARIABLE} is not set", mend="Start the engine by quantserve serving serve or up")
    try:
        return GuardSettings.model_validate_json(text)
    except ValidationError as error:
        raise UsageError(f"{VARIABLE} holds wrong settings: {error.errors()[0]['msg']}") from error


def read_user_settings(path: Path | None) -> dict[str, Any]:
    """Read the user's YAML; only what it says, without defaults.

    Raises:
        GuardError: it is missing, not YAML, or says something unknown or impossible.
    """
    if path is None:
        return {}
    import difflib

    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return GuardSettings.model_validate(data if data is not None else {}).model_dump(exclude_unset=True)
    except FileNotFoundError as error:
        raise GuardError(f"there is no file {path}", mend="Give the guard's YAML file by --guard") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise GuardError(f"{path} is not YAML: {str(error).splitlines()[0]}", mend="Mend it") from error
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"]) or "the file"
        if found["type"] == "extra_forbidden":
            close = difflib.get_close_matches(str(found["loc"][-1]), _names(), n=1)
            mend = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(_names())}"
            raise GuardError(f"{path}: unknown key {where!r}", mend=mend) from error
        raise GuardError(f"{path}: {where}: {found['msg']}", mend="Mend the value") from error


def _names() -> list[str]:
    models: tuple[type[BaseModel], ...] = (GuardSettings, RequestLimits, TokenBounds, Audit)
    return [name for model in models for name in model.model_fields]
