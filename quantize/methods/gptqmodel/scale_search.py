"""A faster and finer search for each group's scale and zero point, put into GPTQModel's GPTQ.

GPTQModel's own search runs a thousand small tensor operations for each group, which on CPU takes longer
than the rest of GPTQ, and takes all groups of a 128-column block from weights that lack the block's own
error feedback. Here one group's candidates are tried in one operation, symmetric scales may be negative
(so that the level -8, which has no positive twin, falls on the side of the largest weight, as in
llama.cpp's Q4_0), and a block is one group, so every scale sees all feedback before it.
On CUDA GPTQModel's fused kernel is faster than this and is left in place.
"""

from __future__ import annotations

from typing import Any

import torch
from gptqmodel.looper import gptq_processor
from gptqmodel.quantization.gptq import GPTQ
from gptqmodel.quantization.quantizer import Quantizer

# Shares of the full range that are tried as the range.
_SHRINK = torch.linspace(1.0, 0.55, 19)
# Rows tried at once: candidates of that many rows fit a core's second-level cache.
_ROWS = 256


class GridQuantizer(Quantizer):  # type: ignore[misc] # gptqmodel ships no types
    """Chooses per row the scale and zero point that lose least, measured by |error| ** mse."""

    def find_params(self, x: torch.Tensor, weight: bool = False) -> None:
        """Set `scale` and `zero`, both (rows, 1), for one group of weights (rows, group size)."""
        found = [self._search(rows) for rows in torch.split(x.flatten(1), _ROWS)]
        self.scale = torch.cat([scale for scale, _ in found])
        self.zero = torch.cat([zero for _, zero in found])

    def _search(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scale, zero = self._candidates(x)
        levels = (x[:, None, :] / scale[:, :, None]).round_()
        levels.add_(zero[:, :, None]).clamp_(0, int(self.maxq)).sub_(zero[:, :, None])
        error = levels.mul_(scale[:, :, None]).sub_(x[:, None, :])
        exponent = float(self.qcfg.mse)
        loss = error.square_() if exponent in (0.0, 2.0) else error.abs_().pow_(exponent)
        best = loss.sum(2).argmin(1, keepdim=True)
        return scale.gather(1, best), zero.gather(1, best)

    def _candidates(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scales and zero points, both (rows, candidates)."""
        top = int(self.maxq)
        shrink = (_SHRINK if self.qcfg.mse > 0 else _SHRINK[:1]).to(x)
        if self.qcfg.sym:
            reach = x.abs().amax(1, keepdim=True)
            reach = torch.where(reach == 0, torch.ones_like(reach), reach)
            middle = (top + 1) // 2
            scale = torch.cat([reach * shrink / middle, reach * shrink / -middle], 1)
            return scale, torch.full_like(scale, middle)
        low, high = x.amin(1, keepdim=True).clamp(max=0), x.amax(1, keepdim=True).clamp(min=0)
        reach = high - low
        scale = torch.where(reach == 0, torch.ones_like(reach), reach) * shrink / top
        ideal = -low * shrink / scale
        below = ideal.floor().clamp(0, top)
        return scale.repeat(1, 2), torch.cat([below, (below + 1).clamp(max=top)], 1)


class GroupwiseGPTQ(GPTQ):  # type: ignore[misc] # gptqmodel ships no types
    """GPTQ with the search above, whose blocks are single groups."""

    def create_quantizer(self, name: str) -> Quantizer:
        """Return the quantizer that searches the grid."""
        return GridQuantizer(qcfg=self.qcfg, name=name)

    def quantize(self, blocksize: int = 0) -> Any:
        """Quantize one layer; GPTQModel calls this without an argument."""
        size = self.qcfg.group_size
        return super().quantize(blocksize=blocksize or (size if size > 0 else 128))


def install() -> None:
    """Make GPTQModel use it in this process, unless a CUDA device does the work."""
    if not torch.cuda.is_available():
        gptq_processor.GPTQ = GroupwiseGPTQ
