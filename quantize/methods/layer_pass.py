"""The calibration text passes through the model once, and each layer is quantized as it passes. Needs torch.

The model's own forward drives the pass, so what an architecture hands from layer to layer needs no
knowledge here. A finished layer and its output are written to the work folder at once: a run that was
killed goes on after it, to the same result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from core.errors import InputError
from quantize.methods.layer import LayerWork, linear_parts
from quantize.methods.layer_files import LayerFiles
from quantize.methods.recipe import Recipe

# Called with (finished layers, all layers).
OnLayer = Callable[[int, int], None]


class _LastLayerDone(Exception):
    """Ends the forward pass: nothing after the layers matters."""


def decoder_layers(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Return the repeated layers and their name inside the model.

    Raises:
        InputError: the model has none that this program knows.
    """
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and name.endswith("layers") and "visual" not in name
    ]
    if len(found) != 1:
        raise InputError(
            f"{type(model).__name__} has {len(found)} rows of layers, one is expected",
            mend="Use a decoder-only language model",
        )
    return found[0]


def uncovered(model: PreTrainedModel, names: set[str]) -> list[str]:
    """Return the checkpoint's layer tensors that the pass would not write, such as fused experts'."""
    prefix, _ = decoder_layers(model)
    ours = {name for name in model.state_dict() if name.startswith(f"{prefix}.")}
    return sorted(name for name in names if f"{prefix}." in name and name not in ours)


class LayerPass:
    """Sends token ids through a model in 16 bits, quantizing layer after layer in float32."""

    def __init__(
        self,
        model: PreTrainedModel,
        recipe: Recipe,
        files: LayerFiles,
        device: str,
        on_layer: OnLayer,
    ) -> None:
        """`files` holds the layers finished before and takes those that finish now.

        The model stays where it is; only the layer at work is on `device`.
        """
        self._model = model
        self._device = device
        self._recipe = recipe
        self._files = files
        self._on_layer = on_layer
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
            self._work = LayerWork(layer, f"{self._prefix}.{index}", self._recipe)
            self._work.attach()
            return in_float32(args, self._device), in_float32(kwargs, self._device)

        return hook

    def _leave(self, index: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(layer: nn.Module, args: Any, output: Any) -> None:
            if self._work is None:
                raise RuntimeError("a layer ended that did not begin")
            self._work.detach()
            self._files.write_output(index, output)
            self._files.write(index, layer, self._work.prefix, self._work.quantized)
            self._files.forget_outputs(index)
            self._work = None
            for parameter in layer.parameters():
                parameter.data = torch.empty(0, device=parameter.device)
            self._on_layer(index + 1, len(self._layers))
            if index + 1 == len(self._layers):
                raise _LastLayerDone

        return hook


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


def names_of_parts(model: PreTrainedModel) -> list[str]:
    """Return the full names of all linear parts of the layers."""
    prefix, layers = decoder_layers(model)
    return [name for index, layer in enumerate(layers) for name in linear_parts(layer, f"{prefix}.{index}")]


def folder_of_layers(work: Path) -> Path:
    """Return where finished layers lie inside a work folder."""
    return work / "layers"
