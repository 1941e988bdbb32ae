"""Whether an artifact is right: its logits against the base's in float32, beside plain rounding's.

No absolute error separates right from wrong, since a healthy 4 bits loses a quarter on a model with outliers.
So an artifact may lose at most a tenth more than each weight rounded to the nearest on the same grid, with
the inputs rounded by token in both where the engine rounds them. Needs torch and transformers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModelForCausalLM

from tests.architectures.stored import Stored, plainly_rounded, read
from tests.programs import ROOT

SLACK = 1.1
# Beneath it two orders of the same sums differ.
FLOOR = 1e-4
# Of a mixture's tokens, those farthest off: rounding sends some to another expert, which is a leap.
# Random routers leap often.
LEAPS = 0.2
_SEQUENCES, _TOKENS = 8, 64
_TEXT = ROOT / "LICENSE"


@dataclass(frozen=True)
class Judgement:
    """What was found; error and plain are relative errors of the logits, the artifact's and plain rounding's.

    kl: in nats. quantized, matrices: how many were rounded of the base's. missing, extra: tensors by name.
    foreign: files of weights that no loader reads. unloaded: what the loader takes of the base but not of it.
    """

    error: float
    plain: float
    kl: float
    finite: bool
    quantized: int
    matrices: int
    missing: list[str]
    extra: list[str]
    foreign: list[str]
    unloaded: dict[str, list[str]]

    @property
    def bound(self) -> float:
        """The largest error that is right."""
        return max(SLACK * self.plain, FLOOR)

    @property
    def right(self) -> bool:
        """Whether nothing is wrong."""
        wrong = self.missing or self.extra or self.foreign or self.unloaded
        return self.finite and self.quantized > 0 and not wrong and self.error <= self.bound

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "bound": self.bound, "right": self.right}


class Judge:
    """Judges the artifacts of one base."""

    def __init__(self, base: Path) -> None:
        """Read the base and its logits."""
        self._base = read(base)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        self._config: Any = model.config
        self._model_class: Any = type(model)
        self._ids = _token_ids(base)
        self._logits, self._unloaded = self._run(self._base)
        self._plain: dict[str, float] = {}

    @property
    def prompt(self) -> list[int]:
        """The first of the sequences that are compared, for asking the engine the same."""
        ids: list[int] = self._ids[0].tolist()
        return ids

    def log_probabilities(
        self, artifact: Path | None = None, dtype: torch.dtype = torch.float32
    ) -> list[float]:
        """Return what the prompt's tokens after the first get, by an artifact or the base."""
        if artifact is None and dtype == torch.float32:
            logits = self._logits
        else:
            logits, _ = self._run(self._base if artifact is None else read(artifact), dtype)
        following = self._ids[0, 1:, None]
        found: list[float] = logits[0, :-1].log_softmax(-1).gather(1, following).flatten().tolist()
        return found

    def judge(self, artifact: Path) -> Judgement:
        """Compare an artifact's logits with the base's."""
        found = read(artifact)
        logits, unloaded = self._run(found)
        base, ours = set(self._base.weights), set(found.weights)
        news = {kind: names - self._unloaded.get(kind, set()) for kind, names in unloaded.items()}
        return Judgement(
            error=self._error(logits),
            plain=self._plain_error(found),
            kl=self._kl(logits),
            finite=bool(torch.isfinite(logits).all()),
            quantized=len(found.grids),
            matrices=sum(tensor.ndim >= 2 for tensor in self._base.weights.values()),
            missing=sorted(base - ours),
            extra=sorted(ours - base),
            foreign=list(found.foreign),
            unloaded={kind: sorted(names) for kind, names in news.items() if names},
        )

    def _plain_error(self, like: Stored) -> float:
        key = str((sorted(like.grids.items()), sorted((k, str(v)) for k, v in like.dtypes.items())))
        if key not in self._plain:
            self._plain[key] = self._error(self._run(plainly_rounded(self._base, like))[0])
        return self._plain[key]

    def _error(self, logits: torch.Tensor) -> float:
        """Return the relative error, of logits less their mean since a shift of all changes nothing."""
        difference = logits - self._logits
        difference = difference - difference.mean(-1, keepdim=True)
        centred = self._logits - self._logits.mean(-1, keepdim=True)
        lost, whole = (one.square().sum(-1).flatten() for one in (difference, centred))
        mixture = any(".experts." in name for name in self._base.weights)
        nearest = (lost / whole).argsort()[: round(len(lost) * (1 - LEAPS if mixture else 1))]
        return float((lost[nearest].sum() / whole[nearest].sum()).sqrt())

    def _kl(self, logits: torch.Tensor) -> float:
        base, ours = self._logits.log_softmax(-1), logits.log_softmax(-1)
        return float((base.exp() * (base - ours)).sum(-1).mean())

    def _run(
        self, stored: Stored, dtype: torch.dtype = torch.float32
    ) -> tuple[torch.Tensor, dict[str, set[str]]]:
        """Return the logits of weights, and what the model's loader did not understand by kind."""
        model, info = self._model_class.from_pretrained(
            None,
            config=deepcopy(self._config),
            state_dict=dict(stored.weights),
            dtype=dtype,
            attn_implementation="eager",
            output_loading_info=True,
        )
        with torch.inference_mode(), _rounded_inputs(model, stored):
            logits = model.eval()(input_ids=self._ids, use_cache=False).logits.float()
        return logits, {kind: set(map(str, names)) for kind, names in info.items()}


def _token_ids(base: Path) -> torch.Tensor:
    """Return (sequences, tokens) of a text that nobody calibrates on.

    Random tokens would be judged by what no calibration can know: experts that no text reaches.
    """
    text = _TEXT.read_text(encoding="utf-8")
    ids = Tokenizer.from_file(str(base / "tokenizer.json")).encode(text).ids
    step = len(ids) // _SEQUENCES
    return torch.tensor([ids[start : start + _TOKENS] for start in range(0, step * _SEQUENCES, step)])


@contextmanager
def _rounded_inputs(model: nn.Module, stored: Stored) -> Iterator[None]:
    """Round the inputs of the linear modules whose weights say so, as the engine does.

    A module is known by its weight, since a checkpoint's names need not be the modules'.
    """
    wanted = [stored.weights[name] for name, grid in stored.grids.items() if grid.inputs]
    handles = []
    for module in model.modules():
        if isinstance(module, nn.Linear) and any(_same(module.weight, other) for other in wanted):
            floats = any(grid.floats for grid in stored.grids.values())
            handles.append(module.register_forward_pre_hook(_round_floats if floats else _round_integers))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _round_integers(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    scale = args[0].abs().amax(-1, keepdim=True).clamp(min=1e-9) / 127
    return ((args[0] / scale).round() * scale, *args[1:])


def _round_floats(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    scale = args[0].abs().amax(-1, keepdim=True).clamp(min=1e-9) / torch.finfo(torch.float8_e4m3fn).max
    return ((args[0] / scale).to(torch.float8_e4m3fn).float() * scale, *args[1:])
