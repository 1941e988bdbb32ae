"""How many devices share a model, and whether each layer is split or the layers are put in stages. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from quantserve.serving.errors import HardwareError
from quantserve.serving.hardware.facts import Hardware
from quantserve.serving.planning.items import Item, PlanInputs


@dataclass(frozen=True)
class Parallel:
    """Devices of a copy of the model: `tensor` parts of each layer times `pipeline` stages."""

    tensor: int = 1
    pipeline: int = 1
    reason: str = "one device"
    copies: int = 1
    """Engines that each hold the whole model and share the requests (data parallel)."""

    @property
    def devices(self) -> int:
        """All of one copy."""
        return self.tensor * self.pipeline


def wanted_copies(inputs: PlanInputs) -> int:
    """How many copies of the model the server holds.

    Raises:
        HardwareError: each would get less than one processor, or less than one GPU.
    """
    copies = int(wished_number(inputs, "--data-parallel-size", inputs.profile.data_parallel))
    devices = len(inputs.hardware.gpus) if inputs.on_gpu else inputs.hardware.cpu.cores
    if copies > devices:
        kind = "GPUs" if inputs.on_gpu else "processors"
        raise HardwareError(
            f"{copies} copies of the model do not go onto {devices} {kind}",
            mend=f"Set data_parallel to {devices} or less",
        )
    if copies > 1 and inputs.profile.nodes > 1:
        raise HardwareError(
            "copies of the model are kept on one machine", mend="Leave data_parallel or nodes at 1"
        )
    return copies


def peers_reach_each_other(hardware: Hardware, count: int) -> bool:
    """Whether the first `count` GPUs read each other's memory directly (P2P)."""
    group = hardware.gpus[:count]
    wanted = {gpu.index for gpu in group}
    return all(wanted - {gpu.index} <= set(gpu.peers) for gpu in group)


def splits(inputs: PlanInputs, count: int) -> bool:
    """Whether the heads can be shared out evenly to `count` devices, as vLLM demands."""
    facts = inputs.target.facts
    kv_even = facts.kv_heads % count == 0 or count % facts.kv_heads == 0
    return facts.attention_heads % count == 0 and (kv_even or facts.latent_width is not None)


def require_split(inputs: PlanInputs, count: int) -> None:
    """Refuse a number of parts that vLLM would refuse after loading.

    Raises:
        HardwareError: the heads cannot be shared out.
    """
    if count > 1 and not splits(inputs, count):
        facts = inputs.target.facts
        raise HardwareError(
            f"{facts.attention_heads} heads ({facts.kv_heads} for keys and values) go not into {count} parts",
            mend="Give another tensor_parallel, or leave it at auto",
        )


def candidates(inputs: PlanInputs) -> list[Parallel]:
    """Return the ways to try, the best first; memory decides which of them is taken.

    Raises:
        HardwareError: the profile or the user wants more GPUs than there are.
    """
    copies = wanted_copies(inputs)
    return [replace(way, copies=copies) for way in _ways(inputs, len(inputs.hardware.gpus) // copies, copies)]


def _ways(inputs: PlanInputs, here: int, copies: int) -> list[Parallel]:
    """The ways of one of `copies`, which has `here` GPUs on each machine."""
    profile = inputs.profile
    tensor = wished_number(inputs, "--tensor-parallel-size", profile.tensor_parallel)
    pipeline = wished_number(inputs, "--pipeline-parallel-size", profile.pipeline_parallel)
    if isinstance(tensor, int) or isinstance(pipeline, int):
        stages = pipeline if isinstance(pipeline, int) else profile.nodes
        parts = tensor if isinstance(tensor, int) else _largest_split(inputs, here * profile.nodes // stages)
        if parts * stages > here * profile.nodes:
            raise HardwareError(
                f"profile {inputs.profile_name!r} wants {parts * stages} GPUs, torch sees {here}"
                + (f" on each of {profile.nodes} machines" if profile.nodes > 1 else "")
                + (f" for each of {copies} copies" if copies > 1 else ""),
                mend="Lower tensor_parallel, or use several nodes on Ray (--profile multi-gpu)",
            )
        require_split(inputs, parts)
        return [Parallel(parts, stages, "as the profile or the user says")]
    if profile.nodes > 1:
        parts = _largest_split(inputs, here)
        reason = f"{parts} parts on each of {profile.nodes} machines: only stages cross the network"
        return [Parallel(parts, profile.nodes * (here // parts), reason)]
    if tensor == "all":
        return [_of_one_machine(inputs, here)]
    return [_of_one_machine(inputs, count) for count in range(1, here + 1) if _usable(inputs, count)]


def wished_number(inputs: PlanInputs, flag: str, wish: int | str) -> int | str:
    """Return the number the user gave, else the profile's wish."""
    given = inputs.given_number(flag)
    return wish if given is None else given


def _largest_split(inputs: PlanInputs, devices: int) -> int:
    even = (count for count in range(1, devices + 1) if devices % count == 0 and splits(inputs, count))
    return max(even, default=1)


def _usable(inputs: PlanInputs, count: int) -> bool:
    return splits(inputs, count) or inputs.target.facts.layers >= count


def _of_one_machine(inputs: PlanInputs, count: int) -> Parallel:
    """Split layers where the GPUs reach each other, else stages, which exchange far less."""
    if count == 1:
        return Parallel()
    if not splits(inputs, count):
        parts = _largest_split(inputs, count)
        heads = inputs.target.facts.attention_heads
        return Parallel(
            parts,
            count // parts,
            f"{heads} heads cannot be shared out to {count} GPUs: {count // parts} stages",
        )
    if not peers_reach_each_other(inputs.hardware, count):
        return Parallel(
            1, count, f"{count} GPUs that do not read each other's memory: stages exchange less than parts"
        )
    return Parallel(count, 1, f"{count} GPUs read each other's memory: each layer is split")


def flags(inputs: PlanInputs, parallel: Parallel) -> list[Item]:
    """Return the flags of the choice."""
    items: list[Item] = []
    if parallel.tensor > 1:
        items.append(Item("--tensor-parallel-size", str(parallel.tensor), "hardware", parallel.reason))
    if parallel.pipeline > 1:
        items.append(Item("--pipeline-parallel-size", str(parallel.pipeline), "hardware", parallel.reason))
    if parallel.copies > 1:
        reason = f"{parallel.copies} copies of the model share the requests"
        items.append(Item("--data-parallel-size", str(parallel.copies), "profile", reason))
    if not inputs.on_gpu or parallel.devices == 1:
        return items
    if inputs.profile.nodes > 1:
        items.append(
            Item("--distributed-executor-backend", "ray", "profile", f"{inputs.profile.nodes} machines")
        )
    if parallel.tensor > 1 and not peers_reach_each_other(inputs.hardware, parallel.tensor):
        items.append(
            Item(
                "--disable-custom-all-reduce",
                None,
                "hardware",
                "vLLM's own all-reduce needs GPUs that read each other's memory; NCCL does without",
            )
        )
    return items


def warnings(inputs: PlanInputs, parallel: Parallel) -> list[str]:
    """Say what the operator has to do or may want to know."""
    here = len(inputs.hardware.gpus)
    found: list[str] = []
    if inputs.profile.nodes > 1:
        found.append(
            f"{inputs.profile.nodes} machines with {here} GPUs each are assumed. First: ray start --head, "
            "ray start --address=HOST:6379 on the others, the model in the same directory on all"
        )
    elif (
        inputs.on_gpu
        and inputs.profile.tensor_parallel == "auto"
        and (used := parallel.devices * parallel.copies) < here
    ):
        found.append(f"{here - used} of {here} GPUs stay free: --replicas or --profile multi-gpu uses them")
    return found
