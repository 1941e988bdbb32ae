"""From a method's options to a recipe for the layers. Pure.

Which modules stay in 16 bits or get 8 is told by patterns on their names, checked before the work.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from quantserve.core.errors import UsageError
from quantserve.quantize.config import AwqOptions, Fp8Options, GptqOptions, Int8Options, RtnOptions

UNQUANTIZED = 16
"""The width of what is not quantized."""
WeightOptions = RtnOptions | Int8Options | Fp8Options
"""GPTQ's and AWQ's are plain rounding's with more."""
_WIDTHS = (16, 8)
_ROUTERS = (".mlp.gate", ".router", ".shared_expert_gate", ".block_sparse_moe.gate")
# The engine fuses each row into one matrix, which has one width.
FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


@dataclass(frozen=True)
class Recipe:
    """One method's way through a layer.

    bits, group_size, symmetric: the grid of a part without a width of its own. group_size -1 is a whole row.
    widths: parts by full module name with a width of their own: 16 stays, 8 is INT8 by row.
    scaling: input channels are scaled first, by AWQ's search or by SmoothQuant's formula.
    smoothing: SmoothQuant's strength, None for the one that loses least.
    feedback: GPTQ's rounding; otherwise each weight to its nearest.
    exponent: of the search for scales, 0 takes the range as it is.
    activations: bits the engine rounds inputs to, 16 for none.
    wide: weights are beyond float16, so 16-bit scales are bfloat16.
    """

    bits: int
    group_size: int
    symmetric: bool
    widths: Mapping[str, int]
    scaling: Literal["none", "awq", "smooth"] = "none"
    smoothing: float | None = None
    feedback: bool = False
    damping: float = 0.05
    exponent: float = 2.0
    important_first: bool = True
    signed_scales: bool = True
    activations: int = 16
    wide: bool = False

    def width(self, name: str) -> int:
        """Return a part's width in bits."""
        return self.widths.get(name, self.bits)


def recipe_of(options: WeightOptions, widths: Mapping[str, int], *, wide: bool = False) -> Recipe:
    """Return how each layer is quantized; `wide` where float16 cannot hold the base."""
    if isinstance(options, Int8Options | Fp8Options):
        int8 = options if isinstance(options, Int8Options) else Int8Options(smoothing=0.0)
        return Recipe(
            *(8, -1, True, widths),
            scaling="none" if int8.smoothing == 0 else "smooth",
            smoothing=int8.smoothing,
            feedback=int8.feedback,
            damping=int8.damping,
            exponent=int8.mse,
            signed_scales=False,
            activations=8,
            wide=wide,
        )
    plain = Recipe(options.bits, options.group_size, options.symmetric, widths, exponent=0.0, wide=wide)
    if isinstance(options, GptqOptions):
        return replace(
            plain,
            scaling="awq" if options.scale_channels else "none",
            feedback=True,
            damping=options.damping,
            exponent=options.mse,
            important_first=options.act_group_aware,
        )
    return replace(plain, scaling="awq", exponent=options.mse) if isinstance(options, AwqOptions) else plain


@dataclass(frozen=True)
class PrecisionOverride:
    """One --precision-override: modules whose name, or the end of it, matches the pattern get this width."""

    pattern: str
    bits: int

    def matches(self, name: str) -> bool:
        """Whether a full module name, such as model.layers.0.mlp.down_proj, is meant.

        A pattern is a shell pattern on whole parts of the name: down_proj, layers.0.mlp.*, layers.2?.
        """
        parts = name.split(".")
        wanted = len(self.pattern.split("."))
        return any(
            fnmatch.fnmatchcase(".".join(parts[start : start + wanted]), self.pattern)
            for start in range(len(parts) - wanted + 1)
        )


def parse_override(text: str) -> PrecisionOverride:
    """Read PATTERN or PATTERN=16 or PATTERN=8.

    Raises:
        UsageError: another width, or no pattern.
    """
    pattern, equals, bits = text.rpartition("=")
    if not equals:
        pattern, bits = text, str(UNQUANTIZED)
    if not pattern or not bits.isdigit() or int(bits) not in _WIDTHS:
        raise UsageError(
            f"--precision-override {text} is not PATTERN, PATTERN=16 or PATTERN=8", mend="Such as down_proj=8"
        )
    return PrecisionOverride(pattern, int(bits))


def widths_of(names: Iterable[str], overrides: Iterable[str]) -> dict[str, int]:
    """Return the width of each module with one of its own: the last --precision-override that matches wins.

    A mixture of experts has its routers in 16 bits, as the engine expects.

    Raises:
        UsageError: a pattern matches no module, or only some of those the engine fuses into one.
    """
    names, overrides = list(names), list(overrides)
    found = {name: UNQUANTIZED for name in names if name.endswith(_ROUTERS)}
    for override in map(parse_override, overrides):
        matched = [name for name in names if override.matches(name)]
        if not matched:
            raise UsageError(
                f"--precision-override {override.pattern} matches no module",
                mend="Name a module such as down_proj, layers.0.mlp.* or layers.0 (shell patterns)",
            )
        found.update(dict.fromkeys(matched, override.bits))
    if names and overrides and all(found.get(name) == UNQUANTIZED for name in names):
        raise UsageError(
            "--precision-override leaves nothing to quantize", mend="Serve the model in 16 bits as it is"
        )
    for name in found:
        for mate in fused_with(name, names):
            if found.get(mate) != found[name]:
                raise UsageError(
                    f"--precision-override gives {name} {found[name]} bits but {mate} another width; "
                    "the engine fuses them",
                    mend=f"Add --precision-override {mate.rpartition('.')[2]}={found[name]}",
                )
    return found


def fused_names(name: str) -> tuple[str, ...]:
    """Return a module's name with those it is fused with, such as q_proj, k_proj, v_proj, in order."""
    stem, _, last = name.rpartition(".")
    row = next((row for row in FUSED if last in row), (last,))
    return tuple(f"{stem}.{part}" for part in row)


def fused_with(name: str, names: list[str]) -> list[str]:
    """Return the modules the engine fuses with this one."""
    return [mate for mate in fused_names(name) if mate != name and mate in names]
