"""Whether a directory is a checkpoint that may be used: decided from file names and headers alone."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import InputError

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
# Pickles that a trainer leaves beside the weights and nobody loads with the model.
_HARMLESS_PICKLES = {"training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
_LFS_PREFIX = b"version https://git-lfs"
_PARTIAL_PATTERNS = ("*.incomplete", "*.part", "*.tmp", "*.aria2", "*.crdownload")
_MAX_HEADER_BYTES = 100 << 20


class CheckpointError(InputError):
    """A directory is not a checkpoint that can be used."""


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as its file's header describes it; `shape` of a linear layer is (output, input)."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Checkpoint:
    """What the checks learned about a directory."""

    directory: Path
    config: dict[str, Any]
    tensors: dict[str, TensorInfo]
    weight_files: tuple[Path, ...]

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
        return "quantization_config" in self.config


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: the file is a Git LFS pointer, or not a JSON object.
    """
    data = path.read_bytes()
    _refuse_lfs_pointer(path, data[: len(_LFS_PREFIX)])
    try:
        value = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not valid JSON", mend="Fetch the model again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is not a JSON object", mend="Fetch the model again")
    return value


def _refuse_lfs_pointer(path: Path, first_bytes: bytes) -> None:
    if first_bytes.startswith(_LFS_PREFIX):
        raise CheckpointError(
            f"{path} is a Git LFS pointer, not the file itself", mend=f"Run: git -C {path.parent} lfs pull"
        )


def read_safetensors_header(path: Path) -> dict[str, TensorInfo]:
    """Read a safetensors file's header and check that the file is as long as its tensors need.

    Format: 8 bytes little-endian header length, JSON header with byte offsets, then the tensors.

    Raises:
        CheckpointError: the file is a Git LFS pointer, truncated, or not safetensors at all.
    """
    size_bytes = path.stat().st_size
    mend = "The download or copy was cut short: fetch the model again"
    with path.open("rb") as stream:
        prefix = stream.read(len(_LFS_PREFIX))
        _refuse_lfs_pointer(path, prefix)
        header_bytes = int.from_bytes(prefix[:8], "little")
        if size_bytes < 8 or not 2 <= header_bytes <= min(size_bytes - 8, _MAX_HEADER_BYTES):
            raise CheckpointError(f"{path} is truncated or not a safetensors file", mend=mend)
        stream.seek(8)
        raw = stream.read(header_bytes)
    try:
        header: dict[str, Any] = json.loads(raw)
        header.pop("__metadata__", None)
        tensors = {name: TensorInfo(entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{path} has a damaged safetensors header", mend=mend) from error
    if size_bytes != 8 + header_bytes + end:
        raise CheckpointError(
            f"{path} has {size_bytes} bytes, its header asks for {8 + header_bytes + end}", mend=mend
        )
    return tensors


def check_checkpoint(directory: Path) -> Checkpoint:
    """Check a directory and describe it, reading no tensor.

    Raises:
        CheckpointError: naming the first file that rules the directory out, and the mend.
    """
    if not directory.is_dir():
        raise CheckpointError(
            f"{directory} is not a directory",
            mend="Fetch a model: python -m quantize model [ID or DIRECTORY]",
        )
    _refuse_partial_download(directory)
    if not (directory / "config.json").is_file():
        raise CheckpointError(
            f"{directory} is no checkpoint: it holds no config.json",
            mend="Name the folder with config.json, *.safetensors and the tokenizer in it",
        )
    config = read_json(directory / "config.json")
    _refuse_code(directory, config)
    weight_files = _weight_files(directory)
    tensors: dict[str, TensorInfo] = {}
    for path in weight_files:
        tensors.update(read_safetensors_header(path))
    if not any((directory / name).is_file() for name in _TOKENIZER_FILES):
        raise CheckpointError(
            f"{directory} holds no tokenizer (none of {', '.join(_TOKENIZER_FILES)})",
            mend="Copy the tokenizer's files beside the weights",
        )
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        if (directory / name).is_file():
            read_json(directory / name)
    return Checkpoint(directory, config, tensors, weight_files)


def _refuse_partial_download(directory: Path) -> None:
    # Downloaders keep unfinished files beside the others, the hub's own client in its cache folder.
    places = (directory, directory / ".cache" / "huggingface" / "download")
    for place, pattern in itertools.product(places, _PARTIAL_PATTERNS):
        for path in sorted(place.glob(pattern)):
            raise CheckpointError(
                f"{directory} is an interrupted download: {path.name} is incomplete",
                mend="Run the same command with the hub id again (it resumes), or delete the folder",
            )


def _refuse_code(directory: Path, config: dict[str, Any]) -> None:
    """Refuse what would execute code from the checkpoint when loaded."""
    if "auto_map" in config:
        raise CheckpointError(
            f"{directory}/config.json has an auto_map: loading it would run Python code from the checkpoint",
            mend="Use a model whose architecture transformers ships",
        )
    tokenizer_config = directory / "tokenizer_config.json"
    if tokenizer_config.is_file() and "auto_map" in read_json(tokenizer_config):
        raise CheckpointError(
            f"{tokenizer_config} has an auto_map: loading it would run Python code from the checkpoint",
            mend="Use a model whose tokenizer transformers ships",
        )


def _weight_files(directory: Path) -> tuple[Path, ...]:
    """Return the safetensors files, all those that the index names among them."""
    pickles = sorted(
        path.name
        for path in directory.iterdir()
        if path.suffix in PICKLE_SUFFIXES and path.name not in _HARMLESS_PICKLES
    )
    files = sorted(directory.glob("*.safetensors"))
    if pickles:
        raise CheckpointError(
            f"{directory} holds pickle weights ({pickles[0]}), which can run code when loaded",
            mend="Delete them" if files else "Convert them to safetensors, or use a revision that has them",
        )
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        needed = sorted(set(read_json(index).get("weight_map", {}).values()))
        for name in needed:
            if Path(name).name != name or not (directory / name).is_file():
                raise CheckpointError(
                    f"{directory} is incomplete: {name}, which its index names, is missing",
                    mend="Run the same download again (it resumes)",
                )
        files = [directory / name for name in needed]
    if not files:
        raise CheckpointError(
            f"{directory} is no checkpoint: it holds no *.safetensors",
            mend="Name the folder with config.json, *.safetensors and the tokenizer in it",
        )
    return tuple(files)
