"""From the directory a user names to something that may be served, checked without loading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quantserve.core.checkpoints import (
    INDEX,
    WeightFiles,
    file_with_code,
    find_weights,
    has_tokenizer,
    holds_packed,
    model_name,
    quantization_in_config,
    tensor_infos,
)
from quantserve.core.tensor_file import read_tensor_infos
from quantserve.quantize.artifact import ArtifactError, is_artifact, read_manifest, read_report
from quantserve.serving.errors import TargetError
from quantserve.serving.inspection import Views, not_served
from quantserve.serving.model import ModelFacts, read_config, read_model_facts
from quantserve.serving.verify import verify

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


@dataclass(frozen=True)
class Target:
    """A directory that may be served. `version` is None for a plain checkpoint."""

    directory: Path
    name: str
    version: str | None
    method: str | None
    bits: float | None
    facts: ModelFacts
    verdict: str | None = None
    """What the quality gate said of an artifact; None where it was not asked."""


def resolve_target(
    given: Path, *, stamps: Path | None = None, full_check: bool = False, views: Views | None = None
) -> Target:
    """Resolve symlinks once, check the files and read what the plan needs.

    `stamps` remembers what was found right, so that it need not be hashed again (serving.verify). `views`
    asks the engine; without it only what our own reading refuses is refused.

    Raises:
        TargetError, ArtifactError: the directory is missing, unsafe, damaged or no checkpoint.
    """
    directory = given.resolve()
    if not directory.is_dir():
        raise TargetError(f"{given} is not a directory", mend="Make one: quantserve quantize model, or run")
    if is_artifact(directory):
        manifest = read_manifest(directory)
        verify(directory, manifest, stamps, full=full_check)
        name, version = manifest.name, manifest.version
        method, bits = manifest.method, manifest.bits
    else:
        name, version, method, bits = model_name(directory), None, None, None
    _refuse_code(directory)
    config = read_config(directory)
    view = views.of(directory) if views is not None else None
    _refuse_unsafe(directory)
    weights = find_weights(directory, config, error=TargetError)
    _refuse_foreign(weights)
    tensors = tensor_infos(weights, error=TargetError)
    if quantization_in_config(config) is None and holds_packed(tensors):
        raise TargetError(
            f"{directory} is quantized, but its config.json does not say how, so the engine cannot know",
            mend=f"Import it: quantserve quantize import {directory}",
        )
    facts = read_model_facts(directory, view, config=config, weights=weights)
    return Target(directory, name, version, method, bits, facts, _verdict(directory))


def _verdict(directory: Path) -> str | None:
    try:
        verdict = read_report(directory).get("verdict")
    except ArtifactError:
        return None  # the gate, not the server, needs the report to be whole
    return verdict if isinstance(verdict, str) else None


def _refuse_code(directory: Path) -> None:
    """Refuse checkpoints that bring their own code, and pipelines, which are no single model."""
    if (directory / "model_index.json").is_file():
        raise not_served(directory, "it is a pipeline of diffusion models")
    path = file_with_code(directory, error=TargetError)
    if path is not None:
        raise TargetError(
            f"{path} has an auto_map: the checkpoint wants to run code of its own",
            mend="Use a model whose architecture vLLM knows",
        )


def _refuse_unsafe(directory: Path) -> None:
    """Refuse weights that run code when loaded, and directories that lack what a model needs."""
    if not any(directory.glob("*.safetensors")):
        pickles = [path.name for pattern in _PICKLES for path in directory.glob(pattern)]
        if pickles:
            raise TargetError(
                f"{directory} holds pickled weights ({pickles[0]}), which run code when loaded",
                mend="Convert them to safetensors",
            )
    if not has_tokenizer(directory):
        raise TargetError(f"{directory} has no tokenizer", mend="Copy tokenizer.json beside the weights")


def _refuse_foreign(weights: WeightFiles) -> None:
    """Refuse files that the engine would read as the model's, though they are not.

    It reads every *.safetensors there is, unless an index of the standard name says which are meant.
    """
    if weights.foreign and (weights.index is None or weights.index.name != INDEX):
        raise TargetError(
            f"{weights.directory} holds {weights.foreign[0].name} beside the model's "
            f"{weights.files[0].name}, and the engine would read both",
            mend="Move away the one that is not the model",
        )


def check_safetensors(path: Path) -> None:
    """Compare a file's length with what its header says, so a cut file is found at once.

    Raises:
        TargetError: it is truncated or damaged.
    """
    read_tensor_infos(path, error=TargetError)


def safetensors_shapes(path: Path) -> dict[str, list[int]]:
    """Return the shape of each tensor in a file.

    Raises:
        TargetError: it is truncated or damaged.
    """
    return {name: list(info.shape) for name, info in read_tensor_infos(path, error=TargetError).items()}
