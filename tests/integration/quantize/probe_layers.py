"""Ask `dataflow_of` about small layers whose data flow is known, and print what it found as JSON.

    python probe_layers.py

Runs in the quantize environment; `test_dataflow.py` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from quantserve.quantize.methods.layers.dataflow import dataflow_of, divide_norm

HIDDEN, HEADS, HEAD = 32, 4, 8


class Norm(nn.Module):
    """RMSNorm; with `offset` it multiplies by one plus its weight, as Gemma's."""

    def __init__(self, size: int = HIDDEN, offset: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(size) + 0.5 - offset)
        self._offset = offset

    def forward(self, x: torch.Tensor) -> Any:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * (self.weight + self._offset)


class Attention(nn.Module):
    """Grouped-query attention: `kv` value heads serve four query heads."""

    def __init__(self, kv: int = 2) -> None:
        super().__init__()
        self.q_proj = nn.Linear(HIDDEN, HEADS * HEAD)
        self.k_proj = nn.Linear(HIDDEN, kv * HEAD)
        self.v_proj = nn.Linear(HIDDEN, kv * HEAD)
        self.o_proj = nn.Linear(HEADS * HEAD, HIDDEN)
        self._kv = kv

    def forward(self, x: torch.Tensor) -> Any:
        batch, tokens, _ = x.shape
        q = self.q_proj(x).view(batch, tokens, HEADS, HEAD).transpose(1, 2)
        k, v = (
            part(x)
            .view(batch, tokens, self._kv, HEAD)
            .transpose(1, 2)
            .repeat_interleave(HEADS // self._kv, 1)
            for part in (self.k_proj, self.v_proj)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, tokens, HEADS * HEAD))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(HIDDEN, 64), nn.Linear(HIDDEN, 64), nn.Linear(64, HIDDEN)

    def forward(self, x: torch.Tensor) -> Any:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class Squared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(HIDDEN, 64), nn.Linear(64, HIDDEN)

    def forward(self, x: torch.Tensor) -> Any:
        return self.down(functional.relu(self.up(x)).square())


class Layer(nn.Module):
    """A decoder layer made of parts, put together by `wiring`."""

    def __init__(self, wiring: Callable[[Layer, torch.Tensor], torch.Tensor], **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._wiring = wiring

    def forward(self, x: torch.Tensor) -> Any:
        return self._wiring(self, x)


def _serial(self: Any, x: torch.Tensor) -> Any:
    x = x + self.attn(self.first(x))
    return x + self.mlp(self.second(x))


def _parallel(self: Any, x: torch.Tensor) -> Any:
    normed = self.first(x)
    return x + self.attn(normed) + self.mlp(normed)


def _post_norm(self: Any, x: torch.Tensor) -> Any:
    x = self.first(x + self.attn(x))
    return self.second(x + self.mlp(x))


def _router_too(self: Any, x: torch.Tensor) -> Any:
    normed = self.first(x)
    share = functional.linear(normed, self.router).softmax(-1)[..., :1]
    return x + share * self.mlp(normed)


def _router(layer: Layer) -> Layer:
    layer.register_parameter("router", nn.Parameter(torch.randn(4, HIDDEN)))
    return layer


def _latent(self: Any, x: torch.Tensor) -> Any:
    normed = self.first(x)
    return x + self.out(self.b(self.second(self.a(normed))) * torch.tanh(self.q(normed)))


def _functional_weight(self: Any, x: torch.Tensor) -> Any:
    return x + self.down(self.first(x)) + functional.linear(x, self.lost.weight)


def _twice(self: Any, x: torch.Tensor) -> Any:
    return x + self.a(self.first(x)) + self.b(self.first(2 * x))


def _shared_norms(self: Any, x: torch.Tensor) -> Any:
    """One norm's output is one branch's input; the other branch reads half of its channels."""
    normed = self.first(x)
    return x + self.a(normed) + self.b(normed[..., : HIDDEN // 2])


CASES: dict[str, Layer] = {
    "serial": Layer(_serial, first=Norm(), attn=Attention(), second=Norm(), mlp=Gated()),
    "one key head": Layer(_serial, first=Norm(), attn=Attention(1), second=Norm(), mlp=Gated()),
    "gemma": Layer(_serial, first=Norm(offset=1.0), attn=Attention(4), second=Norm(offset=1.0), mlp=Gated()),
    "layer norm": Layer(
        _serial, first=nn.LayerNorm(HIDDEN), attn=Attention(), second=nn.LayerNorm(HIDDEN), mlp=Squared()
    ),
    "parallel": Layer(_parallel, first=Norm(), attn=Attention(), mlp=Gated()),
    "post norm": Layer(_post_norm, first=Norm(), attn=Attention(), second=Norm(), mlp=Gated()),
    "router": _router(Layer(_router_too, first=Norm(), mlp=Gated())),
    "latent": Layer(
        _latent,
        first=Norm(),
        a=nn.Linear(HIDDEN, 16),
        second=Norm(16),
        b=nn.Linear(16, 64),
        q=nn.Linear(HIDDEN, 64),
        out=nn.Linear(64, HIDDEN),
    ),
    "elsewhere": Layer(
        _functional_weight, first=Norm(), down=nn.Linear(HIDDEN, HIDDEN), lost=nn.Linear(HIDDEN, HIDDEN)
    ),
    "twice": Layer(_twice, first=Norm(), a=nn.Linear(HIDDEN, HIDDEN), b=nn.Linear(HIDDEN, HIDDEN)),
    "half": Layer(_shared_norms, first=Norm(), a=nn.Linear(HIDDEN, HIDDEN), b=nn.Linear(16, HIDDEN)),
}


def facts(layer: Layer) -> dict[str, Any]:
    """Return a layer's folds, and how far moving random scales by them moves its output."""
    x = torch.randn(1, 24, HIDDEN) * torch.rand(HIDDEN).mul(3).exp()
    flow = dataflow_of(layer, (x,), {})
    with torch.inference_mode():
        before = layer(x)
        folds = {}
        for fold in flow.folds:
            producer: Any = layer.get_submodule(fold.producer)
            size = producer.weight.shape[0]
            scale = (torch.rand(size) * 3 - 1.5).exp()
            if fold.offset is None:
                producer.weight.data.div_(scale[:, None])
                producer.bias.data.div_(scale)
            else:
                scale = divide_norm(producer, scale, fold.offset, torch.bfloat16)
            for reader in fold.readers:
                part: Any = layer.get_submodule(reader)
                part.weight.data.mul_(scale if fold.channels is None else scale[fold.channels])
            folds[fold.producer] = list(fold.readers)
        moved = float((layer(x) - before).norm() / (before - x).norm())
    return {
        "folds": folds,
        "groups": [list(g) for g in flow.groups],
        "elsewhere": flow.elsewhere,
        "moved": moved,
    }


def main() -> None:
    """Print every case's facts."""
    torch.manual_seed(3)
    for part in (module for layer in CASES.values() for module in layer.modules()):
        if isinstance(part, nn.LayerNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
    print(json.dumps({name: facts(layer) for name, layer in CASES.items()}))


if __name__ == "__main__":
    main()
