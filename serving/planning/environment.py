"""The variables of the engine's process, and which processors it runs on. Pure."""

from __future__ import annotations

import os.path

from quantserve.serving import forking, zen
from quantserve.serving.dtype import DtypeChoice
from quantserve.serving.errors import HardwareError
from quantserve.serving.forking import BINDING, ONE_PROCESS
from quantserve.serving.forking import VARIABLE as FORK_SERVER
from quantserve.serving.hardware.system import format_id_list
from quantserve.serving.planning.items import Item, PlanInputs
from quantserve.serving.planning.parallel import Parallel, require_split, splits, wanted_copies, wished_number

_SPLIT_FROM_BYTES = 2 << 30


def cpu_parallel(inputs: PlanInputs) -> Parallel:
    """Return one worker for each NUMA node, so that each reads the memory beside it; one for a small model.

    A worker sends its part of every layer's result to the others, which a small model does not earn back.

    Raises:
        HardwareError: more copies or parts are wanted than the machine or the model has room for.
    """
    wish = wished_number(inputs, "--tensor-parallel-size", inputs.profile.tensor_parallel)
    nodes = len(inputs.hardware.cpu.busy_nodes)
    if (copies := wanted_copies(inputs)) > 1:
        if wish not in (1, "auto"):
            raise HardwareError(
                f"{copies} copies of the model are not split further on a CPU",
                mend="Leave tensor_parallel or data_parallel alone",
            )
        bound = inputs.profile.environment.get(BINDING, "nobind")
        if bound not in ("auto", "nobind") and (named := bound.count("|") + 1) != copies:
            raise HardwareError(
                f"{BINDING}={bound} in the profile names the processors of {named} engines, "
                f"data_parallel wants {copies}",
                mend="Name them for each, parted by |, or leave it out",
            )
        return Parallel(copies=copies, reason=f"{copies} copies of the model share the requests")
    if isinstance(wish, int):
        require_split(inputs, wish)
        return Parallel(wish, 1, "as the profile or the user says")
    if nodes == 1:
        return Parallel()
    if inputs.target.facts.weight_bytes < _SPLIT_FROM_BYTES:
        return Parallel(1, 1, f"a model this small runs on one of {nodes} NUMA nodes")
    if not splits(inputs, nodes):
        return Parallel(1, 1, f"the heads cannot be shared out to {nodes} NUMA nodes")
    return Parallel(nodes, 1, f"one worker on each of {nodes} NUMA nodes, beside its memory")


def binding(inputs: PlanInputs, parallel: Parallel) -> Item:
    """Return vLLM's binding: processors of each worker, workers parted by a bar."""
    cpus, nodes = inputs.hardware.cpu.busy, inputs.hardware.cpu.busy_nodes
    name = BINDING
    if parallel.copies > 1:
        text = "|".join(format_id_list(part) for part in inputs.hardware.cpu.shared_out(parallel.copies))
        return Item(name, text, "profile", f"the processors of each of {parallel.copies} copies of the model")
    if parallel.tensor == len(nodes) and len(nodes) > 1:
        text = "|".join(format_id_list(node) for node in nodes)
        return Item(name, text, "hardware", parallel.reason)
    if parallel.tensor > 1:
        each = max(1, len(cpus) // parallel.tensor)  # of one size, since each waits for the slowest
        parts = [cpus[k * each : (k + 1) * each] for k in range(parallel.tensor)]
        text = "|".join(format_id_list(part) for part in parts)
        return Item(name, text, "hardware", f"{each} processors for each of {parallel.tensor} workers")
    if len(nodes) > 1:
        largest = max(nodes, key=len)
        return Item(
            name,
            format_id_list(largest),
            "hardware",
            f"the {len(largest)} processors of one NUMA node: {parallel.reason}",
        )
    reason = f"one thread on each of {len(cpus)} usable processors"
    return Item(name, format_id_list(cpus), "hardware", reason)


def forked(inputs: PlanInputs, parallel: Parallel) -> bool:
    """Are vLLM's processes forked (serving.forking)? On a CPU with Intel's OpenMP, for one worker a copy.

    The profile's environment may say no, or bind the worker to no named processors.
    """
    if inputs.on_gpu or not inputs.hardware.libraries.iomp or parallel.devices != 1:
        return False
    ours = {FORK_SERVER: "1", BINDING: binding(inputs, parallel).value or ""}
    environment = {**ours, **inputs.profile.environment}
    return forking.wanted(environment) and len(forking.processors(environment)) == parallel.copies


def executor(inputs: PlanInputs, parallel: Parallel) -> list[Item]:
    """Return the flag with which the engine core computes itself; processes of its own are vLLM's default."""
    if not forked(inputs, parallel):
        return []
    reason = "the engine core computes itself: no message to a worker and back in each step"
    return [Item("--distributed-executor-backend", ONE_PROCESS, "hardware", reason)]


def _zen(inputs: PlanInputs, choice: DtypeChoice) -> list[Item]:
    library = inputs.hardware.libraries.zentorch
    if library is None:
        return []
    if choice.dtype == "float16":
        return [Item(zen.VARIABLE, zen.NONE, "hardware", "AMD's kernels compute no float16")]
    reason = "AMD's kernels: 4-bit weights without zero points twice as fast in batches, others a little"
    return [Item(zen.VARIABLE, library, "hardware", reason)]


def environment(inputs: PlanInputs, choice: DtypeChoice, parallel: Parallel) -> list[Item]:
    """Return the variables: safety first, then what makes a processor fast, then the profile's own."""
    items = [
        Item("HF_HUB_OFFLINE", "1", "safety", "the model is local; nothing may be fetched"),
        Item("VLLM_NO_USAGE_STATS", "1", "safety", "no telemetry"),
        Item("DO_NOT_TRACK", "1", "safety", "no telemetry"),
        Item("VLLM_SERVER_DEV_MODE", "0", "safety", "development endpoints stay shut"),
    ]
    if not inputs.on_gpu:
        items.append(binding(inputs, parallel))
        if choice.isa_cap is not None:
            items.append(
                Item("ONEDNN_MAX_CPU_ISA", choice.isa_cap, "hardware", "fastest setting that lives here")
            )
        libraries = inputs.hardware.libraries
        preload = [path for path in (libraries.tcmalloc, libraries.iomp) if path]
        if preload:
            names = " and ".join(os.path.basename(path) for path in preload)  # noqa: PTH119  text, not a file
            items.append(Item("LD_PRELOAD", ":".join(preload), "hardware", f"{names}: faster"))
        if forked(inputs, parallel):
            reason = "Intel's OpenMP, and no split model: processes are forked instead of importing all again"
            items.append(Item(FORK_SERVER, "1", "hardware", reason))
        items.extend(_zen(inputs, choice))
        items.append(Item("THP_MEM_ALLOC_ENABLE", "1", "hardware", "torch's tensors on huge pages"))
        # numba's default layer gives OpenMP as many threads as the engine's bound main thread has processors
        reason = "guesses from the prompt leave the engine's threads alone"
        items.append(Item("NUMBA_THREADING_LAYER", "workqueue", "hardware", reason))
    items.extend(
        Item(key, value, "profile", f"profile {inputs.profile_name}")
        for key, value in inputs.profile.environment.items()
    )
    return items
