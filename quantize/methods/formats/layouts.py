"""Which checkpoint layout the result gets, and the settings that describe it in config.json. Pure.

gptq          AutoGPTQ's: symmetric, 4 or 8 bits
awq           AutoAWQ's: zero points, 4 bits
packed        compressed-tensors' pack-quantized: any width, and any mixture with INT8 by row
int8, fp8     compressed-tensors' int-quantized and float-quantized: inputs rounded by token too
bitsandbytes  read on CUDA: 4 bits (NF4, QLoRA, Dettmers et al. 2023) while loading, the settings in a file of
              their own, since in config.json they would say "quantized already"; 8 bits (LLM.int8, Dettmers
              et al. 2022) in its own layout, since the engine loads them from quantized files alone
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from quantserve.quantize.config import BitsAndBytesOptions, Fp8Options, Int8Options
from quantserve.quantize.methods.formats.recipe import UNQUANTIZED, WeightOptions

Format = Literal["gptq", "awq", "packed", "int8", "fp8"]
LAYOUTS: tuple[Format, ...] = ("gptq", "awq", "packed")
"""Of packed weights; which one is an option of the method."""
AUTO = "auto"
# What transformers takes: BitsAndBytesConfig(**json.load(open(SETTINGS))).
BITSANDBYTES_SETTINGS = "bitsandbytes.json"


@dataclass(frozen=True)
class Layout:
    """A result's layout and the grid its quantized modules share; `widths` are the exceptions.

    wide: the base has values that float16 cannot hold, so floats are stored in bfloat16.
    """

    format: Format
    bits: int
    group_size: int
    symmetric: bool
    widths: Mapping[str, int]
    wide: bool = False

    @property
    def unquantized(self) -> list[str]:
        """Modules that stay in 16 bits."""
        return sorted(name for name, bits in self.widths.items() if bits == UNQUANTIZED)

    @property
    def by_row(self) -> list[str]:
        """Modules in INT8 by row beside others."""
        return sorted(name for name, bits in self.widths.items() if bits != UNQUANTIZED)

    def format_of(self, name: str) -> Format:
        """Return one module's own format."""
        return "int8" if self.widths.get(name) == 8 else self.format


def settle_layout(layout: str, bits: int, *, symmetric: bool, target: str) -> str:
    """Return the layout, where `auto` leaves it to the target.

    On a CPU symmetric 4-bit weights are packed as compressed-tensors does: AMD's kernels, which are twice as
    fast in batches as vLLM's, read no other layout, and vLLM's read each.
    """
    return "packed" if layout == AUTO and target == "cpu" and symmetric and bits == 4 else layout


def why_not(layout: str, bits: int, *, symmetric: bool, keeps_eight: bool) -> str | None:
    """Return why a layout cannot hold such weights, or None."""
    if layout not in (AUTO, *LAYOUTS):
        return f"there is no layout {layout!r}"
    if layout in ("gptq", "awq") and keeps_eight:
        return "only packed holds 8 bits beside others"
    if layout == "gptq" and not (symmetric and bits in (4, 8)):
        return "gptq holds 4 or 8 bits without zero points"
    if layout == "awq" and (symmetric or bits != 4):
        return "awq holds 4 bits with zero points"
    return None


def fitting(bits: int, *, symmetric: bool, keeps_eight: bool) -> tuple[Format, ...]:
    """Return the layouts that hold such weights, the best known first."""
    return tuple(
        one for one in LAYOUTS if why_not(one, bits, symmetric=symmetric, keeps_eight=keeps_eight) is None
    )


def layout_of(
    method: str, options: WeightOptions, widths: Mapping[str, int], *, wide: bool = False
) -> Layout:
    """Return the layout of the finished checkpoint; `wide` where float16 cannot hold the base."""
    if isinstance(options, Int8Options | Fp8Options):
        return Layout("int8" if method == "int8" else "fp8", 8, -1, True, widths, wide)
    bits, symmetric, eight = options.bits, options.symmetric, 8 in widths.values()
    asked = next((one for one in LAYOUTS if one == options.layout), None)
    form = asked or fitting(bits, symmetric=symmetric, keeps_eight=eight)[0]
    return Layout(form, bits, options.group_size, symmetric, widths, wide)


def settings(layout: Layout) -> dict[str, Any]:
    """Return `quantization_config` as transformers and the engine read it."""
    if layout.format == "gptq":
        return _gptq(layout)
    if layout.format == "awq":
        return _awq(layout)
    return _compressed(layout)


def _below_model(name: str) -> str:
    """Return a module's name inside the model: above it the engine puts its parts together differently."""
    return name.partition(".")[2] or name


def _anywhere(name: str) -> str:
    """Return the pattern of a module, and of what is in it, wherever the engine has put its parent."""
    return rf"(?:.*\.)?{re.escape(_below_model(name))}(?:\..*)?$"


def _gptq(layout: Layout) -> dict[str, Any]:
    dynamic: dict[str, Any] = {f"-:{pattern}": {} for pattern in map(_anywhere, layout.unquantized)}
    return {
        "quant_method": "gptq",
        "bits": layout.bits,
        "group_size": layout.group_size,
        "sym": True,
        "desc_act": False,
        "lm_head": False,
        "checkpoint_format": "gptq",
        **({"dynamic": dynamic} if dynamic else {}),
    }


def _awq(layout: Layout) -> dict[str, Any]:
    return {
        "quant_method": "awq",
        "bits": layout.bits,
        "group_size": layout.group_size,
        "zero_point": True,
        "version": "gemm",
        # read as part of a name by the engine, as the end of one by transformers
        "modules_to_not_convert": sorted({"lm_head", *map(_below_model, layout.unquantized)}),
    }


def _compressed(layout: Layout) -> dict[str, Any]:
    groups = {"group_0": _scheme(layout, layout.format, ["Linear"])}
    if layout.format not in ("int8", "fp8") and layout.by_row:
        # Named modules first: the first group that matches is taken.
        groups = {"group_0": _scheme(layout, "int8", layout.by_row), "group_1": groups["group_0"]}
    formats = {group["format"] for group in groups.values()}
    return {
        "quant_method": "compressed-tensors",
        "format": formats.pop() if len(formats) == 1 else "mixed-precision",
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": ["lm_head", *(f"re:{pattern}" for pattern in map(_anywhere, layout.unquantized))],
    }


def _scheme(layout: Layout, form: Format, targets: list[str]) -> dict[str, Any]:
    if form in ("int8", "fp8"):
        kind = "int" if form == "int8" else "float"
        weights = {"num_bits": 8, "type": kind, "symmetric": True, "strategy": "channel", "dynamic": False}
        inputs = {"num_bits": 8, "type": kind, "symmetric": True, "strategy": "token", "dynamic": True}
        return {
            "targets": targets,
            "weights": weights,
            "input_activations": inputs,
            "format": f"{kind}-quantized",
        }
    by_group = layout.group_size != -1
    return {
        "targets": targets,
        "weights": {
            "num_bits": layout.bits,
            "type": "int",
            "symmetric": layout.symmetric,
            "strategy": "group" if by_group else "channel",
            "group_size": layout.group_size if by_group else None,
            "dynamic": False,
        },
        "input_activations": None,
        "format": "pack-quantized",
    }


def bitsandbytes_settings(options: BitsAndBytesOptions) -> dict[str, Any]:
    """Return the arguments of transformers' BitsAndBytesConfig."""
    if options.bits == 8:
        return {"load_in_8bit": True, "llm_int8_skip_modules": ["lm_head"], "llm_int8_threshold": 6.0}
    return {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": options.double_quant,
        "bnb_4bit_compute_dtype": "bfloat16",
    }
