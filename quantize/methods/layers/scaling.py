"""Scaling input channels so that rounding hurts less; their producer takes the inverse. Needs torch.

AWQ (Lin et al. 2023) enlarges the weights of channels with large inputs before they are rounded, with an
exponent that a search finds. SmoothQuant (Xiao et al. 2023) moves part of the inputs' range into the
weights, so that inputs rounded to 8 bits keep their small channels.

Either search ends with no scale where none is better than that: it never does worse than plain rounding on
the text it saw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

_STEPS = 10
_SMALLEST = 1e-4
STRENGTHS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""SmoothQuant's strengths that a search tries, beside none."""
# Rows of inputs that candidates are tried on, spread over all text.
_SAMPLE_ROWS = 512
Rounding = Callable[[torch.Tensor], torch.Tensor]
"""What values become when they are rounded."""


@dataclass
class InputStatistics:
    """Statistics of the inputs of one group of linear parts.

    hessian: (input, input), mean outer product. magnitude, peak: (input,), mean and largest |value|.
    """

    hessian: torch.Tensor
    magnitude: torch.Tensor
    peak: torch.Tensor

    @classmethod
    def of(cls, x: torch.Tensor) -> InputStatistics:
        """Measure inputs (…, input)."""
        rows = x.reshape(-1, x.shape[-1]).float()
        size = rows.abs()
        return cls(rows.T @ rows / rows.shape[0], size.mean(0), size.amax(0))

    def divided(self, scale: torch.Tensor) -> InputStatistics:
        """Return the statistics of the inputs divided by `scale` (input,)."""
        return InputStatistics(
            self.hessian / torch.outer(scale, scale), self.magnitude / scale, self.peak / scale
        )


def output_loss(error: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Return the mean square error of the outputs that a weight error (output, input) causes."""
    return ((error @ hessian) * error).sum()


def awq_scale(
    weights: torch.Tensor, inputs: InputStatistics, rounded: Rounding, shared: Rounding
) -> torch.Tensor | None:
    """Return the scale (input,) that loses least, or None where none is better than no scale.

    weights: (output, input) of all parts that read the input. rounded: what weights become. shared: what the
    producer can take of a scale, where it gives one value to several channels.
    The loss is exact: the mean square error of the outputs follows from the inputs' second hessian.
    """
    best: torch.Tensor | None = None
    least = output_loss(rounded(weights) - weights, inputs.hessian)
    for step in range(1, _STEPS):
        scale = shared(_centred(inputs.magnitude.clamp(min=_SMALLEST).pow(step / _STEPS)))
        loss = output_loss(rounded(weights * scale) / scale - weights, inputs.hessian)
        if loss < least:
            best, least = scale, loss
    return best


def smooth_scale(
    weights: torch.Tensor,
    inputs: InputStatistics,
    rows: torch.Tensor,
    strengths: Sequence[float],
    *,
    parts: list[int],
    rounded: Rounding,
    inputs_rounded: Rounding,
    shared: Rounding,
) -> torch.Tensor | None:
    """Return SmoothQuant's scale (input,) of the strength that loses least, or None for no scale.

    weights: (output, input) of all parts that read the input, `parts` rows of each. rows: inputs (…, input),
    of which some are tried. rounded, inputs_rounded: what weights and inputs become. shared: see `awq_scale`.
    The loss is the square error of the outputs with inputs and weights rounded as the engine rounds them,
    relative to each part's own outputs: values are small beside queries and matter as much.
    """
    flat = rows.reshape(-1, rows.shape[-1])
    sample = flat[:: max(1, flat.shape[0] // _SAMPLE_ROWS)]
    expected = sample @ weights.T
    energy = expected.square().sum(0)

    def loss(scale: torch.Tensor | None) -> float:
        x, w = (sample, weights) if scale is None else (sample / scale, weights * scale)
        error = (inputs_rounded(x) @ rounded(w).T - expected).square().sum(0)
        pairs = zip(torch.split(error, parts), torch.split(energy, parts), strict=True)
        return sum(float(lost.sum() / whole.sum().clamp(min=1e-30)) for lost, whole in pairs)

    best, least = None, loss(None)
    for strength in strengths:
        scale = shared(_smoothing(weights, inputs, strength))
        found = loss(scale)
        if found < least:
            best, least = scale, found
    return best


def _smoothing(weights: torch.Tensor, inputs: InputStatistics, strength: float) -> torch.Tensor:
    """Return SmoothQuant's formula: peak |input| ** strength / peak |weight| ** (1 - strength)."""
    reach = weights.abs().amax(0).clamp(min=_SMALLEST)
    return inputs.peak.clamp(min=_SMALLEST).pow(strength) / reach.pow(1 - strength)


def _centred(scale: torch.Tensor) -> torch.Tensor:
    return scale / (scale.max() * scale.min()).sqrt()
