"""Finished layers on disk, one file each, written aside and renamed. Needs torch."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from quantserve.core.files import fsync_directory
from quantserve.quantize.methods.formats.packing import Quantized
from quantserve.quantize.methods.layers.layer import LayerWork, MovedScale

_MOVED = "moved"


@dataclass(frozen=True)
class FinishedLayer:
    """A quantized layer by full names.

    quantized: the rounded parts. others: every other tensor. moved: the scales that moved. unseen: parts that
    the calibration text never reached.
    """

    quantized: dict[str, Quantized]
    others: dict[str, torch.Tensor]
    moved: list[MovedScale]
    unseen: list[str]


class LayerFiles:
    """The layers of one run."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which is made if it is not there; what a killed run left half-written goes."""
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("*.part"):
            stale.unlink()
        self._folder = folder

    def _path(self, index: int) -> Path:
        return self._folder / f"{index:04d}.safetensors"

    def has(self, index: int) -> bool:
        """Whether a layer is finished."""
        return self._path(index).is_file()

    def write(self, index: int, layer: nn.Module, work: LayerWork) -> None:
        """Write a layer: quantized parts as codes, everything else as it is, and the scales that moved."""
        tensors: dict[str, torch.Tensor] = {}
        facts = {
            "bits": {name: value.bits for name, value in work.quantized.items()},
            "unseen": work.unseen,
            "moved": [
                {"producer": moved.producer, "readers": moved.readers, "offset": moved.offset}
                for moved in work.moved
            ],
        }
        for name, value in work.quantized.items():
            tensors[f"{name}.codes"] = value.codes.cpu().contiguous()
            tensors[f"{name}.scales"] = value.scales.cpu().contiguous()
            tensors[f"{name}.zeros"] = value.zeros.to(torch.uint8).cpu().contiguous()
        for at, moved in enumerate(work.moved):
            tensors[f"{_MOVED}.{at}.scale"] = moved.scale.cpu().contiguous()
            tensors[f"{_MOVED}.{at}.own"] = moved.own.cpu().contiguous().clone()
        for local, tensor in layer.state_dict().items():
            full = work.stored.get(local)
            if full is not None and full.removesuffix(".weight") not in work.quantized:
                tensors[full] = tensor.cpu().contiguous().clone()
        part = self._path(index).with_suffix(".part")
        save_file(tensors, part, {"facts": json.dumps(facts)})
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(part, self._path(index))
        fsync_directory(self._folder)

    def read(self, index: int) -> FinishedLayer:
        """Return a finished layer."""
        with safe_open(self._path(index), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
            facts = json.loads(file.metadata()["facts"])
        quantized = {
            name: Quantized(
                tensors.pop(f"{name}.codes"),
                tensors.pop(f"{name}.scales"),
                tensors.pop(f"{name}.zeros").float(),
                int(bits),
            )
            for name, bits in facts["bits"].items()
        }
        moved = [
            MovedScale(
                one["producer"],
                tuple(one["readers"]),
                tensors.pop(f"{_MOVED}.{at}.scale"),
                tensors.pop(f"{_MOVED}.{at}.own"),
                one["offset"],
            )
            for at, one in enumerate(facts["moved"])
        ]
        return FinishedLayer(quantized, tensors, moved, facts["unseen"])

    def clear(self) -> None:
        """Remove all layers, to begin again."""
        for path in self._folder.iterdir():
            path.unlink()

    def write_output(self, index: int, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        """Keep what a layer hands to the next, before the layer itself is written.

        Of a tuple the first value counts; the rest, such as attention weights, is for onlookers.
        """
        kind, tensor = ("first", output[0]) if isinstance(output, tuple) else ("output", output)
        save_file({kind: tensor.cpu().contiguous()}, self._output(index))

    def read_output(self, index: int) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Return what a finished layer hands to the next: to the bit what it was."""
        with safe_open(self._output(index), framework="pt") as file:
            if "first" in file.keys():  # noqa: SIM118  no mapping
                return (file.get_tensor("first"),)
            output: torch.Tensor = file.get_tensor("output")
        return output

    def forget_outputs(self, before: int) -> None:
        """Remove the outputs that no resumed run would need."""
        for index in range(before):
            self._output(index).unlink(missing_ok=True)

    def _output(self, index: int) -> Path:
        return self._folder / f"{index:04d}.output"

    def count(self) -> int:
        """Return how many layers are finished, from the first on."""
        return next(index for index in itertools.count() if not self.has(index))
