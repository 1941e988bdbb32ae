"""The calibration text passes through the model once, and each layer is quantized as it passes. Needs torch.

The model's own forward drives the pass, so what an architecture hands from layer to layer needs no
knowledge here. A finished layer and its output are written to the work folder at once: a run that was
killed goes on after it, to the same result.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from quantserve.quantize.methods.formats.recipe import Recipe
from quantserve.quantize.methods.layers.dataflow import Dataflow, dataflow_of, signature
from quantserve.quantize.methods.layers.layer import LayerWork
from quantserve.quantize.methods.layers.layer_files import LayerFiles
from quantserve.quantize.models.inspection import decoder_layers

# Called with (finished layers, all layers).
OnLayer = Callable[[int, int], None]
_PROBE_TOKENS = 48


class _LastLayerDone(Exception):
    """Ends the forward pass: nothing after the layers matters."""


def dataflows(model: PreTrainedModel, token_ids: torch.Tensor, device: str) -> list[Dataflow]:
    """Return what reads what in every layer, from a few tokens of token_ids (sequences, tokens)."""
    _, layers = decoder_layers(model)
    shared = _shared_modules(layers)
    known: dict[str, Dataflow] = {}
    found: list[Dataflow] = []

    stored: dict[str, torch.Tensor] = {}

    def enter(layer: nn.Module, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        stored.update({name: value.data for name, value in _own(layer)})
        layer.to(device, torch.float32)
        args, kwargs = in_float32(args, device), in_float32(kwargs, device)
        make = signature(layer)
        flow = dataflow_of(layer, args, kwargs, known.get(make))
        known.setdefault(make, flow)
        # What two layers have in common cannot take one layer's scale.
        alone = tuple(f for f in flow.folds if id(layer.get_submodule(f.producer)) not in shared)
        found.append(replace(flow, folds=alone))
        return args, kwargs

    def leave(layer: nn.Module, args: Any, output: Any) -> None:
        for name, value in _own(layer):
            value.data = stored[name]
        if len(found) == len(layers):
            raise _LastLayerDone

    handles = [layer.register_forward_pre_hook(enter, with_kwargs=True) for layer in layers]
    handles += [layer.register_forward_hook(leave) for layer in layers]
    try:
        with contextlib.suppress(_LastLayerDone), torch.inference_mode():
            model.base_model(input_ids=token_ids[:1, :_PROBE_TOKENS], use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _own(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _shared_modules(layers: nn.ModuleList) -> set[int]:
    """Return the modules that more than one layer holds, or whose weights another module holds too."""
    modules = Counter(id(module) for layer in layers for module in layer.modules())
    weights = Counter(
        id(parameter)
        for layer in layers
        for module in layer.modules()
        for parameter in module.parameters(recurse=False)
    )
    return {
        id(module)
        for layer in layers
        for module in layer.modules()
        if modules[id(module)] > 1 or any(weights[id(p)] > 1 for p in module.parameters(recurse=False))
    }


class LayerPass:
    """Sends token ids through a model in 16 bits, quantizing layer after layer in float32."""

    def __init__(
        self,
        model: PreTrainedModel,
        recipe: Recipe,
        flows: list[Dataflow],
        files: LayerFiles,
        device: str,
        on_layer: OnLayer,
        *,
        stored: Mapping[str, str],
        storage: torch.dtype,
    ) -> None:
        """`files` holds the layers finished before and takes those that finish now.

        The model stays where it is; only the layer at work is on `device`. stored: the checkpoint's name of
        each of the model's tensors. storage: the type of what is not quantized.
        """
        self._model = model
        self._device = device
        self._recipe = recipe
        self._flows = flows
        self._files = files
        self._on_layer = on_layer
        self._stored = stored
        self._storage = storage
        self._prefix, self._layers = decoder_layers(model)
        self._work: LayerWork | None = None

    def run(self, token_ids: torch.Tensor) -> None:
        """Quantize every layer; token_ids is (sequences, tokens)."""
        done = self._files.count()
        if done == len(self._layers):
            return
        handles = []
        for index, layer in enumerate(self._layers):
            if index < done:
                _pass_over(layer, self._files.read_output(done - 1))
            else:
                handles.append(layer.register_forward_pre_hook(self._enter(index), with_kwargs=True))
                handles.append(layer.register_forward_hook(self._leave(index)))
        try:
            with contextlib.suppress(_LastLayerDone), torch.inference_mode():
                self._model.base_model(input_ids=token_ids, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, index: int) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
        def hook(layer: nn.Module, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
            layer.to(self._device, torch.float32)
            stored = names_in_layer(self._stored, f"{self._prefix}.{index}")
            self._work = LayerWork(layer, stored, self._recipe, self._flows[index], self._storage)
            self._work.attach()
            return in_float32(args, self._device), in_float32(kwargs, self._device)

        return hook

    def _leave(self, index: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(layer: nn.Module, args: Any, output: Any) -> None:
            if self._work is None:
                raise RuntimeError("a layer ended that did not begin")
            self._work.detach()
            self._files.write_output(index, output)
            self._files.write(index, layer, self._work)
            self._files.forget_outputs(index)
            self._work = None
            for parameter in layer.parameters():
                parameter.data = torch.empty(0, device=parameter.device)
            self._on_layer(index + 1, len(self._layers))
            if index + 1 == len(self._layers):
                raise _LastLayerDone

        return hook


def names_in_layer(stored: Mapping[str, str], layer: str) -> dict[str, str]:
    """Return the checkpoint's names of one layer's tensors by their names inside the layer."""
    return {name[len(layer) + 1 :]: full for name, full in stored.items() if name.startswith(f"{layer}.")}


def _pass_over(layer: nn.Module, output: Any) -> None:
    """Let a finished layer hand on what the last finished one did."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        return output

    layer.forward = forward


def in_float32(value: Any, device: str) -> Any:
    """Return arguments with their tensors on a device, 16-bit ones as float32."""
    if isinstance(value, torch.Tensor):
        return value.to(device, torch.float32 if value.is_floating_point() else value.dtype)
    if isinstance(value, tuple):
        return tuple(in_float32(item, device) for item in value)
    if isinstance(value, dict):
        return {key: in_float32(item, device) for key, item in value.items()}
    return value


def folder_of_layers(work: Path) -> Path:
    """Return where finished layers lie inside a work folder."""
    return work / "layers"
