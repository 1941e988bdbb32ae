"""Turn pickle weights that the user named into safetensors.

Unpickling can run code, so it is refused everywhere else. Here only files named one by one are read, by
torch's restricted unpickler (`weights_only`), which knows tensors and plain containers alone.
"""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

from quantserve.core.checkpoints import hub_id
from quantserve.core.errors import InputError, UsageError
from quantserve.core.files import exclusive_lock, require_disk_space, staged_directory
from quantserve.quantize.models.checks import PICKLE_SUFFIXES, Checkpoint, CheckpointError, check_checkpoint
from quantserve.quantize.models.companions import copy_companions
from quantserve.quantize.models.source import write_source

# Some trainers save the weights one level down.
_NESTED = ("state_dict", "model")


def convert(source: Path, destination: Path, allowed: list[str]) -> Checkpoint:
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
        _write(sorted(source / name for name in allowed), staging)
        shutil.copyfile(source / "config.json", staging / "config.json")
        copy_companions(source, staging)
        check_checkpoint(staging)
        write_source(staging, id=hub_id(source) or str(source), converted=allowed)
    return check_checkpoint(destination)


def _write(pickles: list[Path], output: Path) -> None:
    """Write the tensors of pickles as safetensors.

    Raises:
        InputError: a pickle holds anything but tensors by name.
    """
    import torch

    from quantserve.quantize.methods.formats.checkpoint import CheckpointWriter

    writer = CheckpointWriter(output, torch.float16)
    for path in pickles:
        try:
            with warnings.catch_warnings(action="ignore"):
                value: Any = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a broken or hostile pickle raises whatever it leads to
            why = f"it is damaged, or holds something other than tensors ({type(error).__name__})"
            raise _refused(path, why) from error
        for name in _NESTED:
            if isinstance(value, dict) and isinstance(value.get(name), dict):
                value = value[name]
        if not isinstance(value, dict) or not value:
            raise _refused(path, "it holds no weights by name")
        for name, tensor in value.items():
            if not isinstance(tensor, torch.Tensor):
                raise _refused(path, f"{name} is not a tensor")
            # Cloned: tied weights share memory, which safetensors cannot express.
            writer.add(str(name), tensor.contiguous().clone())
    writer.finish()


def _refused(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} cannot be converted: {why}",
        mend="Files with more than tensors in them would run code and stay refused",
    )
