"""Turn pickle weights that the user named into safetensors, in a child process that ends with the work.

Unpickling can run code, so it is refused everywhere else. Here only files named one by one are read, by
torch's restricted unpickler (`weights_only`), which knows tensors and plain containers alone.
Run in the quantize environment: python -m quantserve.quantize.lifecycle.unpickle SOURCE DESTINATION FILE…
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from quantserve.core.checkpoints import hub_id
from quantserve.core.errors import InputError, QuantserveError, UsageError
from quantserve.core.files import exclusive_lock, require_disk_space, staged_directory, write_json
from quantserve.quantize.models.checks import PICKLE_SUFFIXES, Checkpoint, CheckpointError, check_checkpoint
from quantserve.quantize.models.companions import copy_companions
from quantserve.quantize.models.source import write_source
from quantserve.quantize.worker.lifeline import die_with_parent
from quantserve.quantize.worker.supervise import run_logged

# Some trainers save the weights one level down.
_NESTED = ("state_dict", "model")


def convert(source: Path, destination: Path, allowed: list[str], run_dir: Path) -> Checkpoint:
    """Write `destination`, a checked safetensors checkpoint, from a directory with pickle weights.

    Raises:
        UsageError: a pickle in the directory is not named in `allowed`, or a name is no file there.
        InputError: the destination exists, or the files hold something other than tensors.
    """
    if not (source / "config.json").is_file():
        raise CheckpointError(f"{source} is no checkpoint: it holds no config.json")
    present = sorted(p.name for p in source.iterdir() if p.suffix in PICKLE_SUFFIXES and p.is_file())
    for name in allowed:
        if name not in present:
            raise UsageError(
                f"{source} holds no pickle {name}", mend=f"It holds {', '.join(present) or 'none'}"
            )
    if not allowed:
        raise UsageError(
            f"{source} holds pickles ({', '.join(present) or 'none'}), which can run code when loaded",
            mend="Name each one you trust: --allow-pickle FILE",
        )
    if destination.exists():
        raise InputError(f"{destination} exists already", mend="Name another with --output, or move it away")
    needed_bytes = sum((source / name).stat().st_size for name in allowed)
    require_disk_space(destination, needed_bytes, "The converted checkpoint")
    with (
        exclusive_lock(destination.parent / f".{destination.name}.lock", f"converting {destination.name}"),
        staged_directory(destination) as staging,
    ):
        arguments = ["-m", "quantserve.quantize.lifecycle.unpickle", str(source), str(staging), *allowed]
        try:
            run_logged(arguments, run_dir / "convert.log", "converting")
        except QuantserveError as error:
            raise InputError(
                f"{source} cannot be converted: {error.problem}",
                mend="Files with more than tensors in them would run code and stay refused",
            ) from error
        shutil.copyfile(source / "config.json", staging / "config.json")
        copy_companions(source, staging)
        check_checkpoint(staging)
        write_source(staging, id=hub_id(source) or str(source), converted=allowed)
    return check_checkpoint(destination)


def _tensors(path: Path) -> dict[str, Any]:
    """Read one pickle's tensors, refusing whatever else it holds."""
    import torch

    value: Any = torch.load(path, map_location="cpu", weights_only=True)
    for name in _NESTED:
        if isinstance(value, dict) and isinstance(value.get(name), dict):
            value = value[name]
    if not isinstance(value, dict) or not value:
        raise SystemExit(f"{path.name} holds no weights by name")
    strange = [name for name, item in value.items() if not isinstance(item, torch.Tensor)]
    if strange:
        raise SystemExit(f"{path.name}: {strange[0]} is not a tensor")
    # Cloned: tied weights share memory, which safetensors cannot express.
    return {str(name): item.contiguous().clone() for name, item in value.items()}


def main(source: Path, destination: Path, names: list[str]) -> None:
    """Write one safetensors file for each pickle, and an index when there are several."""
    from safetensors.torch import save_file

    weight_map: dict[str, str] = {}
    total = 0
    for number, name in enumerate(sorted(names), start=1):
        tensors = _tensors(source / name)
        one = len(names) == 1
        file = "model.safetensors" if one else f"model-{number:05d}-of-{len(names):05d}.safetensors"
        save_file(tensors, destination / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file)
        total += sum(tensor.nbytes for tensor in tensors.values())
    if len(names) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_json(destination / "model.safetensors.index.json", index)


if __name__ == "__main__":
    die_with_parent()
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
