"""A checkpoint directory's files: which are its weights, what is in them, and what the model is called.

One place for every reader (quantize, serving, benchmarks), since a directory often holds more safetensors
than the model: Mistral's `consolidated.safetensors` beside the shards, an adapter, an earlier save. What
belongs is what the config or the index names; the rest is foreign and is read by nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quantserve.core.errors import InputError, UsageError
from quantserve.core.json_input import read_json_object, read_json_value
from quantserve.core.tensor_file import TensorInfo, read_tensor_infos, shown

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
# Any of these is a tokenizer, or most of one: fast, WordPiece, BPE, Mistral's, SentencePiece, tiktoken.
_TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json", "*.model", "*.spm", "*.tiktoken")
CONFIG_FILES = frozenset(
    {
        *("config.json", "tokenizer_config.json", "generation_config.json", "processor_config.json"),
        *("preprocessor_config.json", "video_preprocessor_config.json", "adapter_config.json"),
        *("quantize_config.json", "quant_config.json"),
    }
)
"""Configurations that the libraries read as objects. Other files have such names, too (sentence-transformers'
data_config.json is a list), and may hold whatever their programs put there."""
# transformers' config may name its file: another one than the above.
NAMED_IN_CONFIG = "transformers_weights"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")
# models--OWNER--NAME/snapshots/COMMIT, as huggingface_hub's cache lays repositories out.
_HUB_KINDS = ("models", "datasets")
# Keys of config.json that say how weights are quantized; the second is compressed-tensors' older one.
_QUANTIZATION = ("quantization_config", "compression_config")
# Tensors that only packed weights have: AutoGPTQ's and AutoAWQ's, and compressed-tensors'.
_PACKED = (".qweight", ".weight_packed")
# Symlinks beside an artifact's versions (quantize.artifact).
_RESERVED = ("current", "previous")
_FETCH = "Fetch the model again (a download resumes)"
_WHAT = "Name the folder with config.json, *.safetensors and the tokenizer in it"


@dataclass(frozen=True)
class WeightFiles:
    """The safetensors files that are the model.

    files: in the order of their names. index: the index that names them, if there is one.
    weight_map: file name of each tensor as the index gives it; None without an index.
    foreign: other safetensors files in the directory, which belong to something else.
    named_in_config: config.json itself names the file or the index.
    """

    directory: Path
    files: tuple[Path, ...]
    index: Path | None = None
    weight_map: Mapping[str, str] | None = None
    foreign: tuple[Path, ...] = ()
    named_in_config: bool = False

    @property
    def found_by_transformers(self) -> bool:
        """Whether transformers finds these files by itself; a set without an index it does not."""
        names = [path.name for path in self.files]
        return (
            self.named_in_config
            or names == [WEIGHTS]
            or (self.index is not None and self.index.name == INDEX)
        )

    @property
    def size_bytes(self) -> int:
        """Size of the files."""
        return sum(path.stat().st_size for path in self.files)

    def holds(self, path: Path, tensor: str) -> bool:
        """Whether this tensor is to be read from this file: an index may name another for it."""
        return self.weight_map is None or self.weight_map.get(tensor) == path.name


def find_weights(
    directory: Path, config: Mapping[str, Any], *, error: type[InputError] = InputError
) -> WeightFiles:
    """Return the files that the config or the index names, or the one that stands alone.

    Raises:
        InputError: as `error`: a named file is missing, there is none, or which are meant is not clear.
    """
    present = tuple(sorted(path for path in directory.glob(f"*{_SUFFIX}") if path.is_file()))
    named = config.get(NAMED_IN_CONFIG)
    if named is not None:
        return _named(directory, named, present, error)
    index = _index(directory, present, error)
    if index is not None:
        return _indexed(directory, index, present, error)
    if not present:
        raise error(f"{directory} is no checkpoint: it holds no *.safetensors", mend=_WHAT)
    files = _without_index(directory, present, error)
    return WeightFiles(directory, files, foreign=_others(present, files))


def named_weights(directory: Path, config: Mapping[str, Any], offered: Iterable[str]) -> list[str]:
    """Return those of the offered file names that config or index name, before the files are there.

    Where neither names any, it is the standard name or all of them, and `find_weights` decides afterwards.
    """
    offered = sorted(offered)
    named = config.get(NAMED_IN_CONFIG)
    if isinstance(named, str) and named in offered:
        return [named]
    indexes = sorted(directory.glob(f"*{INDEX_SUFFIX}"))
    index = directory / (named if isinstance(named, str) else INDEX)
    if not index.is_file() and WEIGHTS not in offered and len(indexes) == 1:
        index = indexes[0]
    if index.is_file():
        weight_map = read_json_object(index, mend=_FETCH).get("weight_map")
        return (
            sorted({str(name) for name in weight_map.values()}) if isinstance(weight_map, dict) else offered
        )
    return [WEIGHTS] if WEIGHTS in offered else offered


def _named(directory: Path, named: Any, present: tuple[Path, ...], error: type[InputError]) -> WeightFiles:
    """Follow config.json's own name for the weights."""
    where = f"{directory}/config.json names {shown(str(named))} as its weights"
    if not isinstance(named, str) or Path(named).name != named or not named.endswith((_SUFFIX, INDEX_SUFFIX)):
        raise error(f"{where}, which is no safetensors file beside it", mend=_FETCH)
    path = directory / named
    if not path.is_file():
        raise error(f"{where}, which is missing", mend=_FETCH)
    if named.endswith(INDEX_SUFFIX):
        return replace(_indexed(directory, path, present, error), named_in_config=True)
    return WeightFiles(directory, (path,), foreign=_others(present, (path,)), named_in_config=True)


def _index(directory: Path, present: tuple[Path, ...], error: type[InputError]) -> Path | None:
    """Return the index to follow.

    The standard name first. Another one counts only where no file has the standard name (AutoGPTQ called its
    files after the method).
    """
    if (directory / INDEX).is_file():
        return directory / INDEX
    if directory / WEIGHTS in present:
        return None
    others = sorted(path for path in directory.glob(f"*{INDEX_SUFFIX}") if path.is_file())
    if len(others) > 1:
        raise error(
            f"{directory} has several indexes ({others[0].name}, {others[1].name}) and none named {INDEX}",
            mend=f"Move away those that are not the model's, or rename the right one to {INDEX}",
        )
    return others[0] if others else None


def _indexed(directory: Path, index: Path, present: tuple[Path, ...], error: type[InputError]) -> WeightFiles:
    weight_map = read_json_object(index, error=error, mend=_FETCH).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise error(f"{index} has no weight_map, so it names no weights", mend=_FETCH)
    names: set[str] = set()
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(_SUFFIX):
            raise error(
                f"{index} names {shown(str(name))} for {shown(tensor)}, no safetensors file beside it",
                mend=_FETCH,
            )
        names.add(name)
    files = tuple(directory / name for name in sorted(names))
    for path in files:
        if not path.is_file():
            raise error(
                f"{directory} is incomplete: {path.name}, which its index names, is missing", mend=_FETCH
            )
    if index.name == INDEX and directory / WEIGHTS in present and WEIGHTS not in names:
        raise error(
            f"{directory} holds {WEIGHTS} and beside it an index of other files: transformers would read "
            "the one, the engine the others",
            mend="Move away the one that is not the model",
        )
    return WeightFiles(directory, files, index, weight_map, _others(present, files))


def _without_index(directory: Path, present: tuple[Path, ...], error: type[InputError]) -> tuple[Path, ...]:
    """Return model.safetensors, a file that is alone, or a complete numbered set; else nobody can know."""
    if directory / WEIGHTS in present:
        return (directory / WEIGHTS,)
    if len(present) == 1 and not _SHARD.fullmatch(present[0].name):
        return present
    found = [_SHARD.fullmatch(path.name) for path in present]
    sets = {(match["stem"], match["count"]) for match in found if match}
    if len(sets) != 1 or not all(found):
        raise error(
            f"{directory} holds several safetensors files and no {INDEX} says which are the model "
            f"({present[0].name}, {present[-1].name})",
            mend="Fetch the index too, or move away what is not the model",
        )
    stem, count = sets.pop()
    for number in range(1, int(count) + 1):
        name = f"{stem}-{number:05d}-of-{count}{_SUFFIX}"
        if directory / name not in present:
            raise error(f"{directory} is incomplete: {name} is missing", mend=_FETCH)
    return present


def _others(present: Iterable[Path], files: Iterable[Path]) -> tuple[Path, ...]:
    names = {path.name for path in files}
    return tuple(path for path in present if path.name not in names)


def tensor_infos(weights: WeightFiles, *, error: type[InputError] = InputError) -> dict[str, TensorInfo]:
    """Return every tensor of the model by name, from the headers of its files.

    Raises:
        InputError: as `error`: a file is truncated or damaged, a tensor is in two files, or the index and
            the files name different tensors.
    """
    found: dict[str, TensorInfo] = {}
    for path in weights.files:
        for name, info in read_tensor_infos(path, error=error, mend=_FETCH).items():
            if not weights.holds(path, name):
                _refuse_unnamed(weights, path, name, error)
                continue
            if name in found:
                raise error(
                    f"{weights.directory} has {shown(name)} in two files, and no index says which counts",
                    mend="Fetch the index too, or move away what is not the model",
                )
            found[name] = info
    for name, file in (weights.weight_map or {}).items():
        if name not in found:
            raise error(
                f"{weights.directory}/{file} lacks {shown(name)}, which the index says is in it", mend=_FETCH
            )
    return found


def _refuse_unnamed(weights: WeightFiles, path: Path, name: str, error: type[InputError]) -> None:
    """Refuse a tensor of which the index knows nothing: transformers and the engine would read it."""
    if name not in (weights.weight_map or {}):
        raise error(
            f"{path} holds {shown(name)}, which the index does not name: they are not of one model",
            mend=_FETCH,
        )


def read_config_file(path: Path, *, error: type[InputError] = InputError) -> dict[str, Any]:
    """Read a *config.json of a checkpoint; {} where it is another program's and no object.

    Raises:
        InputError: as `error`: it is no JSON, or one that the libraries read and no object.
    """
    if path.name in CONFIG_FILES:
        return read_json_object(path, error=error, mend=_FETCH)
    found = read_json_value(path, error=error, mend=_FETCH)
    return found if isinstance(found, dict) else {}


def file_with_code(directory: Path, *, error: type[InputError] = InputError) -> Path | None:
    """Return a configuration by which loading would run Python code of the checkpoint's own, or None.

    Raises:
        InputError: as `error`: see `read_config_file`.
    """
    files = (path for path in sorted(directory.glob("*config.json")) if path.is_file())
    return next((path for path in files if "auto_map" in read_config_file(path, error=error)), None)


def has_tokenizer(directory: Path) -> bool:
    """Whether a directory holds a tokenizer in any of the forms there are."""
    return any(path.is_file() for pattern in _TOKENIZERS for path in directory.glob(pattern))


def quantization_in_config(config: Mapping[str, Any]) -> Any:
    """Return what config.json itself says of how the weights are quantized, or None where it says nothing."""
    nested = config.get("text_config")
    for part in (config, nested if isinstance(nested, dict) else {}):
        for name in _QUANTIZATION:
            if part.get(name):
                return part[name]
    return None


def holds_packed(tensors: Iterable[str]) -> bool:
    """Whether some of the tensors are packed weights, as only quantized checkpoints have them."""
    return any(name.endswith(_PACKED) for name in tensors)


def hub_id(directory: Path) -> str | None:
    """Return OWNER/NAME where a directory is a snapshot in the hub client's cache, else None.

    The cache's own folder for a repository (models--OWNER--NAME) counts, too; its name tells as much.
    """
    place = directory.resolve()
    folder = place.parent.parent if place.parent.name == "snapshots" else place
    kind, *names = folder.name.split("--", maxsplit=2)
    return "/".join(names) if kind in _HUB_KINDS and names and all(names) else None


def model_id(directory: Path) -> str:
    """Return how to name the model for its origin: OWNER/NAME from a hub cache, else the folder's name."""
    return hub_id(directory) or directory.resolve().name


def model_name(directory: Path) -> str:
    """Return what to call the model: the repository's name in a hub cache, else the folder's."""
    known = hub_id(directory)
    return known.rpartition("/")[2] if known else directory.resolve().name


def artifact_name(given: str | None, directory: Path) -> str:
    """Return the name of an artifact: the one given, else the model's; it becomes a folder below artifacts/.

    Raises:
        UsageError: it is no plain folder name, or one that stands for something else there.
    """
    name = model_name(directory) if given is None else given
    if not name or name[0] in ".-" or name in _RESERVED or not name.isprintable() or set(name) & set("/\\"):
        raise UsageError(
            f"{shown(name)} cannot be an artifact's name", mend="Give a plain folder name: --name NAME"
        )
    return name
