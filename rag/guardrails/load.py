"""Read the guard file (TOML) and build its steps.

on_failure = "block"            # or "pass": what happens when a step cannot judge
window_characters = 160

[messages]
ko = "이 내용은 답할 수 없습니다."

[[input]]
kind = "rules"                  # deny and mask: own patterns, or the names of built-in ones
deny = ["override"]
mask = ["korean_id", "card_number"]
patterns = { project = "(?i)project x" }
max_characters = 2000

[[input]]
kind = "topics"
deny = ["salary of a colleague"]

[[output]]
kind = "llm"
policy = "gives medical advice"

[[output]]
kind = "nemo"
folder = "rails"
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quantserve.core.errors import InputError
from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.guardrails.base import Step
from quantserve.rag.guardrails.llm_check import LlmCheck
from quantserve.rag.guardrails.nemo import NemoRails
from quantserve.rag.guardrails.pipeline import Guardrails, OnFailure
from quantserve.rag.guardrails.rules import BUILT_IN, Rules
from quantserve.rag.guardrails.topics import Topics
from quantserve.rag.llm.client import ModelServer


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    name: str = ""


class _RulesStep(_Strict):
    kind: Literal["rules"]
    deny: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    patterns: dict[str, str] = {}
    max_characters: int | None = Field(default=None, ge=1)


class _TopicsStep(_Strict):
    kind: Literal["topics"]
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    min_similarity: float = Field(default=0.83, ge=-1, le=1)


class _LlmStep(_Strict):
    kind: Literal["llm"]
    policy: str = Field(min_length=1)


class _NemoStep(_Strict):
    kind: Literal["nemo"]
    folder: Path


_AnyStep = Annotated[_RulesStep | _TopicsStep | _LlmStep | _NemoStep, Field(discriminator="kind")]


class _GuardFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    on_failure: OnFailure = "block"
    window_characters: int = Field(default=160, ge=1)
    messages: dict[Literal["ko", "en"], str] = {}
    input: tuple[_AnyStep, ...] = ()
    output: tuple[_AnyStep, ...] = ()


def load_guardrails(path: Path, server: ModelServer, embedder: Callable[[], Embedder]) -> Guardrails:
    """Read a guard file; `server` answers its llm steps, `embedder` its topics steps.

    Raises:
        InputError: it cannot be read, or says something that does not exist.
        UsageError: a step needs a package that is not installed.
    """
    try:
        data = path.read_bytes()
        told = _GuardFile.model_validate(tomllib.loads(data.decode()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the guard file {path} cannot be read: {error}", mend="Give a TOML file") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"the guard file {path}: {where}: {first['msg']}", mend="docs/rag-answers.md describes the form"
        ) from error

    def build(step: Any) -> Step:
        name = step.name or step.kind
        if isinstance(step, _RulesStep):
            return _rules(step, name, path)
        if isinstance(step, _TopicsStep):
            return Topics(step.allow, step.deny, step.min_similarity, embedder, name)
        if isinstance(step, _LlmStep):
            return LlmCheck(step.policy, server, name)
        return NemoRails(path.parent / step.folder, name)

    return Guardrails(
        before=tuple(build(step) for step in told.input),
        after=tuple(build(step) for step in told.output),
        window_characters=told.window_characters,
        on_failure=told.on_failure,
        fingerprint=_fingerprint(data, told, path),
        messages=dict(told.messages.items()),
    )


def _fingerprint(data: bytes, told: _GuardFile, path: Path) -> str:
    """Digest a guard file and the NeMo folders that it names."""
    digest = hashlib.sha256(data)
    for step in (*told.input, *told.output):
        if isinstance(step, _NemoStep):
            for file in sorted((path.parent / step.folder).rglob("*")):
                if file.is_file():
                    digest.update(f"{file}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _rules(step: _RulesStep, name: str, path: Path) -> Rules:
    known = {**BUILT_IN, **step.patterns}

    def compiled(names: tuple[str, ...]) -> dict[str, re.Pattern[str]]:
        found = {}
        for wanted in names:
            if wanted not in known:
                raise InputError(
                    f"the guard file {path}: there is no pattern '{wanted}'",
                    mend=f"Add it to patterns, or use one of: {', '.join(BUILT_IN)}",
                )
            try:
                found[wanted] = re.compile(known[wanted])
            except re.error as error:
                raise InputError(
                    f"the guard file {path}: the pattern '{wanted}' is wrong: {error}",
                    mend="Write it as a Python regular expression, in single quotes",
                ) from error
        return found

    return Rules(name, compiled(step.deny), compiled(step.mask), step.max_characters)
