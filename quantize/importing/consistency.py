"""Whether packed weights are what their settings say. The engine looks at some shapes, and at no more.

AutoGPTQ packs the inputs of qweight (in * bits / 32, out), AutoAWQ the outputs (in, out * bits / 32); scales
are (groups, out) and qzeros (groups, out * bits / 32) in both. Shapes come from the headers; of the tensors
only `g_idx` is read, which the engine does not: it takes columns in their order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from safetensors import safe_open

from quantserve.core.errors import InputError
from quantserve.quantize.importing.recognise import Imported
from quantserve.quantize.models.checks import Checkpoint, TensorInfo

_WORD_BITS = 32
_LAYER = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")
_MEND = "Fetch it again, or quantize its 16-bit base: quantserve quantize run --model BASE"


def check_consistency(checkpoint: Checkpoint, found: Imported) -> None:
    """Refuse packed weights that are not what the settings say, or not all of the model's.

    Raises:
        InputError: naming the module.
    """
    if found.method not in ("gptq", "awq") or not found.bits:
        return
    packed = [name.removesuffix(".qweight") for name in checkpoint.tensors if name.endswith(".qweight")]
    if not packed:
        raise InputError(f"{checkpoint.directory} holds no packed weights", mend=_MEND)
    own = _rules(found)
    for module in packed:
        if any(re.match(rule, module) for rule in own):
            continue
        problem = _wrong(checkpoint.tensors, module, found)
        if problem:
            raise InputError(f"{checkpoint.directory}: {module} {problem}", mend=_MEND)
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
        raise InputError(f"{checkpoint.directory} holds no layer {first} of {wanted}", mend=_MEND)


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
