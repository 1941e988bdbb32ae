"""What the parent asks of the worker, and how the worker reports back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quantserve.quantize.calibration.documents import Group

# Report one event; keys besides "event" are the event's own.
Report = Callable[..., None]


@dataclass(frozen=True)
class Job:
    """One quantization: `options` are those of the method's dataclass.

    structure: what the checkpoint's matrices are, as `quantize.models.structure` writes it.
    work: a folder whose finished stages a killed run left; output: the directory to appear in it.
    wide: the base has values that float16 cannot hold.
    """

    model: str
    work: str
    output: str
    method: str
    options: dict[str, Any]
    groups: list[Group]
    sequences: int
    sequence_tokens: int
    seed: int
    structure: dict[str, Any]
    adapter: str | None = None
    wide: bool = False

    @property
    def model_dir(self) -> Path:
        """The base checkpoint."""
        return Path(self.model)

    @property
    def work_dir(self) -> Path:
        """Where stages are kept."""
        return Path(self.work)

    @property
    def output_dir(self) -> Path:
        """Where the weights and the configuration go."""
        return Path(self.output)

    def to_dict(self) -> dict[str, Any]:
        """Return the job as plain JSON values."""
        value: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return value
