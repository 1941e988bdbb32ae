"""The bounds of one request, each with its default and what it is for."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

MIB = 1 << 20


class FrozenModel(BaseModel):
    """A section of settings: unknown names are refused, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RequestLimits(FrozenModel):
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


class TokenBounds(FrozenModel):
    """What a request's tokens are bounded by before they are counted."""

    reserved_answer: int = Field(
        1024, ge=1, description="tokens set aside for an answer that may be longer or does not say"
    )
    window: int = Field(131_072, ge=1, description="tokens of prompt and answer, filled in by the plan")
    template_once: int = Field(512, ge=0, description="bytes of the chat template, filled in by the plan")
    template_turn: int = Field(64, ge=0, description="bytes it adds to a message, filled in by the plan")
    template_tools: int = Field(1024, ge=0, description="bytes it adds to tools, filled in by the plan")
