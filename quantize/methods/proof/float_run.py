"""One run of a model in float32 with weights of one's choice, layer by layer. Needs torch.

Only the layer at work is in float32, so that a model larger than half the memory can be run. The model's own
forward drives the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from quantserve.quantize.methods.layers.layer import round_activations
from quantserve.quantize.methods.layers.layer_pass import in_float32, names_in_layer
from quantserve.quantize.models.inspection import decoder_layers

Weights = Callable[[str], torch.Tensor]
"""Returns a tensor by its name in the checkpoint, in float32."""


@dataclass(frozen=True)
class FloatResult:
    """What a run gave: each layer's output (tokens, hidden), and the logits (tokens, vocabulary)."""

    layers: list[torch.Tensor]
    logits: torch.Tensor


@dataclass(frozen=True)
class _Slice:
    """Where an expert's matrix lies in a merged parameter: (expert, rows), transposed or not."""

    parameter: str
    expert: int
    start: int
    transposed: bool


class FloatRunner:
    """A loaded base model that runs a few tokens with any weights in its base's names."""

    def __init__(
        self, model: PreTrainedModel, stored: Mapping[str, str], merged: Mapping[str, str], read: Weights
    ) -> None:
        """See `quantize.models.structure.Structure` for `stored` and `merged`; `read` gives the latter."""
        self._model = model
        self._prefix, self._layers = decoder_layers(model)
        self._stored = stored
        self._merged = merged
        self._read = read
        self._loaded = {stored[name]: value.data for name, value in _floats(model) if name in stored}
        self._experts: dict[int, dict[str, _Slice]] = {}

    def base(self, name: str) -> torch.Tensor:
        """Return one of the base's own tensors in float32, by its name in the checkpoint."""
        return self._loaded[name].float() if name in self._loaded else self._read(name)

    def run(self, token_ids: torch.Tensor, weights: Weights, rounded_inputs: frozenset[str]) -> FloatResult:
        """Run token_ids (1, tokens); parts named in `rounded_inputs` see their inputs rounded to 8 bits."""
        outputs: list[torch.Tensor] = []
        handles: list[Any] = []
        originals = {name: value.data for name, value in _floats(self._model)}
        try:
            self._fill_outside(weights)
            for index, layer in enumerate(self._layers):
                handles.append(
                    layer.register_forward_pre_hook(
                        self._enter(index, weights, rounded_inputs, handles), with_kwargs=True
                    )
                )
                handles.append(layer.register_forward_hook(self._leave(index, outputs, originals)))
            with torch.inference_mode():
                logits = self._model(input_ids=token_ids, use_cache=False).logits
        finally:
            for handle in handles:
                handle.remove()
            for name, value in _floats(self._model):
                value.data = originals[name]
        return FloatResult(outputs, logits[0].float())

    def _fill_outside(self, weights: Weights) -> None:
        for name, value in _floats(self._model):
            if not name.startswith(f"{self._prefix}."):
                value.data = weights(self._stored[name]) if name in self._stored else value.data.float()

    def _enter(
        self, index: int, weights: Weights, rounded_inputs: frozenset[str], handles: list[Any]
    ) -> Callable[..., Any]:
        def hook(layer: nn.Module, args: Any, kwargs: Any) -> Any:
            stored = names_in_layer(self._stored, f"{self._prefix}.{index}")
            if index not in self._experts:
                self._experts[index] = self._find_experts(layer, f"{self._prefix}.{index}")
            for name, value in _floats(layer):
                # A copy of merged ones: their parts are written into them.
                value.data = (
                    weights(stored[name]) if name in stored else value.data.to(torch.float32, copy=True)
                )
            parameters = dict(layer.named_parameters())
            for full, place in self._experts[index].items():
                matrix = weights(full).T if place.transposed else weights(full)
                rows = slice(place.start, place.start + matrix.shape[0])
                whole = parameters[place.parameter].data
                (whole if whole.dim() == 3 else whole[None])[place.expert, rows] = matrix
            for name, module in layer.named_modules():
                full = stored.get(f"{name}.weight", "").removesuffix(".weight")
                if isinstance(module, nn.Linear) and full in rounded_inputs:
                    handles.append(module.register_forward_pre_hook(_round_input))
            return in_float32(args, "cpu"), in_float32(kwargs, "cpu")

        return hook

    def _leave(
        self, index: int, outputs: list[torch.Tensor], originals: dict[str, torch.Tensor]
    ) -> Callable[..., None]:
        def hook(layer: nn.Module, args: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            outputs.append(hidden.reshape(-1, hidden.shape[-1]).float())
            for name, value in _floats(layer):
                value.data = originals[f"{self._prefix}.{index}.{name}"]

        return hook

    def _find_experts(self, layer: nn.Module, prefix: str) -> dict[str, _Slice]:
        """Find by their values where a checkpoint's matrices went when they were merged."""
        parameters = dict(layer.named_parameters())
        places = {
            name: _place(self.base(name), target[len(prefix) + 1 :], parameters)
            for name, target in self._merged.items()
            if target.startswith(f"{prefix}.")
        }
        return {name: place for name, place in places.items() if place is not None}


def _place(matrix: torch.Tensor, target: str, parameters: Mapping[str, nn.Parameter]) -> _Slice | None:
    """Return where a matrix (output, input) lies in a merged parameter ([experts,] rows, columns)."""
    parameter = parameters.get(target)
    if parameter is None or matrix.dim() != 2 or parameter.dim() not in (2, 3):
        return None
    whole = parameter.data if parameter.dim() == 3 else parameter.data[None]
    for transposed in (False, True):
        wanted = (matrix.T if transposed else matrix).to(whole.dtype)
        if whole.shape[2] != wanted.shape[1] or whole.shape[1] % wanted.shape[0]:
            continue
        for start in range(0, whole.shape[1], wanted.shape[0]):
            same = (whole[:, start : start + wanted.shape[0]] == wanted).all(2).all(1).nonzero()
            if len(same):
                return _Slice(target, int(same[0]), start, transposed)
    return None


def _floats(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Return parameters and stored buffers by name; rotary tables and such are float32 as they are."""
    stored = set(module.state_dict())
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return [(name, value) for name, value in named if name in stored and value.is_floating_point()]


def _round_input(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (round_activations(args[0]), *args[1:])
