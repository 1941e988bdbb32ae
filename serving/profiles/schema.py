"""The shape of a profile: its keys, their bounds and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from quantserve.serving.model import Task

Positive = Annotated[int, Field(ge=1)]


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
    up_to: int | None = Field(None, ge=1, description="guess only while at most so many requests run")
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
    data_parallel: int = Field(
        1, ge=1, description="copies of the model in one server, each on its share of the processors or GPUs"
    )
    nodes: int = Field(1, ge=1, description="machines with the same GPUs, joined by Ray")
    lora: LoraWishes = LoraWishes.model_validate({})
    speculation: Speculation | None = None
    tool_parser: str | None = Field(None, description="None: by the chat template; none: no tool calls")
    environment: dict[str, str] = Field(default_factory=dict)
    vllm: dict[str, str | int | float | bool | list[Any] | dict[str, Any]] = Field(
        default_factory=dict, description="any vLLM option by its name without dashes in front"
    )
