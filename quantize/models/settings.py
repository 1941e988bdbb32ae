"""Where a checkpoint says how it is quantized: in config.json, or in the file that AutoGPTQ or AutoAWQ wrote.

The engine and transformers read config.json alone, so what stands elsewhere is put into its terms here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from quantserve.core.checkpoints import holds_packed, quantization_in_config
from quantserve.core.errors import InputError

AUTOGPTQ = "quantize_config.json"
AUTOAWQ = "quant_config.json"
MODELOPT = "hf_quant_config.json"
SIDE_FILES = (AUTOGPTQ, AUTOAWQ, MODELOPT)
# AutoAWQ's own names → those that transformers reads.
_AWQ_NAMES = {"w_bit": "bits", "q_group_size": "group_size"}
# Where a quantizer found its model and put its weights; of no meaning elsewhere.
_PLACES = ("model_name_or_path", "model_file_base_name")
# What AutoGPTQ takes for a setting that its file leaves out (BaseQuantizeConfig).
_AUTOGPTQ_DEFAULTS: dict[str, Any] = {"group_size": -1, "desc_act": True, "sym": True}

Read = Callable[[Path], dict[str, Any]]


def settings_of(
    directory: Path,
    config: Mapping[str, Any],
    tensors: Iterable[str],
    read: Read,
    error: type[InputError] = InputError,
) -> dict[str, Any] | None:
    """Return how the weights are quantized, in config.json's terms; None where they are not.

    tensors: the names of the checkpoint's tensors. read: reads a JSON object from a file.

    Raises:
        InputError: as `error`: the settings are no JSON object.
    """
    value = quantization_in_config(config)
    if value is not None and not isinstance(value, dict):
        raise error(
            f"{directory}/config.json: its quantization settings are no JSON object",
            mend="Fetch the model again",
        )
    if value is not None:
        return dict(value)
    if (directory / MODELOPT).is_file():
        return {"quant_method": "modelopt", **read(directory / MODELOPT)}
    if not holds_packed(tensors):
        # A file of settings beside plain weights is about another model.
        return None
    if (directory / AUTOGPTQ).is_file():
        return _normalised(read(directory / AUTOGPTQ), "gptq")
    if (directory / AUTOAWQ).is_file():
        return _normalised(read(directory / AUTOAWQ), "awq")
    return {"quant_method": ""}


def _normalised(given: dict[str, Any], method: str) -> dict[str, Any]:
    """Put AutoGPTQ's or AutoAWQ's settings into the terms of `quantization_config`."""
    kept = {_AWQ_NAMES.get(name, name): value for name, value in given.items() if name not in _PLACES}
    # AutoGPTQ's file name was taken by AutoAWQ, too.
    if "w_bit" in given or "zero_point" in given:
        method = "awq"
    method = str(kept.pop("quant_method", None) or method).lower()
    if method == "gptq":
        kept = {**_AUTOGPTQ_DEFAULTS, **kept}
    if method == "awq":
        kept["version"] = str(kept.get("version", "gemm")).lower()
    return {"quant_method": method, **kept}
