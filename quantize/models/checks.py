"""Whether a directory is a checkpoint that may be used, and how it is quantized, from headers alone.

The engine and transformers read config.json alone, so settings in the file that AutoGPTQ or AutoAWQ wrote
are put into its terms here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantserve.core import json_input, tensor_file
from quantserve.core.checkpoints import (
    INDEX,
    WEIGHTS,
    WeightFiles,
    file_with_code,
    find_weights,
    has_tokenizer,
    holds_packed,
    quantization_in_config,
    read_config_file,
    tensor_infos,
)
from quantserve.core.errors import InputError
from quantserve.core.tensor_file import TensorInfo as TensorInfo

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
# Pickles that a trainer leaves beside the weights and nobody loads with the model.
_HARMLESS_PICKLES = {"training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"}
# Files that engines and transformers read as JSON objects.
_JSON_OBJECTS = frozenset(
    {"tokenizer.json", "vocab.json", "added_tokens.json", "special_tokens_map.json", "chat_template.json"}
)
# Sizes of a config.json that this program reckons with.
_SIZES = ("hidden_size", "num_hidden_layers")
_PARTIAL_PATTERNS = ("*.incomplete", "*.part", "*.tmp", "*.aria2", "*.crdownload")
_FETCH = "Fetch the model again"
_CUT = "The download or copy was cut short: fetch the model again"
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


class CheckpointError(InputError):
    """A directory is not a checkpoint that can be used."""


@dataclass(frozen=True)
class Checkpoint:
    """What the checks learned about a directory.

    weight_files: those that are the model, without others that lie beside them.
    quantization: the settings of weights that are quantized already, wherever they stand, or None.
    found_by_transformers: whether transformers, which calibrating loads the model with, finds the files.
    """

    directory: Path
    config: dict[str, Any]
    tensors: dict[str, TensorInfo]
    weight_files: tuple[Path, ...]
    quantization: dict[str, Any] | None = None
    foreign: tuple[Path, ...] = ()
    found_by_transformers: bool = True

    @property
    def elements(self) -> int:
        """Number of values in all tensors."""
        return sum(tensor.elements for tensor in self.tensors.values())

    @property
    def weight_bytes(self) -> int:
        """Size of the weight files."""
        return sum(path.stat().st_size for path in self.weight_files)

    @property
    def quantized(self) -> bool:
        """Whether the weights are quantized already."""
        return self.quantization is not None

    @property
    def settings_in_config(self) -> bool:
        """Whether config.json itself says how the weights are quantized."""
        return self.quantization is None or quantization_in_config(self.config) is not None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: the file is a Git LFS pointer, not a JSON object, or nested or long beyond reason.
    """
    return json_input.read_json_object(path, error=CheckpointError, mend=_FETCH)


def read_safetensors_header(path: Path) -> dict[str, TensorInfo]:
    """Read a safetensors file's header and check that the file is as long as its tensors need.

    Raises:
        CheckpointError: the file is a Git LFS pointer, truncated, damaged, or not safetensors at all.
    """
    return tensor_file.read_tensor_infos(path, error=CheckpointError, mend=_CUT)


def check_checkpoint(directory: Path) -> Checkpoint:
    """Check a directory and describe it, reading no tensor.

    Raises:
        CheckpointError: naming the first file that rules the directory out, and the hint.
    """
    if not directory.is_dir():
        raise CheckpointError(
            f"{directory} is not a directory",
            mend="Fetch a model: quantserve quantize model [ID or DIRECTORY]",
        )
    _refuse_partial_download(directory)
    if not (directory / "config.json").is_file():
        raise CheckpointError(
            f"{directory} is no checkpoint: it holds no config.json",
            mend="Name the folder with config.json, *.safetensors and the tokenizer in it",
        )
    config = read_json(directory / "config.json")
    _refuse_code(directory)
    _refuse_odd_sizes(directory, config)
    weights = checked_weights(directory, config)
    tensors = tensor_infos(weights, error=CheckpointError)
    if not has_tokenizer(directory):
        raise CheckpointError(
            f"{directory} holds no tokenizer (no tokenizer.json, vocab.json, vocab.txt or tokenizer.model)",
            mend="Copy the tokenizer's files beside the weights",
        )
    for path in sorted(directory.glob("*.json")):
        if path.name in _JSON_OBJECTS:
            read_json(path)
        elif path.name.endswith("_config.json"):
            read_config_file(path, error=CheckpointError)
    quantization = _settings(directory, config, tensors)
    return Checkpoint(
        directory,
        config,
        tensors,
        weights.files,
        quantization,
        weights.foreign,
        weights.found_by_transformers,
    )


def _refuse_partial_download(directory: Path) -> None:
    # Downloaders keep unfinished files beside the others, the hub's own client in its cache folder.
    places = (directory, directory / ".cache" / "huggingface" / "download")
    for place, pattern in itertools.product(places, _PARTIAL_PATTERNS):
        for path in sorted(place.glob(pattern)):
            raise CheckpointError(
                f"{directory} is an interrupted download: {path.name} is incomplete",
                mend="Run the same command with the hub id again (it resumes), or delete the folder",
            )


def _refuse_code(directory: Path) -> None:
    """Refuse what would execute code from the checkpoint when loaded."""
    path = file_with_code(directory, error=CheckpointError)
    if path is not None:
        raise CheckpointError(
            f"{path} has an auto_map: loading it would run Python code from the checkpoint",
            mend="Use a model whose architecture, tokenizer and processor transformers ships",
        )


def require_found_by_transformers(checkpoint: Checkpoint) -> None:
    """Refuse weights under names that transformers does not look for, before it is asked to load them.

    Raises:
        CheckpointError: with the name that helps.
    """
    if not checkpoint.found_by_transformers:
        one = len(checkpoint.weight_files) == 1
        raise CheckpointError(
            f"{checkpoint.directory} holds {checkpoint.weight_files[0].name}; transformers, which loads the "
            f"model to calibrate, looks for {WEIGHTS} or {INDEX}",
            mend=f"Rename it to {WEIGHTS}" if one else "Fetch the index too; --method rtn and fp8 need none",
        )


def _refuse_odd_sizes(directory: Path, config: dict[str, Any]) -> None:
    for name in _SIZES:
        value = config.get(name)
        if value is not None and (type(value) is not int or not 0 < value < 1 << 31):
            raise CheckpointError(
                f"{directory}/config.json: {name} is {tensor_file.shown(str(value))}, no count",
                mend=_FETCH,
            )


def checked_weights(directory: Path, config: dict[str, Any]) -> WeightFiles:
    """Return the weight files of a directory that holds no pickles.

    Raises:
        CheckpointError: it does, or a file is missing, or which are meant is not clear.
    """
    pickles = sorted(
        path.name
        for path in directory.iterdir()
        if path.suffix in PICKLE_SUFFIXES and path.name not in _HARMLESS_PICKLES
    )
    if pickles:
        raise CheckpointError(
            f"{directory} holds pickle weights ({pickles[0]}), which can run code when loaded",
            mend="Delete them"
            if any(directory.glob("*.safetensors"))
            else "Convert them to safetensors, or use a revision that has them",
        )
    return find_weights(directory, config, error=CheckpointError)


def _settings(directory: Path, config: Mapping[str, Any], tensors: Iterable[str]) -> dict[str, Any] | None:
    """Return how the weights are quantized, in config.json's terms; None where they are not.

    Raises:
        CheckpointError: the settings are no JSON object.
    """
    value = quantization_in_config(config)
    if value is not None and not isinstance(value, dict):
        raise CheckpointError(
            f"{directory}/config.json: its quantization settings are no JSON object", mend=_FETCH
        )
    if value is not None:
        return dict(value)
    if (directory / MODELOPT).is_file():
        return {"quant_method": "modelopt", **read_json(directory / MODELOPT)}
    if not holds_packed(tensors):
        # A file of settings beside plain weights is about another model.
        return None
    for name, method in ((AUTOGPTQ, "gptq"), (AUTOAWQ, "awq")):
        if (directory / name).is_file():
            return _normalised(read_json(directory / name), method)
    return {"quant_method": ""}


def _normalised(given: dict[str, Any], method: str) -> dict[str, Any]:
    """Put AutoGPTQ's or AutoAWQ's settings into the terms of `quantization_config`."""
    settings = {_AWQ_NAMES.get(name, name): value for name, value in given.items() if name not in _PLACES}
    # AutoGPTQ's file name was taken by AutoAWQ, too.
    if "w_bit" in given or "zero_point" in given:
        method = "awq"
    method = str(settings.pop("quant_method", None) or method).lower()
    if method == "gptq":
        settings = {**_AUTOGPTQ_DEFAULTS, **settings}
    if method == "awq":
        settings["version"] = str(settings.get("version", "gemm")).lower()
    return {"quant_method": method, **settings}
