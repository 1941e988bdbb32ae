"""What a quantized checkpoint says of itself, in our terms. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from quantserve.core.errors import InputError, UsageError
from quantserve.quantize.config import GptqOptions
from quantserve.quantize.methods.targets import refuse_unloadable
from quantserve.quantize.models.settings import SIDE_FILES

# How codes lie in words: AutoAWQ's `version`, AutoGPTQ's `checkpoint_format`. The engine reads no other and
# looks at neither.
_LAYOUTS = {"awq": ("gemm",), "gptq": ("gptq", "gptq_v2")}


@dataclass(frozen=True)
class Imported:
    """A checkpoint's method as a manifest names it; `desc_act` where columns are reordered on disk."""

    method: str
    bits: float | None
    group_size: int | None
    symmetric: bool | None
    desc_act: bool
    settings: dict[str, Any]

    @property
    def parameters(self) -> dict[str, Any]:
        """What the manifest records; None is what the checkpoint does not reveal."""
        return {
            "bits": self.bits,
            "group_size": self.group_size,
            "symmetric": self.symmetric,
            "imported": True,
            "settings": self.settings,
        }


def recognise(settings: dict[str, Any] | None, where: str) -> Imported:
    """Read the settings, in `quantization_config`'s terms.

    Raises:
        InputError: there are none, they hold impossible values, or are of a method this program does not
            know.
    """
    if not settings:
        raise InputError(
            f"{where} is not quantized: config.json has no quantization_config, and there is no "
            f"{' or '.join(SIDE_FILES)} beside packed weights",
            mend="Quantize it: quantserve quantize run --model DIRECTORY",
        )
    method = str(settings.get("quant_method") or "").lower()
    if method not in ("gptq", "awq", "compressed-tensors"):
        raise InputError(
            f"{where} is quantized by {method or 'an unnamed method'}, which this program does not import",
            mend="It imports gptq, awq and compressed-tensors",
        )
    try:
        json.dumps(settings, allow_nan=False)  # the manifest and config.json record them
        return _compressed(settings) if method == "compressed-tensors" else _grouped(method, settings)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{where} has quantization settings with an impossible value: {error}", mend="Fetch it again"
        ) from error


def _grouped(method: str, settings: dict[str, Any]) -> Imported:
    symmetric = settings.get("sym")
    if method == "awq" and isinstance(settings.get("zero_point"), bool):
        symmetric = not settings["zero_point"]
    group_size = settings.get("group_size", settings.get("q_group_size"))
    bits = settings.get("bits", settings.get("w_bit"))
    return Imported(
        method,
        _width(bits),
        int(group_size) if group_size is not None else None,
        bool(symmetric) if symmetric is not None else None,
        bool(settings.get("desc_act", False)) and group_size != -1,
        settings,
    )


def _width(bits: Any) -> float | None:
    if bits is None:
        return None
    if not 1 <= float(bits) <= 16:
        raise ValueError(f"{bits!r} bits")
    return float(bits)


def _compressed(settings: dict[str, Any]) -> Imported:
    groups = list((settings.get("config_groups") or {}).values())
    weights = [group.get("weights") or {} for group in groups]
    widths = {entry.get("num_bits") for entry in weights}
    sizes = {entry.get("group_size") for entry in weights}
    signs = {entry.get("symmetric") for entry in weights}
    orders = {str(entry.get("actorder")).lower() for entry in weights}
    bits = widths.pop() if len(widths) == 1 else None
    return Imported(
        "compressed-tensors",
        _width(bits),
        sizes.pop() if len(sizes) == 1 else None,
        signs.pop() if len(signs) == 1 else None,
        "group" in orders,
        settings,
    )


def refuse_layout(found: Imported, where: str) -> None:
    """Refuse a packing of the same name that nobody here can read: its weights would come out wrong.

    Raises:
        UsageError: naming the packing.
    """
    name = "version" if found.method == "awq" else "checkpoint_format"
    layout = str(found.settings.get(name) or "").lower()
    if found.settings.get("is_marlin_format"):
        layout = "marlin"
    if found.method in _LAYOUTS and layout not in ("", *_LAYOUTS[found.method]):
        raise UsageError(
            f"{where} is packed as {found.method}'s {layout}, which the engine would read wrongly",
            mend="Use the checkpoint in its plain packing, or quantize its base: quantserve quantize run",
        )


def refuse_imported(found: Imported, target: str, where: str) -> None:
    """Refuse what the engine on the target would not load.

    Raises:
        UsageError: with the reason and the conversion that helps.
    """
    refuse_layout(found, where)
    convert = f"Convert it: quantserve quantize import {where} --requantize"
    if found.desc_act:
        raise UsageError(
            f"{where} has desc_act on (columns reordered on disk), which the engine no longer loads",
            mend=convert,
        )
    if found.method == "gptq" and found.symmetric is False:
        raise UsageError(
            f"{where} is GPTQ with zero points, which the engine does not read in that layout", mend=convert
        )
    if found.method == "compressed-tensors" and found.bits is not None and 32 % int(found.bits):
        # The format leaves the rest of each word empty; the engine's loader expects codes without gaps.
        raise UsageError(
            f"{where} has {found.bits:g} bits in compressed-tensors' layout, which the engine does not load",
            mend="Quantize its base with --bits 2, 4 or 8",
        )
    if found.method in ("gptq", "awq") and found.bits is not None:
        layout_bits = (4, 8) if found.method == "gptq" else (4,)
        if int(found.bits) not in layout_bits:
            raise UsageError(
                f"{where} has {found.bits:g} bits in {found.method}'s layout, which the engine does not load",
                mend=convert,
            )
        refuse_unloadable(
            found.method, GptqOptions(bits=int(found.bits), group_size=found.group_size or -1), target
        )
