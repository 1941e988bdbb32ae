"""Quantize one decoder layer while the calibration text passes through it once. Needs torch.

A layer's parts are reached in the order of the data flow, each time for all text at once. The moment a
part is reached its inputs are known, so it is quantized there and then, and goes on with its quantized
weights: every part sees the error of all those before it, in one pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from quantize.methods.grid import GridOptions
from quantize.methods.keep import fused_names
from quantize.methods.moments import Inputs
from quantize.methods.recipe import KEPT, Recipe
from quantize.methods.rounding import Quantized, round_to_nearest, round_with_feedback
from quantize.methods.scaling import awq_scale, smooth_scale

_INT8_TOP = 127


def linear_parts(layer: nn.Module, prefix: str) -> dict[str, nn.Linear]:
    """Return a layer's linear parts by full module name."""
    return {
        f"{prefix}.{name}": module for name, module in layer.named_modules() if isinstance(module, nn.Linear)
    }


@dataclass
class LayerWork:
    """One layer on its way; attach, run the layer, detach."""

    layer: nn.Module
    prefix: str
    recipe: Recipe
    quantized: dict[str, Quantized] = field(default_factory=dict)
    _scales: dict[str, torch.Tensor | None] = field(default_factory=dict)
    # The tensors themselves, since a freed one's id may be another's.
    _norms: list[tuple[torch.Tensor, nn.Module]] = field(default_factory=list)
    _handles: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Find the parts."""
        self.parts = linear_parts(self.layer, self.prefix)

    def attach(self) -> None:
        """Quantize each part when the data reach it."""
        for name, module in self.parts.items():
            self._handles.append(module.register_forward_pre_hook(self._reached(name)))
        for name, module in self.layer.named_modules():
            if name.endswith("norm") and isinstance(getattr(module, "weight", None), nn.Parameter):
                self._handles.append(module.register_forward_hook(self._normed))

    def detach(self) -> None:
        """Take the hooks away.

        Raises:
            ValueError: a part was never reached, as with experts that no text was routed to.
        """
        for handle in self._handles:
            handle.remove()
        self._norms.clear()
        missed = [name for name in self.parts if fused_names(name)[0] not in self._scales]
        if missed:
            raise ValueError(f"{missed[0]} was not reached by the calibration text")

    def _normed(self, module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            self._norms.append((output, module))

    def _reached(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        group = [part for part in fused_names(name) if part in self.parts]

        def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            x: torch.Tensor = args[0]
            if group[0] not in self._scales:
                self._scales[group[0]] = self._treat(group, x)
            scale = self._scales[group[0]]
            if scale is not None:
                x = x / scale
            if self.recipe.activations == 8 and self.recipe.width(name) != KEPT:
                x = round_activations(x)
            return (x, *args[1:])

        return hook

    def _treat(self, group: list[str], x: torch.Tensor) -> torch.Tensor | None:
        """Quantize a group's parts; return the scale its inputs are divided by."""
        if all(self.recipe.width(name) == KEPT for name in group):
            return None
        inputs = Inputs.of(x)
        scale = self._scale(group, inputs, x)
        if scale is not None:
            inputs = inputs.divided(scale)
            for name in group:
                self.parts[name].weight.data.mul_(scale)
        for bits in sorted({self.recipe.width(name) for name in group} - {KEPT}):
            names = [name for name in group if self.recipe.width(name) == bits]
            whole = torch.cat([self.parts[name].weight.data for name in names])
            found = quantize_weights(whole, bits, self.recipe, inputs)
            start = 0
            for name in names:
                end = start + self.parts[name].weight.shape[0]
                self._put(
                    name,
                    Quantized(found.codes[start:end], found.scales[start:end], found.zeros[start:end], bits),
                )
                start = end
        return scale

    def _put(self, name: str, quantized: Quantized) -> None:
        self.quantized[name] = quantized
        self.parts[name].weight.data = quantized.dequantize()

    def _scale(self, group: list[str], inputs: Inputs, source: torch.Tensor) -> torch.Tensor | None:
        if self.recipe.scaling == "none":
            return None
        divide = self._producer(group, source)
        if divide is None:
            return None
        weights = torch.cat([self.parts[name].weight.data for name in group])
        if self.recipe.scaling == "smooth":
            scale: torch.Tensor | None = smooth_scale(weights, inputs, self.recipe.smoothing)
        else:
            bits = max(self.recipe.width(name) for name in group if self.recipe.width(name) != KEPT)
            size, grid = grid_of(bits, self.recipe, search=False)
            scale = awq_scale(weights, inputs, lambda w: round_to_nearest(w, size, grid).dequantize())
        return divide(scale) if scale is not None else None

    def _producer(
        self, group: list[str], source: torch.Tensor
    ) -> Callable[[torch.Tensor], torch.Tensor | None] | None:
        """Return what divides the producer of a group's input by a scale and says the scale it took."""
        norm = next((module for output, module in self._norms if output is source), None)
        if norm is not None:
            return lambda scale: _divide_norm(norm, scale)
        stem, _, last = group[0].rpartition(".")
        before = {"down_proj": "up_proj", "o_proj": "v_proj"}.get(last)
        if before is None or f"{stem}.{before}" not in self.parts:
            return None
        producer = f"{stem}.{before}"
        heads = self.parts[group[0]].in_features // self.parts[producer].out_features
        if heads * self.parts[producer].out_features != self.parts[group[0]].in_features:
            return None
        size = int(getattr(getattr(self.layer, "self_attn", None), "head_dim", 0))
        if heads > 1 and not size:
            return None
        return lambda scale: self._divide_rows(producer, scale, heads, size)

    def _divide_rows(self, name: str, scale: torch.Tensor, repeated: int, head_size: int) -> torch.Tensor:
        """Divide a linear part's outputs; with shared value heads one scale serves all heads that share."""
        if repeated > 1:
            rows = self.parts[name].out_features
            shared = scale.view(rows // head_size, repeated, head_size).log().mean(1).exp()
            scale = shared[:, None, :].expand(-1, repeated, -1).flatten()
            own = shared.flatten()
        else:
            own = scale
        part = self.parts[name]
        if part.bias is not None:
            part.bias.data.div_(own)
        before = self.quantized.get(name)
        if before is None:
            part.weight.data.div_(own[:, None])
        else:
            stored = grid_of(before.bits, self.recipe, search=False)[1].scale_dtype
            scales = (before.scales / own[:, None]).to(stored).float()
            self._put(name, Quantized(before.codes, scales, before.zeros, before.bits))
        return scale


def _divide_norm(norm: nn.Module, scale: torch.Tensor) -> torch.Tensor | None:
    """Divide a norm's outputs by dividing its weight; None (and nothing done) where that is not the same.

    Some norms multiply by one plus their weight, so a probe decides.
    """
    weight = norm.weight
    if not isinstance(weight, nn.Parameter):
        return None
    before = weight.data.clone()
    probe = torch.linspace(-1, 1, before.numel(), dtype=before.dtype, device=before.device)[None]
    forward = type(norm).forward
    expected = forward(norm, probe) / scale
    weight.data.div_(scale)
    bias = getattr(norm, "bias", None)
    if isinstance(bias, nn.Parameter):
        bias.data.div_(scale)
    if torch.allclose(forward(norm, probe), expected, rtol=1e-3, atol=1e-5):
        return scale
    weight.data.copy_(before)
    return None


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


def quantize_weights(weights: torch.Tensor, bits: int, recipe: Recipe, inputs: Inputs | None) -> Quantized:
    """Quantize weights (output, input) by a recipe; without inputs, to the nearest."""
    size, grid = grid_of(bits, recipe, search=True)
    if inputs is None:
        return round_to_nearest(weights, size, grid)
    if not recipe.feedback:
        return round_to_nearest(weights, size, grid, inputs.moments.diagonal())
    return round_with_feedback(
        weights,
        inputs.moments,
        size,
        grid,
        damping=recipe.damping,
        important_first=recipe.important_first,
    )


def round_activations(x: torch.Tensor) -> torch.Tensor:
    """Round inputs to 8 bits by token, as the engine does."""
    scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-9) / _INT8_TOP
    return (x / scale).round_().mul_(scale)
