"""From hardware, profile, model and the user's wishes to vLLM's argv and environment. Pure.

make_plan(PlanInputs) → Plan: every flag and variable with its reason, and the KV-cache estimate

The single decisions are in serving.planning; this file asks them in order and lets the user's words win.
"""

from __future__ import annotations

from quantserve.quantize.artifact import ACCEPT
from quantserve.serving.dtype import DtypeChoice, choose_cpu_dtype, choose_gpu_dtype
from quantserve.serving.errors import HardwareError
from quantserve.serving.hardware.facts import Hardware
from quantserve.serving.memory import weights_in_memory
from quantserve.serving.model import ModelFacts
from quantserve.serving.planning import attention, features, kv_memory, parallel, tasks
from quantserve.serving.planning.environment import cpu_parallel, environment, executor
from quantserve.serving.planning.items import ENGINE_MODULE, Item, Plan, PlanInputs
from quantserve.serving.planning.options import require_known
from quantserve.serving.planning.words import parse_flags, parse_words
from quantserve.serving.tls import FLAGS as TLS_FLAGS
from quantserve.serving.tls import tls_of

__all__ = ["ENGINE_MODULE", "Item", "Plan", "PlanInputs", "default_profile", "make_plan", "parse_flags"]


def default_profile(hardware: Hardware, facts: ModelFacts | None = None) -> str:
    """Return the profile for a machine and a model when the user names none."""
    special = tasks.guess_profile(facts)
    if special is not None:
        return special
    if not hardware.gpus:
        return "cpu"
    if facts is None or len(hardware.gpus) == 1:
        return "gpu-throughput"
    largest = max(gpu.total_bytes for gpu in hardware.gpus)
    # With less than a quarter of it left there is hardly a cache; the plan has the exact figures.
    return "multi-gpu" if weights_in_memory(facts, "bfloat16") > 0.75 * largest else "gpu-throughput"


def make_plan(inputs: PlanInputs) -> Plan:
    """Decide everything.

    Raises:
        NotEnoughMemory: weights and one request's cache do not fit; the message has the figures.
        HardwareError: the profile's device is not here, or no number format works.
        ProfileError: the profile is for another kind of model.
        TargetError: an adapter or draft model does not go with the model.
        UsageError: a length is beyond the model's, vLLM has no such option, or TLS is told half.
    """
    if inputs.on_gpu and not inputs.hardware.gpus:
        raise HardwareError(
            f"profile {inputs.profile_name!r} wants a GPU and torch sees none",
            mend="Use --profile cpu, or look at quantserve serving doctor",
        )
    require_known(tuple(inputs.profile.vllm), f"profile {inputs.profile_name!r}")
    require_known(tuple(parse_words(inputs.options.vllm_args)), "after --")
    tasks.require_fit(inputs)
    facts = inputs.target.facts
    choose = choose_gpu_dtype if inputs.on_gpu else choose_cpu_dtype
    choice = choose(inputs.hardware, facts, inputs.given("--dtype") or inputs.profile.dtype)
    inputs, memory = kv_memory.fitting(
        inputs,
        lambda these: (
            kv_memory.on_gpu(these, choice)
            if these.on_gpu
            else kv_memory.on_cpu(these, choice, cpu_parallel(these))
        ),
    )
    length, length_item = kv_memory.model_length(inputs)
    cache = kv_memory.cache_dtype(inputs, choice)
    attention_flags, notes = attention.decide(inputs, choice.dtype, cache)
    lora_flags, lora_environment = features.lora(inputs)
    flags = [
        *_common_flags(inputs, choice, length_item),
        *tasks.flags(inputs),
        *features.own_files(inputs),
        *features.quantization(inputs),
        *memory.items,
        *parallel.flags(inputs, memory.parallel),
        *attention_flags,
        *([] if cache == choice.dtype else [_cache_flag(inputs, cache)]),
        *_eager(inputs),
        *executor(inputs, memory.parallel),
        *lora_flags,
        *features.speculation(inputs),
        *features.tools(inputs),
        *features.guided(inputs),
    ]
    settled = _override(_merge(flags, features.passed_through(inputs)), inputs)
    if inputs.options.private:  # asked by the program that started it, over loopback
        settled = [item for item in settled if item.name.replace("_", "-") not in TLS_FLAGS]
    return Plan(
        profile=inputs.profile_name,
        device="gpu" if inputs.on_gpu else "cpu",
        dtype=choice.dtype,
        model=inputs.options.served_model_name or inputs.target.name,
        version=inputs.target.version,
        max_model_length=length,
        drain_s=inputs.profile.drain_s,
        weights_bytes=kv_memory.own_weights(inputs, choice.dtype),
        kv=memory.kv,
        flags=tuple(settled),
        environment=(*environment(inputs, choice, memory.parallel), *lora_environment),
        warnings=(*_warnings(inputs, choice), *parallel.warnings(inputs, memory.parallel)),
        task=inputs.profile.task,
        notes=(*notes, *_notes(inputs)),
        adapters=inputs.adapters,
        copies=memory.parallel.copies,
        tls=tls_of({item.name: item.value for item in settled}),
    )


def _common_flags(inputs: PlanInputs, choice: DtypeChoice, length: Item) -> list[Item]:
    target, profile, options = inputs.target, inputs.profile, inputs.options
    name = options.served_model_name
    source = "user" if name else "manifest" if target.version else "model"
    causal = target.facts.causal
    return [
        Item("--model", str(target.directory), "user", target.version or "a plain checkpoint"),
        Item("--served-model-name", name or target.name, source, "the name clients ask for"),
        Item("--host", options.host, "user", "where it listens"),
        Item("--port", str(options.port), "user", "where it listens"),
        Item("--dtype", choice.dtype, "hardware", choice.reason),
        length,
        Item("--max-num-seqs", str(kv_memory.sequences(inputs)), "profile", f"profile {inputs.profile_name}"),
        Item(
            "--max-num-batched-tokens",
            str(kv_memory.batched_tokens(inputs, int(length.value or 0))),
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
        _switch("prefix-caching", profile.prefix_caching and causal, "equal beginnings are computed once"),
        _switch(
            "chunked-prefill", profile.chunked_prefill and causal, "a long prompt stops no running answer"
        ),
    ]


def _switch(name: str, on: bool, why: str) -> Item:
    return Item(
        f"--{'' if on else 'no-'}enable-{name}", None, "profile", why if on else "the profile says so"
    )


def _cache_flag(inputs: PlanInputs, cache: str) -> Item:
    return Item("--kv-cache-dtype", cache, "profile", "half the bytes of a token, twice the tokens")


def _eager(inputs: PlanInputs) -> list[Item]:
    eager = inputs.profile.eager
    if eager is None and not inputs.on_gpu:
        why = "ready in seconds; compiling takes 90 s at every start (profile cpu-compiled)"
        return [Item("--enforce-eager", None, "hardware", why)]
    return [Item("--enforce-eager", None, "profile", "the profile says so")] if eager else []


def _bare(name: str) -> str:
    return name.replace("--no-", "--", 1)


def _merge(items: list[Item], stronger: list[Item]) -> list[Item]:
    """Put `stronger` in the place of the items of the same name; `--no-x` and `--x` replace each other."""
    replaced = {_bare(item.name) for item in stronger}
    # A boolean switch of ours must not be repeated as its opposite, so the stronger ones stand alone.
    return [*(item for item in items if _bare(item.name) not in replaced), *stronger]


def _override(items: list[Item], inputs: PlanInputs) -> list[Item]:
    """Let the user's own flags win."""
    given = parse_words(inputs.options.vllm_args)
    own = [
        Item(name, words[0] if words else None, "user", "given after --", words[1:])
        for name, words in given.items()
    ]
    return _merge(items, own)


def _notes(inputs: PlanInputs) -> list[Item]:
    facts = inputs.target.facts
    found: list[Item] = []
    if facts.sliding_window is not None:
        what = (
            "every layer"
            if facts.sliding_layers == facts.layers
            else f"{facts.sliding_layers} of {facts.layers} layers"
        )
        found.append(
            Item(
                "sliding window",
                str(facts.sliding_window),
                "model",
                f"{what} look back so many tokens; older blocks of theirs are freed",
            )
        )
    if inputs.on_gpu and len(inputs.hardware.gpus) > 1:
        count = len(inputs.hardware.gpus)
        direct = parallel.peers_reach_each_other(inputs.hardware, count)
        found.append(
            Item(
                "P2P",
                "yes" if direct else "no",
                "hardware",
                f"{count} GPUs " + ("read each other's memory" if direct else "exchange through main memory"),
            )
        )
    if not inputs.on_gpu:
        nodes = len(inputs.hardware.cpu.numa_nodes)
        found.append(Item("NUMA nodes", str(nodes), "hardware", "see VLLM_CPU_OMP_THREADS_BIND"))
    return found


def _warnings(inputs: PlanInputs, choice: DtypeChoice) -> list[str]:
    found: list[str] = []
    facts, target = inputs.target.facts, inputs.target
    if target.version is not None and target.verdict != ACCEPT and not inputs.options.private:
        said = f"said {target.verdict} of" if target.verdict else "has not judged"
        found.append(f"the quality gate {said} {target.name} {target.version}")
    if choice.dtype == "float16" and facts.dtype == "bfloat16":
        found.append("the checkpoint is bfloat16 and runs in float16 here: very large values would overflow")
    if not inputs.on_gpu:
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
