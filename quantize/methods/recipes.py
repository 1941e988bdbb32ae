"""From a method's options to a recipe for the layers and a layout for the result. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from quantserve.quantize.config import AwqOptions, Fp8Options, GptqOptions, Int8Options, RtnOptions
from quantserve.quantize.methods.formats import Layout, choose_format
from quantserve.quantize.methods.recipe import Recipe

WeightOptions = GptqOptions | AwqOptions | RtnOptions | Int8Options | Fp8Options


def layout_of(
    method: str, options: WeightOptions, widths: Mapping[str, int], *, wide: bool = False
) -> Layout:
    """Return the layout of the finished checkpoint; `wide` where float16 cannot hold the base."""
    if isinstance(options, Int8Options | Fp8Options):
        return Layout(choose_format(method, 8, symmetric=True, widths=widths), 8, -1, True, widths, wide)
    form = choose_format(
        method, options.bits, symmetric=options.symmetric, widths=widths, layout=options.layout
    )
    return Layout(form, options.bits, options.group_size, options.symmetric, widths, wide)


def recipe_of(options: WeightOptions, widths: Mapping[str, int], *, wide: bool = False) -> Recipe:
    """Return how each layer is quantized; `wide` where float16 cannot hold the base."""
    return replace(_recipe(options, widths), wide=wide)


def _recipe(options: WeightOptions, widths: Mapping[str, int]) -> Recipe:
    if isinstance(options, Int8Options | Fp8Options):
        int8 = options if isinstance(options, Int8Options) else Int8Options(smoothing=0.0)
        return Recipe(
            bits=8,
            group_size=-1,
            symmetric=True,
            widths=widths,
            scaling="none" if int8.smoothing == 0 else "smooth",
            smoothing=int8.smoothing,
            feedback=int8.feedback,
            damping=int8.damping,
            exponent=int8.mse,
            signed_scales=False,
            activations=8,
        )
    if isinstance(options, GptqOptions):
        return Recipe(
            bits=options.bits,
            group_size=options.group_size,
            symmetric=options.symmetric,
            widths=widths,
            scaling="awq" if options.scale_channels else "none",
            feedback=True,
            damping=options.damping,
            exponent=options.mse,
            important_first=options.act_group_aware,
        )
    return Recipe(
        bits=options.bits,
        group_size=options.group_size,
        symmetric=options.symmetric,
        widths=widths,
        scaling="awq" if isinstance(options, AwqOptions) else "none",
        exponent=options.mse if isinstance(options, AwqOptions) else 0.0,
    )
