"""The KV cache's size, and whether the model fits at all; said before anything is started. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from quantserve.core.errors import UsageError
from quantserve.core.sizes import binary_size
from quantserve.serving.dtype import DtypeChoice
from quantserve.serving.errors import HardwareError, NotEnoughMemory
from quantserve.serving.kv import KvEstimate, KvLayout, block_tokens, kv_bytes_for, kv_estimate
from quantserve.serving.memory import (
    FIXED_BYTES,
    FIXED_GPU_BYTES,
    GIB,
    activation_bytes,
    nf4_in_memory,
    weights_in_memory,
)
from quantserve.serving.planning.items import Item, PlanInputs
from quantserve.serving.planning.parallel import Parallel, candidates, wanted_copies

_COMFORTABLE_REQUESTS = 4
_SHORTEST_LENGTH = 2048
_LEAST_FP8_CAPABILITY = (8, 9)


@dataclass(frozen=True)
class MemoryChoice:
    """How memory is used: the devices, the cache and the flags that say so."""

    parallel: Parallel
    kv: KvEstimate | None
    items: tuple[Item, ...]


def model_length(inputs: PlanInputs) -> tuple[int, Item]:
    """Return the longest request in tokens and its flag.

    Raises:
        UsageError: it is beyond the model's.
    """
    own = inputs.target.facts.max_length
    given = inputs.given("--max-model-len")
    if given is not None:
        if not given.isdigit():
            raise UsageError(f"--max-model-len {given!r} is no number of tokens")
        if int(given) > own:
            raise UsageError(
                f"--max-model-len {given} is beyond the {own} tokens this model was trained for",
                mend=f"Give at most {own}",
            )
        return int(given), Item("--max-model-len", given, "user", "given after --")
    if inputs.fitted_length is not None:
        reason = f"there is no room for a cache of the model's {own}"
        return inputs.fitted_length, Item("--max-model-len", str(inputs.fitted_length), "hardware", reason)
    wished = inputs.profile.max_model_length
    if wished is not None and wished < own:
        return wished, Item("--max-model-len", str(wished), "profile", f"below the model's {own}")
    return own, Item("--max-model-len", str(own), "model", "as vLLM reads it from the checkpoint")


def fitting(
    inputs: PlanInputs, size: Callable[[PlanInputs], MemoryChoice]
) -> tuple[PlanInputs, MemoryChoice]:
    """Size the memory, with requests halved until they fit where neither user nor profile says how long.

    Raises:
        NotEnoughMemory: even short requests do not fit, or the length was said.
    """
    try:
        return inputs, size(inputs)
    except NotEnoughMemory:
        said = inputs.given("--max-model-len") is not None or inputs.profile.max_model_length is not None
        if said or not inputs.target.facts.causal:
            raise
        length = model_length(inputs)[0] // 2
        while length >= _SHORTEST_LENGTH:
            shorter = replace(inputs, fitted_length=length)
            with contextlib.suppress(NotEnoughMemory):
                return shorter, size(shorter)
            length //= 2
        raise


def batched_tokens(inputs: PlanInputs, length: int) -> int:
    """Return the tokens of a step; vLLM refuses fewer than sequences, and prompts that fit no step whole."""
    profile, facts = inputs.profile, inputs.target.facts
    given = inputs.given_number("--max-num-batched-tokens")
    if given is not None:
        return given
    whole = not (profile.chunked_prefill and facts.causal)
    least = max(profile.max_sequences, facts.encoder_tokens, length if whole else 0)
    return max(profile.max_batched_tokens, least)


def sequences(inputs: PlanInputs) -> int:
    """Return how many requests run at once in each copy of the model."""
    given = inputs.given_number("--max-num-seqs")
    if given is not None:
        return given
    return -(-inputs.profile.max_sequences // wanted_copies(inputs))


def cache_dtype(inputs: PlanInputs, choice: DtypeChoice) -> str:
    """Return the cache's number format.

    Raises:
        HardwareError: eight bits on a GPU that cannot.
    """
    wanted = inputs.wished("--kv-cache-dtype") or inputs.profile.kv.dtype
    if wanted in ("auto", choice.dtype):
        return choice.dtype
    if wanted.startswith("fp8") and inputs.on_gpu:
        capability = min(gpu.capability for gpu in inputs.hardware.gpus)
        if capability < _LEAST_FP8_CAPABILITY:
            raise HardwareError(
                f"a KV cache in {wanted} needs compute capability 8.9, this GPU has "
                f"{capability[0]}.{capability[1]}",
                mend="Leave kv.dtype at auto",
            )
    return wanted


def layout(inputs: PlanInputs, choice: DtypeChoice, parallel: Parallel) -> KvLayout:
    """Return what decides a request's bytes."""
    length = model_length(inputs)[0]
    # vLLM overlaps two steps on a GPU, and each pipeline stage has one of its own.
    steps = max(2, parallel.pipeline) if inputs.on_gpu else 1
    given = inputs.given_number("--block-size")
    block = block_tokens(inputs.target.facts, "gpu" if inputs.on_gpu else "cpu")
    return KvLayout(
        dtype=cache_dtype(inputs, choice),
        block=block if given is None else given,
        length=length,
        in_flight=steps * batched_tokens(inputs, length),
        tensor_parallel=parallel.tensor,
        pipeline_parallel=parallel.pipeline,
    )


def own_weights(inputs: PlanInputs, dtype: str) -> int:
    """Return the bytes of the model's own weights as the engine will hold them."""
    facts = inputs.target.facts
    if inputs.target.method == "bitsandbytes" and facts.quantization is None:
        return nf4_in_memory(facts)
    return weights_in_memory(facts, dtype)


def _weights(inputs: PlanInputs, dtype: str) -> int:
    draft = weights_in_memory(inputs.draft, dtype) if inputs.draft is not None else 0
    return own_weights(inputs, dtype) + draft


def _request_bytes(inputs: PlanInputs, shape: KvLayout, requests: int, length: int) -> int:
    """Bytes of the cache on each device; a draft model keeps keys and values of its own."""
    draft = kv_bytes_for(inputs.draft, shape, requests, length) if inputs.draft is not None else 0
    return kv_bytes_for(inputs.target.facts, shape, requests, length) + draft


def _estimate(inputs: PlanInputs, shape: KvLayout, size: int) -> KvEstimate:
    own = kv_bytes_for(inputs.target.facts, shape, 1, shape.length)
    share = own / _request_bytes(inputs, shape, 1, shape.length)
    return replace(kv_estimate(inputs.target.facts, shape, int(size * share)), size_bytes=size)


def _working(inputs: PlanInputs) -> int:
    generates = inputs.target.facts.task == inputs.profile.task == "generate"
    length = model_length(inputs)[0]
    logits = sequences(inputs) if generates else 0
    return activation_bytes(inputs.target.facts, batched_tokens(inputs, length), logits)


def on_cpu(inputs: PlanInputs, choice: DtypeChoice, parallel: Parallel) -> MemoryChoice:
    """Size the cache by what is free now.

    Raises:
        NotEnoughMemory: weights, engine and one request do not fit, or the user's cache does not.
    """
    facts, profile = inputs.target.facts, inputs.profile
    shape = layout(inputs, choice, parallel)
    weights, working = _weights(inputs, choice.dtype), FIXED_BYTES + _working(inputs)
    weights, working = weights * parallel.copies, working * parallel.copies
    workers = parallel.tensor * parallel.copies  # each has a cache of its own
    least = _request_bytes(inputs, shape, 1, shape.length)
    left = inputs.available_bytes - weights - working
    if left < least * workers:
        each = f"{parallel.copies} copies of it, " if parallel.copies > 1 else ""
        raise NotEnoughMemory(
            f"{inputs.target.name} needs {binary_size(weights + working + least * workers)} "
            f"({each}weights {binary_size(weights)}, engine {binary_size(working)}, cache for one request of "
            f"{shape.length} tokens {binary_size(least * workers)}), "
            f"{binary_size(inputs.available_bytes)} are free",
            mend="Free memory, shorten requests (-- --max-model-len N), or quantize the model to fewer bits",
        )
    if not facts.causal:
        # vLLM measures free memory for a cache unless it is told a size, though an encoder has none.
        return MemoryChoice(
            parallel, None, (Item("--kv-cache-memory-bytes", str(GIB // 16), "model", facts.attention),)
        )
    typical = min(profile.kv.tokens_per_sequence, shape.length)
    wish = _request_bytes(inputs, shape, sequences(inputs), typical)
    ceiling = min(left * profile.kv.memory_fraction, profile.kv.max_gib * GIB) / workers
    size = max(least, int(min(wish, ceiling)))
    given = inputs.wished("--kv-cache-memory-bytes")
    if given is not None and given.isdigit():
        size = int(given)
        if size * workers > left:
            raise NotEnoughMemory(
                f"a KV cache of {binary_size(size)} does not fit: {binary_size(left)} are free beside "
                "the weights and the engine",
                mend="Give a smaller --kv-cache-memory-bytes, or none",
            )
    estimate = _estimate(inputs, shape, size)
    each = "in each copy: " if parallel.copies > 1 else ""
    reason = (
        f"{each}{estimate.tokens} tokens at {estimate.bytes_per_token:.0f} bytes ({facts.attention}), "
        f"{estimate.sequences:g} requests of full length; {binary_size(left)} were free for it"
    )
    return MemoryChoice(parallel, estimate, (Item("--kv-cache-memory-bytes", str(size), "hardware", reason),))


def on_gpu(inputs: PlanInputs, choice: DtypeChoice) -> MemoryChoice:
    """Take the fewest GPUs with room for some full requests, else for one.

    Raises:
        NotEnoughMemory: even all of them do not hold one request.
        HardwareError: there are not as many as the profile wants.
    """
    ways = candidates(inputs)
    given = _given_cache(inputs)
    for requests in (_COMFORTABLE_REQUESTS, 1) if given is None else (1,):
        for parallel in ways:
            shape = layout(inputs, choice, parallel)
            room = _gpu_room(inputs, choice, parallel)
            if room >= _request_bytes(inputs, shape, requests, shape.length):
                return _on_these_gpus(inputs, choice, parallel, room)
    widest = ways[-1]
    shape = layout(inputs, choice, widest)
    least = _request_bytes(inputs, shape, 1, shape.length) * widest.devices
    if given is not None:
        left = _gpu_left(inputs, choice, widest, 1.0)
        raise _cache_out_of_place(given, least // widest.devices, shape, left)
    weights = _weights(inputs, choice.dtype)
    usable = inputs.hardware.gpus[0].total_bytes * inputs.profile.gpu_memory_utilization
    raise NotEnoughMemory(
        f"{inputs.target.name} does not fit: weights {binary_size(weights)} and a cache of "
        f"{binary_size(least)} for {shape.length} tokens on {widest.devices} × "
        f"{binary_size(usable)} usable",
        mend="Quantize it to fewer bits (make quantize METHOD=awq), shorten requests "
        "(-- --max-model-len N), or use more GPUs",
    )


def _given_cache(inputs: PlanInputs) -> int | None:
    """Return the cache's bytes on each GPU where the user or the profile says them; the engine takes them."""
    given = inputs.wished("--kv-cache-memory-bytes")
    return int(given) if given is not None and given.isdigit() else None


def _gpu_room(inputs: PlanInputs, choice: DtypeChoice, parallel: Parallel) -> int:
    """Bytes for the cache on each GPU: what the share leaves, or what was said where that much is left."""
    cache = _given_cache(inputs)
    if cache is not None:
        return cache if cache <= _gpu_left(inputs, choice, parallel, 1.0) else 0
    given = inputs.wished("--gpu-memory-utilization")
    share = float(given) if given is not None else inputs.profile.gpu_memory_utilization
    return _gpu_left(inputs, choice, parallel, share)


def _gpu_left(inputs: PlanInputs, choice: DtypeChoice, parallel: Parallel, share: float) -> int:
    """Bytes of a share of each GPU that weights and engine leave."""
    smallest = min(gpu.total_bytes for gpu in inputs.hardware.gpus[: parallel.devices])
    weights = _weights(inputs, choice.dtype) / parallel.devices
    return int(smallest * share - weights - _working(inputs) - FIXED_GPU_BYTES)


def _cache_out_of_place(cache: int, least: int, shape: KvLayout, left: int) -> NotEnoughMemory:
    if cache < least:
        return NotEnoughMemory(
            f"a KV cache of {binary_size(cache)} holds no request of {shape.length} tokens, which takes "
            f"{binary_size(least)} on each GPU",
            mend="Give a larger --kv-cache-memory-bytes, or shorten requests (-- --max-model-len N)",
        )
    return NotEnoughMemory(
        f"a KV cache of {binary_size(cache)} does not fit: each GPU has {binary_size(max(0, left))} beside "
        "the weights and the engine",
        mend="Give a smaller --kv-cache-memory-bytes, or none",
    )


def _on_these_gpus(inputs: PlanInputs, choice: DtypeChoice, parallel: Parallel, room: int) -> MemoryChoice:
    facts, share = inputs.target.facts, inputs.profile.gpu_memory_utilization
    if not facts.causal:
        item = Item("--gpu-memory-utilization", f"{share:g}", "profile", facts.attention)
        return MemoryChoice(parallel, None, (item,))
    estimate = _estimate(inputs, layout(inputs, choice, parallel), room)
    each = f" on each of {parallel.devices} GPUs" if parallel.devices > 1 else ""
    reason = (
        f"leaves about {binary_size(room)}{each} for the cache: {estimate.tokens} tokens at "
        f"{estimate.bytes_per_token:.0f} bytes ({facts.attention}), "
        f"{estimate.sequences:g} requests of full length"
    )
    return MemoryChoice(
        parallel, estimate, (Item("--gpu-memory-utilization", f"{share:g}", "profile", reason),)
    )
