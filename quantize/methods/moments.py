"""What a layer's linear parts see: their inputs' second moments and sizes. Needs torch."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass
class Inputs:
    """Statistics of the inputs of one group of linear parts.

    moments: (input, input), mean outer product. magnitude, peak: (input,), mean and largest |value|.
    """

    moments: torch.Tensor
    magnitude: torch.Tensor
    peak: torch.Tensor

    @classmethod
    def of(cls, x: torch.Tensor) -> Inputs:
        """Measure inputs (…, input)."""
        rows = x.reshape(-1, x.shape[-1]).float()
        size = rows.abs()
        return cls(rows.T @ rows / rows.shape[0], size.mean(0), size.amax(0))

    def divided(self, scale: torch.Tensor) -> Inputs:
        """Return the statistics of the inputs divided by `scale` (input,)."""
        return Inputs(self.moments / torch.outer(scale, scale), self.magnitude / scale, self.peak / scale)


def output_loss(error: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
    """Return the mean square error of the outputs that a weight error (output, input) causes."""
    return ((error @ moments) * error).sum()
