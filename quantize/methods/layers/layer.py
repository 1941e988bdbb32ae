"""Quantize one decoder layer while the calibration text passes through it once. Needs torch.

A layer's parts are reached in the order of the data flow, each time for all text at once. The moment a
part is reached its inputs are known, so it is quantized there and then, and goes on with its quantized
weights: every part sees the error of all those before it, in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from quantserve.quantize.methods.formats.packing import Quantized
from quantserve.quantize.methods.formats.recipe import UNQUANTIZED, Recipe
from quantserve.quantize.methods.layers.dataflow import Dataflow, Fold, divide_norm
from quantserve.quantize.methods.layers.rounding import GridOptions, round_to_nearest, round_with_feedback
from quantserve.quantize.methods.layers.scaling import STRENGTHS, InputStatistics, awq_scale, smooth_scale

_INT8_TOP = 127


@dataclass(frozen=True)
class MovedScale:
    """A scale that moved in one layer, by full module names: out of a producer, into its readers.

    scale: (input channels of a reader,). own: (output channels of the producer,). offset: a norm's, see
    `dataflow.Fold`; None for a linear producer.
    """

    producer: str
    readers: tuple[str, ...]
    scale: torch.Tensor
    own: torch.Tensor
    offset: float | None


@dataclass
class LayerWork:
    """One layer on its way; attach, run the layer, detach.

    stored: the checkpoint's name of each of the layer's tensors, by its name inside the layer. storage: the
    type that unquantized tensors will be stored in.
    """

    layer: nn.Module
    stored: Mapping[str, str]
    recipe: Recipe
    flow: Dataflow
    storage: torch.dtype
    quantized: dict[str, Quantized] = field(default_factory=dict)
    moved: list[MovedScale] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    _scales: dict[str, torch.Tensor | None] = field(default_factory=dict)
    _handles: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Find the parts, by their names inside the layer."""
        self._parts = {
            name: module
            for name, module in self.layer.named_modules()
            if isinstance(module, nn.Linear) and f"{name}.weight" in self.stored
        }

    def attach(self) -> None:
        """Quantize each part when the data reach it."""
        for name, module in self._parts.items():
            self._handles.append(module.register_forward_pre_hook(self._reached(name)))

    def detach(self) -> None:
        """Take the hooks away; parts that no text reached, such as idle experts, are rounded plainly."""
        for handle in self._handles:
            handle.remove()
        for name in self._parts:
            if name not in self._scales and self._width(name) != UNQUANTIZED:
                self.unseen.append(self._full(name))
                self._put(name, self._round([name], self._width(name), None)[name])

    def _full(self, name: str) -> str:
        return self.stored[f"{name}.weight"].removesuffix(".weight")

    def _width(self, name: str) -> int:
        return self.recipe.width(self._full(name))

    def _reached(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        group = tuple(one for one in self.flow.group_of(name) if one in self._parts)

        def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            x: torch.Tensor = args[0]
            if name not in self._scales:
                self._scales |= dict.fromkeys(group, self._treat(group, x))
            scale = self._scales[name]
            if scale is not None:
                x = x / scale
            if self.recipe.activations == 8 and self._width(name) != UNQUANTIZED:
                x = round_activations(x)
            return (x, *args[1:])

        return hook

    def _treat(self, group: tuple[str, ...], x: torch.Tensor) -> torch.Tensor | None:
        """Quantize a group's parts; return the scale its inputs are divided by."""
        if all(self._width(name) == UNQUANTIZED for name in group):
            return None
        inputs = InputStatistics.of(x)
        scale = self._scale(group, inputs, x)
        if scale is not None:
            inputs = inputs.divided(scale)
            for name in group:
                self._parts[name].weight.data.mul_(scale)
        for bits in sorted({self._width(name) for name in group} - {UNQUANTIZED}):
            names = [name for name in group if self._width(name) == bits]
            for name, quantized in self._round(names, bits, inputs).items():
                self._put(name, quantized)
        return scale

    def _round(self, names: list[str], bits: int, inputs: InputStatistics | None) -> dict[str, Quantized]:
        """Round parts that read one input, together."""
        whole = torch.cat([self._parts[name].weight.data for name in names])
        found = quantize_weights(whole, bits, self.recipe, inputs)
        rows = [self._parts[name].weight.shape[0] for name in names]
        pieces = [torch.split(one, rows) for one in (found.codes, found.scales, found.zeros)]
        split = zip(names, *pieces, strict=True)
        return {name: Quantized(codes, scales, zeros, bits) for name, codes, scales, zeros in split}

    def _put(self, name: str, quantized: Quantized) -> None:
        self.quantized[self._full(name)] = quantized
        self._parts[name].weight.data = quantized.dequantize()

    def _scale(self, group: tuple[str, ...], inputs: InputStatistics, x: torch.Tensor) -> torch.Tensor | None:
        """Find the group's scale and move it out of its producer; return it, or None where there is none."""
        fold = self.flow.fold_into(group)
        if fold is None or self.recipe.scaling == "none" or f"{fold.producer}.weight" not in self.stored:
            return None
        names = [name for name in group if self._width(name) != UNQUANTIZED]
        weights = torch.cat([self._parts[name].weight.data for name in names])
        size, grid = grid_of(max(self._width(name) for name in names), self.recipe, search=False)

        def rounded(w: torch.Tensor) -> torch.Tensor:
            return round_to_nearest(w, size, grid).dequantize()

        def shared(scale: torch.Tensor) -> torch.Tensor:
            own = self._own(fold, scale)
            return own if fold.channels is None else own[fold.channels]

        if self.recipe.scaling == "awq":
            scale = awq_scale(weights, inputs, rounded, shared)
        else:
            scale = smooth_scale(
                weights,
                inputs,
                x,
                STRENGTHS if self.recipe.smoothing is None else (self.recipe.smoothing,),
                parts=[self._parts[name].out_features for name in names],
                rounded=rounded,
                inputs_rounded=round_activations,
                shared=shared,
            )
        return None if scale is None else self._move(fold, scale)

    def _own(self, fold: Fold, scale: torch.Tensor) -> torch.Tensor:
        """Return what a producer takes of a scale: one value for all channels it is read by.

        What stays in 16 bits takes powers of two, which change no mantissa.
        """
        own = scale
        if fold.channels is not None:
            size = int(fold.channels.max()) + 1
            if fold.producer in self._parts:
                size = self._parts[fold.producer].out_features
            sums = torch.zeros(size, device=scale.device).index_add_(0, fold.channels, scale.log())
            counts = torch.zeros(size, device=scale.device).index_add_(
                0, fold.channels, torch.ones_like(scale)
            )
            own = (sums / counts.clamp(min=1)).exp()
        if fold.offset is None and self._full(fold.producer) not in self.quantized:
            own = own.log2().round().exp2()
        return own

    def _move(self, fold: Fold, scale: torch.Tensor) -> torch.Tensor:
        """Divide the producer's output; return the scale (input,) that its readers' weights take."""
        own = self._own(fold, scale)
        if fold.offset is None:
            self._divide_rows(fold.producer, own)
        else:
            own = divide_norm(self.layer.get_submodule(fold.producer), own, fold.offset, self.storage)
        taken = own if fold.channels is None else own[fold.channels]
        readers = tuple(self._full(name) for name in fold.readers)
        self.moved.append(MovedScale(self._full(fold.producer), readers, taken, own, fold.offset))
        return taken

    def _divide_rows(self, name: str, own: torch.Tensor) -> None:
        """Divide a linear part's outputs by a value each."""
        part = self._parts[name]
        if part.bias is not None:
            part.bias.data.div_(own)
        before = self.quantized.get(self._full(name))
        if before is None:
            part.weight.data.div_(own[:, None])
        else:
            stored = grid_of(before.bits, self.recipe, search=False)[1].scale_dtype
            scales = (before.scales / own[:, None]).to(stored).float()
            self._put(name, Quantized(before.codes, scales, before.zeros, before.bits))


def grid_of(bits: int, recipe: Recipe, *, search: bool) -> tuple[int, GridOptions]:
    """Return the group size and grid of parts of a width; 8 bits beside others are INT8 by row."""
    by_row = bits == 8 and (recipe.bits != 8 or recipe.activations == 8)
    return (
        -1 if by_row else recipe.group_size,
        GridOptions(
            bits=bits,
            symmetric=by_row or recipe.symmetric,
            search=search and recipe.exponent > 0,
            exponent=recipe.exponent or 2.0,
            signed_scales=recipe.signed_scales and not by_row,
            scale_dtype=torch.float32 if by_row else torch.bfloat16 if recipe.wide else torch.float16,
        ),
    )


def quantize_weights(
    weights: torch.Tensor, bits: int, recipe: Recipe, inputs: InputStatistics | None
) -> Quantized:
    """Quantize weights (output, input) by a recipe; without inputs, to the nearest."""
    size, grid = grid_of(bits, recipe, search=True)
    if inputs is None:
        return round_to_nearest(weights, size, grid)
    if not recipe.feedback:
        return round_to_nearest(weights, size, grid, inputs.hessian.diagonal())
    return round_with_feedback(
        weights,
        inputs.hessian,
        size,
        grid,
        damping=recipe.damping,
        important_first=recipe.important_first,
    )


def round_activations(x: torch.Tensor) -> torch.Tensor:
    """Round inputs to 8 bits by token, as the engine does."""
    scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-9) / _INT8_TOP
    return (x / scale).round_().mul_(scale)
