"""From hardware, profile, model and the user's wishes to vLLM's argv and environment. Pure.

make_plan(PlanInputs) → Plan: every flag and variable with its reason, and the KV-cache estimate
"""

from __future__ import annotations

import os.path
from dataclasses import asdict, dataclass, field
from typing import Any

from core.errors import UsageError
from serving.config import ServeOptions
from serving.dtype import DtypeChoice, choose_cpu_dtype, choose_gpu_dtype
from serving.errors import HardwareError, NotEnoughMemory
from serving.hardware.facts import Hardware
from serving.hardware.system import format_id_list
from serving.memory import (
    BLOCK_TOKENS_CPU,
    BLOCK_TOKENS_GPU,
    FIXED_BYTES,
    GIB,
    KvEstimate,
    activation_bytes,
    kv_bytes_for,
    kv_estimate,
    weights_in_memory,
)
from serving.profiles import Profile
from serving.target import Target
from serving.waiting import VARIABLE as WAIT_VARIABLE

ENGINE_MODULE = "serving.vllm_server"
_WAIT_S = "0.0002"
"""Sleep of a waiting process between two looks: a hundredth of a step, and a hundredth of a processor."""


@dataclass(frozen=True)
class Item:
    """One flag or variable. `value` None is a flag without a value."""

    name: str
    value: str | None
    source: str
    """hardware, model, profile, manifest, user or safety."""
    reason: str


@dataclass(frozen=True)
class PlanInputs:
    """All the plan may depend on. `available_bytes` is the memory that is free now."""

    target: Target
    hardware: Hardware
    profile_name: str
    profile: Profile
    options: ServeOptions
    available_bytes: int


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
    """The guard's settings; serving.guard.planning decides them."""

    def argv(self, python: str, parent: int | None = None) -> list[str]:
        """Return the command line of the engine, which ends with the process `parent` if one is given."""
        words = [python, "-m", ENGINE_MODULE, *(["--parent", str(parent)] if parent else [])]
        for item in self.flags:
            words.append(item.name)
            if item.value is not None:
                words.append(item.value)
        return words

    def env(self) -> dict[str, str]:
        """Return the variables to add to the environment."""
        return {item.name: item.value or "" for item in self.environment}

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `plan --json`."""
        return asdict(self)


def default_profile(hardware: Hardware) -> str:
    """Return the profile for a machine when the user names none."""
    return "gpu-throughput" if hardware.gpus else "cpu"


def make_plan(inputs: PlanInputs) -> Plan:
    """Decide everything.

    Raises:
        NotEnoughMemory: weights and one request's cache do not fit; the message has the figures.
        HardwareError: the profile's device is not here, or no number format works.
        UsageError: a length is beyond the model's.
    """
    on_gpu = inputs.profile.device == "gpu"
    if on_gpu and not inputs.hardware.gpus:
        raise HardwareError(
            f"profile {inputs.profile_name!r} wants a GPU and torch sees none",
            mend="Use --profile cpu, or look at python -m serving doctor",
        )
    facts, wanted = inputs.target.facts, inputs.profile.dtype
    choose = choose_gpu_dtype if on_gpu else choose_cpu_dtype
    choice = choose(inputs.hardware, facts, _user_value(inputs, "--dtype") or wanted)
    length, length_item = _length(inputs)
    kv, memory_items = _gpu_memory(inputs) if on_gpu else _cpu_memory(inputs, choice, length)
    common = _common_flags(inputs, choice, length_item)
    flags = _override([*common, *_quantization_flags(inputs), *memory_items, *_device_flags(inputs)], inputs)
    return Plan(
        profile=inputs.profile_name,
        device=inputs.profile.device,
        dtype=choice.dtype,
        model=inputs.options.served_model_name or inputs.target.name,
        version=inputs.target.version,
        max_model_length=length,
        drain_s=inputs.profile.drain_s,
        weights_bytes=weights_in_memory(facts, choice.dtype),
        kv=kv,
        flags=tuple(flags),
        environment=tuple(_environment(inputs, choice)),
        warnings=tuple(_warnings(inputs, choice)),
    )


def _user_value(inputs: PlanInputs, name: str) -> str | None:
    return parse_flags(inputs.options.vllm_args).get(name)


def parse_flags(words: tuple[str, ...]) -> dict[str, str | None]:
    """Read vLLM flags: `--a 1`, `--a=1`, `--a` (value None); several values are joined by a blank.

    Raises:
        UsageError: a word stands where a flag was expected.
    """
    found: dict[str, str | None] = {}
    current: str | None = None
    for word in words:
        if word.startswith("--"):
            current, equals, value = word.partition("=")
            found[current] = value if equals else None
        elif current is None:
            raise UsageError(f"{word!r} is no vLLM flag", mend="Write them as -- --name value")
        else:
            before = found[current]
            found[current] = word if before is None else f"{before} {word}"
    return found


def _length(inputs: PlanInputs) -> tuple[int, Item]:
    own = inputs.target.facts.max_length
    given = _user_value(inputs, "--max-model-len")
    if given is not None:
        if not given.isdigit():
            raise UsageError(f"--max-model-len {given!r} is no number of tokens")
        if int(given) > own:
            raise UsageError(
                f"--max-model-len {given} is beyond the {own} tokens this model was trained for",
                mend=f"Give at most {own}",
            )
        return int(given), Item("--max-model-len", given, "user", "given after --")
    wished = inputs.profile.max_model_length
    if wished is not None and wished < own:
        return wished, Item("--max-model-len", str(wished), "profile", f"below the model's {own}")
    return own, Item("--max-model-len", str(own), "model", "max_position_embeddings in config.json")


def _cpu_memory(inputs: PlanInputs, choice: DtypeChoice, length: int) -> tuple[KvEstimate, list[Item]]:
    facts, profile = inputs.target.facts, inputs.profile
    weights = weights_in_memory(facts, choice.dtype)
    working = FIXED_BYTES + activation_bytes(facts, profile.max_batched_tokens, profile.max_sequences)
    least = kv_bytes_for(facts, choice.dtype, length, BLOCK_TOKENS_CPU)
    left = inputs.available_bytes - weights - working
    if left < least:
        raise NotEnoughMemory(
            f"{inputs.target.name} needs {(weights + working + least) / GIB:.1f} GiB "
            f"(weights {weights / GIB:.1f}, engine {working / GIB:.1f}, cache for one request of "
            f"{length} tokens {least / GIB:.1f}), {inputs.available_bytes / GIB:.1f} GiB are free",
            mend="Free memory, shorten requests (-- --max-model-len N), or quantize the model to fewer bits",
        )
    given = _user_value(inputs, "--kv-cache-memory-bytes")
    wish = kv_bytes_for(
        facts, choice.dtype, profile.max_sequences * profile.kv.tokens_per_sequence, BLOCK_TOKENS_CPU
    )
    ceiling = min(left * profile.kv.memory_fraction, profile.kv.max_gib * GIB)
    size = max(least, int(min(wish, ceiling)))
    if given is not None and given.isdigit():
        size = int(given)
        if size > left:
            raise NotEnoughMemory(
                f"a KV cache of {size / GIB:.1f} GiB does not fit: {left / GIB:.1f} GiB are free beside "
                "the weights and the engine",
                mend="Give a smaller --kv-cache-memory-bytes, or none",
            )
    estimate = kv_estimate(facts, choice.dtype, size, BLOCK_TOKENS_CPU, length)
    reason = (
        f"{estimate.tokens} tokens at {estimate.bytes_per_token:.0f} bytes ({facts.kv_heads} of "
        f"{facts.attention_heads} heads are cached), {estimate.sequences:g} requests of full length; "
        f"{left / GIB:.1f} GiB were free for it"
    )
    return estimate, [Item("--kv-cache-memory-bytes", str(size), "hardware", reason)]


def _gpu_memory(inputs: PlanInputs) -> tuple[KvEstimate, list[Item]]:
    facts, profile = inputs.target.facts, inputs.profile
    gpus = profile.tensor_parallel * profile.pipeline_parallel
    if gpus > len(inputs.hardware.gpus):
        raise HardwareError(
            f"profile {inputs.profile_name!r} wants {gpus} GPUs, torch sees {len(inputs.hardware.gpus)}",
            mend="Lower tensor_parallel, or use several nodes on Ray",
        )
    per_gpu = min(gpu.total_bytes for gpu in inputs.hardware.gpus[:gpus]) * profile.gpu_memory_utilization
    weights = weights_in_memory(facts, "bfloat16")
    working = activation_bytes(facts, profile.max_batched_tokens, profile.max_sequences) + GIB
    size = int(per_gpu * gpus - weights - working * gpus)
    length = _length(inputs)[0]
    least = kv_bytes_for(facts, "bfloat16", length, BLOCK_TOKENS_GPU)
    if size < least:
        raise NotEnoughMemory(
            f"{inputs.target.name} does not fit: weights {weights / GIB:.1f} GiB and a cache of "
            f"{least / GIB:.1f} GiB for {length} tokens on {gpus} × {per_gpu / GIB:.1f} usable GiB",
            mend="Quantize it to fewer bits, shorten requests (-- --max-model-len N), or use more GPUs",
        )
    estimate = kv_estimate(facts, "bfloat16", size, BLOCK_TOKENS_GPU, length)
    items = [
        Item(
            "--gpu-memory-utilization",
            f"{profile.gpu_memory_utilization:g}",
            "profile",
            f"leaves about {size / GIB:.1f} GiB for the cache, {estimate.tokens} tokens",
        )
    ]
    if profile.tensor_parallel > 1:
        items.append(
            Item("--tensor-parallel-size", str(profile.tensor_parallel), "profile", "each layer is split")
        )
    if profile.pipeline_parallel > 1:
        items.append(
            Item("--pipeline-parallel-size", str(profile.pipeline_parallel), "profile", "layers in stages")
        )
    return estimate, items


def _common_flags(inputs: PlanInputs, choice: DtypeChoice, length: Item) -> list[Item]:
    target, profile, options = inputs.target, inputs.profile, inputs.options
    name = options.served_model_name
    source = "user" if name else "manifest" if target.version else "model"
    profile_says = f"profile {inputs.profile_name}"
    return [
        Item("--model", str(target.directory), "user", target.version or "a plain checkpoint"),
        Item("--served-model-name", name or target.name, source, "the name clients ask for"),
        Item("--host", options.host, "user", "where it listens"),
        Item("--port", str(options.port), "user", "where it listens"),
        Item("--dtype", choice.dtype, "hardware", choice.reason),
        length,
        Item("--max-num-seqs", str(profile.max_sequences), "profile", profile_says),
        Item(
            "--max-num-batched-tokens",
            # vLLM refuses fewer batched tokens than sequences, and prompts longer than a step without chunks.
            str(_batched_tokens(profile, int(length.value or 0))),
            "profile",
            "one step's tokens; bounds how long a prefill holds up running answers",
        ),
        Item(
            "--max-num-queued-reqs",
            str(profile.max_requests),
            "safety",
            "running and waiting; vLLM's own queue has no bound",
        ),
        Item("--shutdown-timeout", str(profile.drain_s), "safety", "running requests finish; vLLM aborts"),
        _switch("prefix-caching", profile.prefix_caching, "shared prompt beginnings are computed once"),
        _switch("chunked-prefill", profile.chunked_prefill, "long prompts do not stop running answers"),
        *(
            _passed_through(key, value, inputs.profile_name)
            for key, value in profile.vllm.items()
            if value is not False
        ),
    ]


def _batched_tokens(profile: Profile, length: int) -> int:
    least = profile.max_sequences if profile.chunked_prefill else length
    return max(profile.max_batched_tokens, least)


def _switch(name: str, on: bool, why: str) -> Item:
    return Item(
        f"--{'' if on else 'no-'}enable-{name}", None, "profile", why if on else "the profile says so"
    )


def _passed_through(key: str, value: str | int | float | bool, profile: str) -> Item:
    text = None if value is True else str(value)
    return Item(f"--{key.lstrip('-').replace('_', '-')}", text, "profile", f"profile {profile} passes it on")


def _quantization_flags(inputs: PlanInputs) -> list[Item]:
    """bitsandbytes in 4 bits is an artifact in 16 bits that the engine quantizes while it loads."""
    if inputs.target.method != "bitsandbytes":
        return []
    if inputs.profile.device != "gpu":
        raise HardwareError(
            f"{inputs.target.name} is quantized by bitsandbytes, which the engine reads on a GPU only",
            mend="Serve it with a GPU profile, or quantize by --method int8 for this machine",
        )
    if inputs.target.facts.quantization is not None:
        return []
    return [
        Item("--quantization", "bitsandbytes", "manifest", "quantized while loading, to NF4"),
        Item("--load-format", "bitsandbytes", "manifest", "quantized while loading, to NF4"),
    ]


def _device_flags(inputs: PlanInputs) -> list[Item]:
    if inputs.profile.eager:
        return [Item("--enforce-eager", None, "profile", "compiling gains nothing on a CPU and costs 90 s")]
    return []


def _override(items: list[Item], inputs: PlanInputs) -> list[Item]:
    """Put the user's own flags in the place of ours; `--no-x` and `--x` replace each other."""

    def bare(name: str) -> str:
        return name.replace("--no-", "--", 1)

    given = parse_flags(inputs.options.vllm_args)
    replaced = {bare(name) for name in given}
    kept = [item for item in items if bare(item.name) not in replaced]
    # A boolean switch of ours must not be repeated as its opposite, so the user's flags stand alone.
    return [*kept, *(Item(name, value, "user", "given after --") for name, value in given.items())]


def _environment(inputs: PlanInputs, choice: DtypeChoice) -> list[Item]:
    hardware, profile = inputs.hardware, inputs.profile
    items = [
        Item("HF_HUB_OFFLINE", "1", "safety", "the model is local; nothing may be fetched"),
        Item("VLLM_NO_USAGE_STATS", "1", "safety", "no telemetry"),
        Item("DO_NOT_TRACK", "1", "safety", "no telemetry"),
        Item("VLLM_SERVER_DEV_MODE", "0", "safety", "development endpoints stay shut"),
    ]
    if profile.device == "cpu":
        cpus = hardware.cpu.usable[: hardware.cpu.cores] if hardware.cpu.quota_cores else hardware.cpu.usable
        items.append(
            Item(
                "VLLM_CPU_OMP_THREADS_BIND",
                format_id_list(cpus),
                "hardware",
                f"one thread on each of {len(cpus)} usable processors",
            )
        )
        items.append(
            Item(WAIT_VARIABLE, _WAIT_S, "hardware", "who waits sleeps: every processor is for computing")
        )
        if choice.isa_cap is not None:
            items.append(
                Item("ONEDNN_MAX_CPU_ISA", choice.isa_cap, "hardware", "fastest setting that lives here")
            )
        preload = [p for p in (hardware.libraries.tcmalloc, hardware.libraries.iomp) if p]
        if preload:
            names = " and ".join(os.path.basename(p) for p in preload)  # noqa: PTH119  text, not a file
            items.append(Item("LD_PRELOAD", ":".join(preload), "hardware", f"{names}: faster"))
    items.extend(
        Item(key, value, "profile", f"profile {inputs.profile_name}")
        for key, value in profile.environment.items()
    )
    return items


def _warnings(inputs: PlanInputs, choice: DtypeChoice) -> list[str]:
    found: list[str] = []
    facts = inputs.target.facts
    if choice.dtype == "float16" and facts.dtype == "bfloat16":
        found.append("the checkpoint is bfloat16 and runs in float16 here: very large values would overflow")
    if inputs.profile.device == "cpu":
        if inputs.hardware.libraries.tcmalloc is None:
            found.append("tcmalloc is absent: about a fifth slower. apt-get install libtcmalloc-minimal4")
        if inputs.hardware.libraries.iomp is None:
            found.append("libiomp5 is absent: slower. pip install intel-openmp")
        amx = inputs.hardware.instruction("amx_int8")
        if facts.quantization in ("gptq", "awq") and choice.dtype == "bfloat16" and amx and amx.executes:
            found.append(
                "vLLM's AMX kernel for 4-bit weights also rounds activations to 8 bit: faster, slightly less "
                "exact. VLLM_CPU_INT4_W4A8=0 turns it off"
            )
    return found
