"""What reads what inside one decoder layer, found by running it. Needs torch.

A scale may move from a module's output into the weights of the linear parts that read it only where nothing
else reads that output and all that lies between is linear in it, channel by channel. Names do not tell:
Cohere's attention and MLP read one norm, DeepSeek's latents have norms of their own, an ungated MLP squares
what its first part gives. So the layer itself is asked, on a few tokens in float32: a module's output is
multiplied by a random scale, the parts whose inputs follow it channel by channel are its readers, and the
scale may move where dividing their inputs by it gives the layer's outputs back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

# Relative errors of float32 runs that are the same but for the order of products; a scale that went astray
# changes its path by tens of percent.
_SAME_INPUT = 1e-4
_SAME_OUTPUT = 1e-3
_SEED = 20


@dataclass(frozen=True)
class Fold:
    """A scale that may move from a producer's output into all parts that read it.

    producer, readers: module names inside the layer. channels: for each input channel of a reader, the
    producer's output channel it comes from; None where they are the same. offset: what a norm adds to its
    weight before it multiplies; None for a linear producer.
    """

    producer: str
    readers: tuple[str, ...]
    channels: torch.Tensor | None = None
    offset: float | None = None


@dataclass(frozen=True)
class Dataflow:
    """A layer's linear parts as its own run shows them.

    groups: parts that read the very same input, in the order they are reached. folds: scales that may move.
    elsewhere: parts that are never called though the layer's output depends on their weights.
    """

    groups: tuple[tuple[str, ...], ...] = ()
    folds: tuple[Fold, ...] = ()
    elsewhere: tuple[str, ...] = ()

    def group_of(self, name: str) -> tuple[str, ...]:
        """Return the parts that read the same input as this one, itself among them."""
        return next((group for group in self.groups if name in group), (name,))

    def fold_into(self, group: tuple[str, ...]) -> Fold | None:
        """Return the fold whose readers are this group."""
        return next((fold for fold in self.folds if set(fold.readers) == set(group)), None)


@dataclass
class _Run:
    """One run of the layer.

    inputs, sources: of each part, and where they lie in memory. calls, widths: of each module, and the
    channels of what it gives. arguments: of each norm. outputs: the layer's.
    """

    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    sources: dict[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    arguments: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    outputs: list[torch.Tensor] = field(default_factory=list)
    alive: list[torch.Tensor] = field(default_factory=list)


class _Layer:
    """A layer with the arguments of one call, to be run again with outputs scaled and inputs divided."""

    def __init__(self, layer: nn.Module, args: Any, kwargs: Any) -> None:
        self.module = layer
        self._args, self._kwargs = args, kwargs
        self.linears = {n: m for n, m in layer.named_modules() if isinstance(m, nn.Linear)}
        self.norms = {n: m for n, m in layer.named_modules() if n and _channels_of_norm(m)}

    def run(
        self,
        scales: Mapping[str, torch.Tensor] | None = None,
        divisors: Mapping[str, torch.Tensor] | None = None,
    ) -> _Run:
        """Run it; `scales` multiply modules' outputs, `divisors` divide parts' inputs."""
        run = _Run()
        handles = []
        for name, linear in self.linears.items():
            handles.append(linear.register_forward_pre_hook(_read(run, name, (divisors or {}).get(name))))
        for name, module in {**self.norms, **self.linears}.items():
            handles.append(
                module.register_forward_hook(_written(run, name, (scales or {}).get(name)), with_kwargs=True)
            )
        try:
            result = self.module.forward(*_copied(self._args), **_copied(self._kwargs))
        finally:
            for handle in handles:
                handle.remove()
        run.outputs = _tensors(result)
        return run

    def channels(self, name: str) -> int:
        """Return how many channels a norm or a linear part gives."""
        linear = self.linears.get(name)
        return linear.out_features if linear is not None else _channels_of_norm(self.norms[name])

    def changed(self, before: _Run, after: _Run, but: tuple[str, ...] = ()) -> bool:
        """Whether the layer's outputs, or any part's input but those named, differ between two runs."""
        came_in = _tensors(self._args) + _tensors(self._kwargs.get("hidden_states"))
        for first, second in zip(before.outputs, after.outputs, strict=True):
            same_shape = [value for value in came_in if value.shape == first.shape]
            # What a layer adds to the residual stream may be small beside it.
            size = min([float(first.norm()), *(float((first - value).norm()) for value in same_shape)])
            if not float((second - first).norm()) <= _SAME_OUTPUT * size:
                return True
        return any(
            name not in after.inputs or not _close(after.inputs[name], value, _SAME_INPUT)
            for name, value in before.inputs.items()
            if name not in but
        )


def dataflow_of(layer: nn.Module, args: Any, kwargs: Any, known: Dataflow | None = None) -> Dataflow:
    """Return what reads what in a layer in float32, from the arguments of one call of a few tokens.

    known: what another layer of the same make showed; it is taken where this layer bears it out.
    """
    probed = _Layer(layer, args, kwargs)
    with torch.inference_mode():
        plain = probed.run()
        if known is not None and _bears_out(probed, plain, known):
            return known
        folds = [fold for name in _producers(probed, plain) if (fold := _fold(probed, plain, name))]
        folds = [fold for at, fold in enumerate(folds) if not _overlaps(fold, folds[:at])]
        found = Dataflow(_groups(plain), tuple(folds), _elsewhere(probed, plain))
        return found if _bears_out(probed, plain, found) else Dataflow(found.groups, (), found.elsewhere)


def signature(layer: nn.Module) -> str:
    """Return what makes two layers the same make: their modules' names, kinds and sizes."""
    return "\n".join(
        f"{name} {type(module).__name__} {[tuple(p.shape) for p in module.parameters(recurse=False)]}"
        for name, module in layer.named_modules()
    )


def divide_norm(norm: nn.Module, scale: torch.Tensor, offset: float, storage: torch.dtype) -> torch.Tensor:
    """Divide a norm's output by dividing its weight; return the scale it could take exactly.

    The weight is rounded to the type it will be stored in and the scale (channels,) follows it, so that what
    is stored and what the readers' weights are multiplied by are each other's inverse.
    """
    weight: torch.Tensor = norm.weight.data  # type: ignore[assignment]
    whole = weight + offset
    stored = (whole / scale - offset).to(storage).to(weight.dtype)
    taken = whole / (stored + offset)
    usable = torch.isfinite(taken) & (taken > 0)
    taken = torch.where(usable, taken, torch.ones_like(taken))
    weight.copy_(torch.where(usable, stored, weight))
    bias = getattr(norm, "bias", None)
    if isinstance(bias, nn.Parameter):
        bias.data.div_(taken)
    return taken


def _channels_of_norm(module: nn.Module) -> int:
    """Return how many channels a module scales by a weight of its own, or 0 if it is no such module."""
    if isinstance(module, nn.Linear) or any(True for _ in module.children()):
        return 0
    own = dict(module.named_parameters(recurse=False))
    if "weight" not in own or set(own) - {"weight", "bias"} or any(p.dim() != 1 for p in own.values()):
        return 0
    return own["weight"].numel()


def _read(run: _Run, name: str, divisor: torch.Tensor | None) -> Callable[..., Any]:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        x: torch.Tensor = args[0]
        run.alive.append(x)
        run.inputs[name] = x.clone()
        run.sources[name] = (x.data_ptr(), tuple(x.shape))
        return None if divisor is None else (x / divisor, *args[1:])

    return hook


def _written(run: _Run, name: str, scale: torch.Tensor | None) -> Callable[..., Any]:
    def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        run.calls[name] = run.calls.get(name, 0) + 1
        run.widths[name] = output.shape[-1] if isinstance(output, torch.Tensor) else 0
        if not isinstance(module, nn.Linear):
            run.arguments[name] = _copied(args), _copied(kwargs)
        return None if scale is None else output * scale

    return hook


def _producers(probed: _Layer, plain: _Run) -> list[str]:
    """Return the modules that are called once and give one value for each channel of their weight."""
    return [
        name
        for name in (*probed.norms, *probed.linears)
        if plain.calls.get(name) == 1 and plain.widths[name] == probed.channels(name)
    ]


def _fold(probed: _Layer, plain: _Run, name: str) -> Fold | None:
    """Return the fold of a producer, if its output has readers and they are all that read it."""
    scale = _random_scale(probed.channels(name), next(probed.module.parameters()).device)
    scaled = probed.run(scales={name: scale})
    readers: dict[str, torch.Tensor | None] = {}
    for reader, before in plain.inputs.items():
        after = scaled.inputs.get(reader)
        if reader == name or after is None or plain.calls.get(reader) != 1:
            continue
        follows, channels = _follows(before, after, scale)
        if follows:
            readers[reader] = channels
    if not readers:
        return None
    names = tuple(readers)
    channels = readers[names[0]]
    if len(names) > 1 and any(plain.sources[one] != plain.sources[names[0]] for one in names):
        return None
    moved = scale if channels is None else scale[channels]
    if probed.changed(plain, probed.run({name: scale}, dict.fromkeys(names, moved)), but=names):
        return None
    if name in probed.linears:
        return Fold(name, names, channels)
    offset = _offset(probed.norms[name], plain.arguments[name], scale)
    return None if offset is None else Fold(name, names, channels, offset)


def _follows(
    before: torch.Tensor, after: torch.Tensor, scale: torch.Tensor
) -> tuple[bool, torch.Tensor | None]:
    """Whether an input follows a scale channel by channel, and which channel of the scale each follows."""
    if before.shape != after.shape or _close(after, before, _SAME_INPUT):
        return False, None
    width = before.shape[-1]
    if width == scale.numel() and _close(after, before * scale, _SAME_INPUT):
        return True, None
    if width % scale.numel():
        return False, None
    rows, scaled = before.reshape(-1, width).double(), after.reshape(-1, width).double()
    ratio = (rows * scaled).sum(0) / rows.square().sum(0)
    if not bool(torch.isfinite(ratio).all()):
        return False, None
    order = torch.argsort(scale)
    above = torch.searchsorted(scale[order].double().contiguous(), ratio.contiguous())
    near = torch.stack([(above - 1).clamp(min=0), above.clamp(max=scale.numel() - 1)])
    distance = (scale[order].double()[near] - ratio).abs()
    channels = order[near.gather(0, distance.argmin(0, keepdim=True))[0]]
    return _close(after, before * scale[channels], _SAME_INPUT), channels


def _offset(norm: nn.Module, arguments: tuple[Any, Any], scale: torch.Tensor) -> float | None:
    """Return what a norm adds to its weight, or None where dividing its weight does not divide its output."""
    weight: torch.Tensor = norm.weight.data  # type: ignore[assignment]
    bias = getattr(norm, "bias", None)
    original = weight.clone(), bias.data.clone() if isinstance(bias, nn.Parameter) else None
    args, kwargs = arguments
    expected = norm.forward(*args, **kwargs) / scale
    for offset in (0.0, 1.0):
        weight.copy_((original[0] + offset) / scale - offset)
        if isinstance(bias, nn.Parameter) and original[1] is not None:
            bias.data.copy_(original[1] / scale)
        found = norm.forward(*args, **kwargs)
        weight.copy_(original[0])
        if isinstance(bias, nn.Parameter) and original[1] is not None:
            bias.data.copy_(original[1])
        if _close(found, expected, _SAME_INPUT):
            return offset
    return None


def _groups(plain: _Run) -> tuple[tuple[str, ...], ...]:
    groups: dict[Any, list[str]] = {}
    for name, source in plain.sources.items():
        groups.setdefault(source if plain.calls.get(name) == 1 else name, []).append(name)
    return tuple(tuple(group) for group in groups.values())


def _elsewhere(probed: _Layer, plain: _Run) -> tuple[str, ...]:
    """Return parts that are not called, but without whose weight the layer gives something else."""
    found = []
    for name, linear in probed.linears.items():
        if name in plain.inputs:
            continue
        original = linear.weight.data.clone()
        linear.weight.data.mul_(1.5)
        if probed.changed(plain, probed.run()):
            found.append(name)
        linear.weight.data.copy_(original)
    return tuple(found)


def _bears_out(probed: _Layer, plain: _Run, flow: Dataflow) -> bool:
    """Whether all folds at once, each with a scale of its own, give the layer's outputs back."""
    if set(flow.groups) != set(_groups(plain)):
        return False
    scales: dict[str, torch.Tensor] = {}
    divisors: dict[str, torch.Tensor] = {}
    device = next(probed.module.parameters()).device
    for at, fold in enumerate(flow.folds):
        scale = _random_scale(probed.channels(fold.producer), device, at + 1)
        scales[fold.producer] = scale
        divisors |= dict.fromkeys(fold.readers, scale if fold.channels is None else scale[fold.channels])
    return not probed.changed(plain, probed.run(scales, divisors), but=tuple(divisors))


def _overlaps(fold: Fold, others: list[Fold]) -> bool:
    """Whether a reader takes a scale from another producer already, such as a norm right before a norm."""
    return any(set(fold.readers) & set(other.readers) for other in others)


def _random_scale(size: int, device: torch.device, turn: int = 0) -> torch.Tensor:
    """Return distinct factors (size,) between a half and two, spread evenly and in random order."""
    generator = torch.Generator().manual_seed(_SEED + turn)
    return torch.linspace(-0.7, 0.7, size).exp()[torch.randperm(size, generator=generator)].to(device)


def _close(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    return found.shape == expected.shape and bool(
        (found - expected).norm() <= tolerance * expected.norm().clamp(min=1e-30)
    )


def _tensors(value: Any) -> list[torch.Tensor]:
    """Return all float tensors inside a value."""
    if isinstance(value, torch.Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, Mapping):
        return [tensor for item in value.values() for tensor in _tensors(item)]
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in _tensors(item)]
    return []


def _copied(value: Any) -> Any:
    """Return arguments with tensors of their own, since a layer may work in place."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, tuple):
        return tuple(_copied(item) for item in value)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value
