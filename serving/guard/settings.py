"""Every limit of the guard with its default: read from YAML at plan time, from the environment in the engine.

GuardSettings.model_validate(yaml)   at plan time; unknown keys are refused
from_environment()                   in the engine's process
"""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quantserve.core.errors import UsageError
from quantserve.serving.model import Task

VARIABLE = "QUANTSERVE_GUARD"
"""Environment variable that carries the planned settings into the engine's process, as JSON."""
MIB = 1 << 20


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Frozen):
    """Bounds of one request, and of all requests together."""

    max_requests: int = Field(
        256, ge=1, description="sequences running and waiting together; more get 429 at once"
    )
    max_body_bytes: int = Field(4 * MIB, ge=1024, description="a JSON body")
    max_upload_bytes: int = Field(25 * MIB, ge=1024, description="an audio upload")
    body_timeout_s: float = Field(30.0, gt=0, description="time a client gets to send its body")
    header_timeout_s: float = Field(30.0, gt=0, description="time a client gets to send a request's head")
    max_header_bytes: int = Field(65_536, ge=1024, description="first line and headers of a request")
    max_depth: int = Field(32, ge=4, le=200, description="nesting of a JSON body")
    max_values: int = Field(65_536, ge=64, description="values of a JSON body, lists of whole numbers as one")
    max_messages: int = Field(512, ge=1, description="messages of one chat")
    max_prompt_chars: int = Field(1_000_000, ge=1, description="characters of one prompt or chat")
    max_prompt_tokens: int = Field(131_072, ge=1, description="token ids of one prompt given as numbers")
    max_inputs: int = Field(1024, ge=1, description="prompts, inputs or documents of one request")
    max_tokens: int = Field(131_072, ge=1, description="tokens of one answer")
    max_n: int = Field(16, ge=1, description="answers to one prompt")
    max_logprobs: int = Field(20, ge=0, description="log-probabilities per token")
    max_stops: int = Field(16, ge=0, description="stop strings and banned words")
    max_tools: int = Field(128, ge=0, description="tools of one request")
    max_list_items: int = Field(1024, ge=0, description="entries of logit_bias and of token-id options")
    max_schema_bytes: int = Field(65_536, ge=0, description="tools, schemas and grammars as JSON")
    max_schema_cpu_s: float = Field(
        0.5, gt=0, description="processor time a schema, pattern or grammar may take to compile"
    )
    max_template_bytes: int = Field(4096, ge=0, description="chat_template_kwargs as JSON")
    max_name_chars: int = Field(256, ge=1, description="model, user, request_id and other names")


class Audit(_Frozen):
    """The log of who asked what. Never the prompt unless `prompts` is set."""

    file: str | None = Field(None, description="JSON lines; none is written without a file")
    max_bytes: int = Field(64 * MIB, ge=1024, description="size at which a new file is begun")
    files: int = Field(5, ge=1, description="old files that are kept")
    prompts: bool = Field(False, description="write what was asked, too")


class TokenBounds(_Frozen):
    """What a request's tokens are bounded by before they are counted."""

    reserved_answer: int = Field(
        1024, ge=1, description="tokens set aside for an answer that may be longer or does not say"
    )
    window: int = Field(131_072, ge=1, description="tokens of prompt and answer, filled in by the plan")
    template_once: int = Field(512, ge=0, description="bytes of the chat template, filled in by the plan")
    template_turn: int = Field(64, ge=0, description="bytes it adds to a message, filled in by the plan")
    template_tools: int = Field(1024, ge=0, description="bytes it adds to tools, filled in by the plan")


class Artifact(_Frozen):
    """What is served, for the audit log and the info metric."""

    name: str = ""
    version: str | None = None
    sha256: str | None = Field(None, description="hash of the manifest, which holds every file's hash")
    method: str | None = None
    bits: float | None = None


class OfferedAdapter(_Frozen):
    """A LoRA adapter that may be loaded by its name: its directory and the weights that were checked."""

    name: str
    directory: str
    bytes: int
    mtime_ns: int


class GuardSettings(_Frozen):
    """Everything the guard is told."""

    limits: Limits = Limits.model_validate({})
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
