"""What a quantized checkpoint made elsewhere says of itself, and whether its packed weights are that.

AutoGPTQ packs the inputs of qweight (in * bits / 32, out), AutoAWQ the outputs (in, out * bits / 32);
scales are (groups, out) and qzeros (groups, out * bits / 32) in both. The engine looks at some shapes and
at no more. Shapes come from the headers; of the tensors only `g_idx` is read, which the engine does not: it
takes columns in their order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import safe_open

from quantserve.core.errors import InputError, UsageError
from quantserve.quantize.config import GptqOptions
from quantserve.quantize.methods.registry import refuse_unloadable
from quantserve.quantize.models.checks import SIDE_FILES, Checkpoint, TensorInfo

# How codes lie in words: AutoAWQ's `version`, AutoGPTQ's `checkpoint_format`. The engine reads no other and
# looks at neither.
_LAYOUTS = {"awq": ("gemm",), "gptq": ("gptq", "gptq_v2")}
_WORD_BITS = 32
_LAYER = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")
_HINT = "Fetch it again, or quantize its 16-bit base: quantserve quantize run --model BASE"


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


def check_consistency(checkpoint: Checkpoint, found: Imported) -> None:
    """Refuse packed weights that are not what the settings say, or not all of the model's.

    Raises:
        InputError: naming the module.
    """
    if found.method not in ("gptq", "awq") or not found.bits:
        return
    packed = [name.removesuffix(".qweight") for name in checkpoint.tensors if name.endswith(".qweight")]
    if not packed:
        raise InputError(f"{checkpoint.directory} holds no packed weights", mend=_HINT)
    own = _rules(found)
    for module in packed:
        if any(re.match(rule, module) for rule in own):
            continue
        problem = _wrong(checkpoint.tensors, module, found)
        if problem:
            raise InputError(f"{checkpoint.directory}: {module} {problem}", mend=_HINT)
    _require_layers(checkpoint)
    if found.method == "gptq" and found.group_size:
        _require_order(checkpoint, found.group_size)


def _rules(found: Imported) -> list[str]:
    """Return the patterns of modules with settings of their own, as GPTQModel writes them (`dynamic`)."""
    dynamic = found.settings.get("dynamic")
    rules = dynamic.items() if isinstance(dynamic, dict) else ()
    return [str(rule).removeprefix("+:") for rule, own in rules if own and not str(rule).startswith("-:")]


def _wrong(tensors: Mapping[str, TensorInfo], module: str, found: Imported) -> str:
    """Return what is wrong with one module; "" where it is as the settings say."""
    parts = {part: tensors.get(f"{module}.{part}") for part in ("qweight", "scales", "qzeros")}
    lost = [part for part, info in parts.items() if info is None]
    if lost:
        return f"has no {' and no '.join(lost)}"
    bits = int(found.bits or 0)
    rows, columns = _matrix(parts["qweight"])
    inputs, outputs = (
        (rows * _WORD_BITS // bits, columns)
        if found.method == "gptq"
        else (rows, columns * _WORD_BITS // bits)
    )
    size = found.group_size
    groups = _matrix(parts["scales"])[0] if size is None else 1 if size < 1 else -(-inputs // size)
    wanted = {"scales": (groups, outputs), "qzeros": (groups, outputs * bits // _WORD_BITS)}
    for part, shape in wanted.items():
        if _matrix(parts[part]) != shape:
            return f"has {part} of shape {_matrix(parts[part])}, and its settings ask for {shape}"
    return ""


def _matrix(info: TensorInfo | None) -> tuple[int, int]:
    shape = info.shape if info is not None else ()
    return (shape[0], shape[1]) if len(shape) == 2 else (0, 0)


def _require_layers(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint of fewer layers than its configuration has.

    Raises:
        InputError: it is one.
    """
    config = checkpoint.config.get("text_config") or checkpoint.config
    wanted = config.get("num_hidden_layers")
    there = {int(match[1]) for name in checkpoint.tensors if (match := _LAYER.search(name))}
    if isinstance(wanted, int) and there and not there >= set(range(wanted)):
        first = min(set(range(wanted)) - there)
        raise InputError(f"{checkpoint.directory} holds no layer {first} of {wanted}", mend=_HINT)


def _require_order(checkpoint: Checkpoint, group_size: int) -> None:
    """Refuse columns in another order than the engine takes them in.

    Raises:
        InputError: with the way out.
    """
    for path in checkpoint.weight_files:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118  no mapping
                if not name.endswith(".g_idx"):
                    continue
                groups = np.asarray(file.get_tensor(name))
                size = group_size if group_size > 0 else len(groups)
                if not np.array_equal(groups, np.arange(len(groups)) // size):
                    raise InputError(
                        f"{checkpoint.directory}: {name} puts columns into another order, which the engine "
                        "does not read",
                        mend="Convert it: quantserve quantize import DIRECTORY --requantize",
                    )
