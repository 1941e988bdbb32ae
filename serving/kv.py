"""How many tokens a KV cache of a size holds, laid out as vLLM lays it out. Pure.

vLLM cuts the cache into blocks and gives each *group* of layers a block table of its own (vLLM 0.32,
v1/core/kv_cache_utils.py). Layers that see everything, layers with a sliding window and cross attention are
different groups; all groups hold the same number of layers and draw from one pool of blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

from quantserve.serving.model import ModelFacts

BLOCK_TOKENS_CPU = 128
BLOCK_TOKENS_CPU_MLA = 16
BLOCK_TOKENS_GPU = 16
ELEMENT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "auto": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
# Groups whose sizes differ by less than this are padded to the larger one instead of being split.
_PAD_BELOW = 1.5


@dataclass(frozen=True)
class KvLayout:
    """What decides how many bytes a request occupies. Lengths in tokens."""

    dtype: str
    block: int
    length: int
    in_flight: int
    """Tokens a step may add before a window's old blocks are freed."""
    tensor_parallel: int = 1
    pipeline_parallel: int = 1


@dataclass(frozen=True)
class KvEstimate:
    """What a KV cache of a size holds."""

    bytes_per_token: float
    """Keys and values of all layers, on all devices together (replicas not counted)."""
    size_bytes: int
    """On each device."""
    tokens: int
    sequences: float
    """How many requests of the full model length fit at once."""


def block_tokens(facts: ModelFacts, device: str) -> int:
    """Return the tokens of a block: vLLM's default for the device and the kind of attention."""
    if device == "gpu":
        return BLOCK_TOKENS_GPU
    return BLOCK_TOKENS_CPU_MLA if facts.latent_width is not None else BLOCK_TOKENS_CPU


def _group_layers(facts: ModelFacts, stages: int) -> int:
    """How many layers share a block table, on one of `stages` pipeline stages."""
    layers = -(-facts.layers // stages)
    sliding = -(-facts.sliding_layers // stages)
    full = layers - sliding
    if not sliding or not full:
        return layers
    few, many = sorted((full, sliding))
    return many if many < few * _PAD_BELOW else few


def _blocks_of_request(facts: ModelFacts, layout: KvLayout, length: int) -> int:
    """Blocks of the pool that a request of `length` tokens holds, over all groups."""
    layers = -(-facts.layers // layout.pipeline_parallel)
    sliding = -(-facts.sliding_layers // layout.pipeline_parallel)
    size = _group_layers(facts, layout.pipeline_parallel)
    blocks = -(-(layers - sliding) // size) * -(-length // layout.block)
    if facts.sliding_window is not None:
        kept = min(facts.sliding_window - 1 + layout.in_flight, length)
        blocks += -(-sliding // size) * (-(-kept // layout.block) + 1)
    if facts.encoder_tokens:
        blocks += -(-facts.encoder_tokens // layout.block)
    return blocks


def _block_bytes(facts: ModelFacts, layout: KvLayout) -> float:
    """Bytes of one block of the pool on each device."""
    layer = facts.layer_bytes_per_token(ELEMENT_BYTES.get(layout.dtype, 2), layout.tensor_parallel)
    return layer * layout.block * _group_layers(facts, layout.pipeline_parallel)


def kv_bytes_for(facts: ModelFacts, layout: KvLayout, requests: int, length: int) -> int:
    """Bytes, on each device, of the smallest cache that holds `requests` requests of `length` tokens."""
    return int(requests * _blocks_of_request(facts, layout, length) * _block_bytes(facts, layout))


def kv_estimate(facts: ModelFacts, layout: KvLayout, size_bytes: int) -> KvEstimate:
    """Say how many tokens a cache of `size_bytes` on each device holds, as the engine counts them.

    The engine's figure is the number of full-length requests that fit, times their length.
    """
    per_token = facts.kv_bytes_per_token(ELEMENT_BYTES.get(layout.dtype, 2))
    blocks = int(size_bytes // _block_bytes(facts, layout))
    requests = blocks / _blocks_of_request(facts, layout, layout.length)
    return KvEstimate(per_token, size_bytes, int(requests * layout.length), round(requests, 2))
