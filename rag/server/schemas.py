"""What clients may send. Names that OpenAI's API does not have are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from quantserve.rag.config import AnswerMode, RetrieveMode


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextPart(_Strict):
    """A part of a message; only text is understood."""

    type: Literal["text", "input_text"]
    text: str


class ChatMessage(_Strict):
    """One message."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[TextPart, ...]
    name: str | None = None
    refusal: str | None = None

    @property
    def text(self) -> str:
        """The content as one string."""
        return self.content if isinstance(self.content, str) else "\n".join(p.text for p in self.content)


class StreamOptions(_Strict):
    """`stream_options`."""

    include_usage: bool = False
    include_obfuscation: bool | None = None


class Options(_Strict):
    """`quantserve` in a request: what is asked of this answer beyond OpenAI's fields."""

    mode: AnswerMode | None = Field(None, description="auto, generate or extract")
    retrieve: RetrieveMode | None = Field(None, description="hybrid, hybrid-rrf, dense or bm25")
    top_k: int | None = Field(None, ge=1, description="passages to find")
    use_system: bool = Field(False, description="let the client's system message replace the rules")


class ChatRequest(_Strict):
    """The body of /v1/chat/completions."""

    model: str = ""
    messages: tuple[ChatMessage, ...] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    quantserve: Options = Options.model_validate({})
    # Asking for something the answer cannot hold is refused; the empty value changes nothing.
    tools: Annotated[tuple[Any, ...], Field(max_length=0)] | None = None
    functions: Annotated[tuple[Any, ...], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    response_format: TextFormat | None = None
    modalities: tuple[Literal["text"], ...] | None = None
    # Accepted and without effect; the answer's `notes` name those that were given.
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stop: str | tuple[str, ...] | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @property
    def ignored(self) -> tuple[str, ...]:
        """Fields that would change the answer elsewhere, were given, and do nothing here."""
        return tuple(name for name in _WITHOUT_EFFECT if getattr(self, name) is not None)


_WITHOUT_EFFECT = ("top_p", "frequency_penalty", "presence_penalty", "logit_bias", "seed", "stop")


class TextFormat(_Strict):
    """`response_format`: plain text is all there is."""

    type: Literal["text"]


class SearchRequest(_Strict):
    """The body of /search."""

    query: str
    top_k: int | None = Field(None, ge=1)
    retrieve: RetrieveMode | None = None


ChatRequest.model_rebuild()
