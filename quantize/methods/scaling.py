"""Scaling input channels so that rounding hurts less; their producer takes the inverse. Needs torch.

AWQ (Lin et al. 2023) enlarges the weights of channels with large inputs before they are rounded, with an
exponent that a search finds. SmoothQuant (Xiao et al. 2023) moves part of the inputs' range into the
weights, so that inputs rounded to 8 bits keep their small channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from quantize.methods.moments import Inputs, output_loss

_STEPS = 10
_SMALLEST = 1e-4


def awq_scale(
    weights: torch.Tensor, inputs: Inputs, rounded: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor | None:
    """Return the scale (input,) that loses least, or None where none is better than no scale.

    weights: (output, input) of all parts that read the input. rounded: what weights become.
    The loss is exact: the mean square error of the outputs follows from the inputs' second moments.
    """
    best: torch.Tensor | None = None
    least = output_loss(rounded(weights) - weights, inputs.moments)
    for step in range(1, _STEPS):
        scale = inputs.magnitude.clamp(min=_SMALLEST).pow(step / _STEPS)
        scale = _centred(scale)
        loss = output_loss(rounded(weights * scale) / scale - weights, inputs.moments)
        if loss < least:
            best, least = scale, loss
    return best


def smooth_scale(weights: torch.Tensor, inputs: Inputs, strength: float) -> torch.Tensor:
    """Return SmoothQuant's scale (input,): peak |input| ** strength / peak |weight| ** (1 - strength)."""
    reach = weights.abs().amax(0).clamp(min=_SMALLEST)
    return inputs.peak.clamp(min=_SMALLEST).pow(strength) / reach.pow(1 - strength)


def _centred(scale: torch.Tensor) -> torch.Tensor:
    return scale / (scale.max() * scale.min()).sqrt()
