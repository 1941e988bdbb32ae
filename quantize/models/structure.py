"""What a checkpoint's matrices are: linear parts of the decoder layers, experts, or neither.

In: a checked checkpoint. Out: a `Structure`, found by building the model without its weights, so that an
architecture's own module tree decides and not the names it uses. That takes a child process with torch a few
seconds; the answer is cached under the configuration's and the tensors' hash.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quantserve.core.errors import InputError
from quantserve.quantize.models.checks import Checkpoint, TensorInfo
from quantserve.quantize.worker import run_logged

# Raise it when the same checkpoint begins to give another answer.
_REVISION = 5


@dataclass(frozen=True)
class Structure:
    """The matrices of a checkpoint by their module's name in it, without `.weight`.

    architecture: the model's class. layers: how many decoder layers. linear: linear parts of the layers.
    experts: matrices that transformers merges with others when it loads them. unquantized: matrices that
    stay in 16 bits, and what they are. sizes: (output, input) of linear parts and experts. stored: for each
    tensor of the model, the checkpoint's name of it; loaders rename some. merged: for each tensor that is
    merged with others, the tensor of the model it becomes part of. blocks: modules whose experts the
    checkpoint holds merged; the engine has one module there, which it asks about by names of its own.
    """

    architecture: str
    layers: int
    linear: tuple[str, ...]
    experts: tuple[str, ...]
    unquantized: Mapping[str, str]
    sizes: Mapping[str, tuple[int, int]]
    stored: Mapping[str, str]
    merged: Mapping[str, str]
    blocks: tuple[str, ...]

    @property
    def quantizable(self) -> tuple[str, ...]:
        """Matrices that methods round."""
        return (*self.linear, *self.experts)

    def tensors(self) -> dict[str, TensorInfo]:
        """Return the matrices that methods round as the checkpoint describes them, by module name."""
        return {name: TensorInfo("", self.sizes[name]) for name in self.quantizable}

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Structure:
        """Read what `to_dict` gave."""
        lists = {name: tuple(value[name]) for name in ("linear", "experts", "blocks")}
        return cls(
            **{**value, **lists, "sizes": {name: tuple(size) for name, size in value["sizes"].items()}}
        )


def structure_of(checkpoint: Checkpoint, run_dir: Path) -> Structure:
    """Return a checkpoint's structure.

    Raises:
        InputError: transformers does not know the model, or it is no decoder with linear layers.
    """
    shapes = {name: [info.dtype, *info.shape] for name, info in sorted(checkpoint.tensors.items())}
    versions = [importlib.metadata.version(name) for name in ("transformers", "torch")]
    asked = json.dumps([_REVISION, versions, checkpoint.config, shapes], sort_keys=True)
    place = (run_dir / "structures" / f"{hashlib.sha256(asked.encode()).hexdigest()[:24]}.json").resolve()
    if not place.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        run_logged(
            "models.inspection",
            [str(checkpoint.directory.resolve()), str(place)],
            run_dir / "structure.log",
            "reading the architecture",
        )
    answer: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    if "problem" in answer:
        raise InputError(answer["problem"], mend=answer["hint"])
    return Structure.from_dict(answer)
