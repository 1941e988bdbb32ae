"""Reading and writing checkpoints tensor by tensor, never all of one in memory. Needs torch."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from core.files import write_json

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_SHARD_BYTES = 4_000_000_000
_COMPANIONS = (
    "tokenizer*",
    "special_tokens_map.json",
    "vocab.*",
    "merges.txt",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
    "LICENSE*",
)


def read_tensors(directory: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every tensor of a checkpoint by name."""
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  no mapping
                yield name, file.get_tensor(name)


def tensor_names(directory: Path) -> set[str]:
    """Return the names of a checkpoint's tensors."""
    names: set[str] = set()
    for path in directory.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            names |= set(file.keys())
    return names


class CheckpointWriter:
    """Collects tensors into shards; `finish` names them as loaders expect."""

    def __init__(self, output: Path, dtype: torch.dtype) -> None:
        """Write to `output`; 16-bit and wider weights become `dtype`, scales as they are given."""
        self._output = output
        self._dtype = dtype
        self._waiting: dict[str, torch.Tensor] = {}
        self._bytes = 0
        self._shards: list[tuple[Path, list[str]]] = []

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Take one tensor as it is."""
        self._waiting[name] = tensor.contiguous()
        self._bytes += tensor.nbytes
        if self._bytes >= _SHARD_BYTES:
            self._flush()

    def add_weight(self, name: str, tensor: torch.Tensor) -> None:
        """Take one unquantized tensor in the checkpoint's type."""
        self.add(name, tensor.to(self._dtype) if tensor.is_floating_point() else tensor)

    def _flush(self) -> None:
        path = self._output / f"part-{len(self._shards) + 1:05d}.safetensors"
        save_file(self._waiting, path, metadata={"format": "pt"})
        self._shards.append((path, list(self._waiting)))
        self._waiting, self._bytes = {}, 0

    def finish(self) -> None:
        """Write what is left, and an index where there are several shards."""
        if self._waiting:
            self._flush()
        total = len(self._shards)
        if total == 1:
            self._shards[0][0].rename(self._output / WEIGHTS)
            return
        weight_map: dict[str, str] = {}
        size = 0
        for number, (path, names) in enumerate(self._shards, start=1):
            final = self._output / f"model-{number:05d}-of-{total:05d}.safetensors"
            path.rename(final)
            size += final.stat().st_size
            weight_map |= dict.fromkeys(names, final.name)
        write_json(self._output / INDEX, {"metadata": {"total_size": size}, "weight_map": weight_map})


def copy_companions(model: Path, output: Path) -> None:
    """Copy the tokenizer's and generation's files byte for byte."""
    for pattern in _COMPANIONS:
        for path in model.glob(pattern):
            if path.is_file():
                shutil.copyfile(path, output / path.name)
