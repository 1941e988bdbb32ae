"""Which backend runs the model on this machine: measured once, kept beside the model."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from quantserve.core.files import write_json
from quantserve.core.machine import this_machine
from quantserve.rag.config import Backend
from quantserve.rag.embedding.onnx_graph import MODEL_FILE
from quantserve.rag.embedding.trial import Trial, try_backend

CHOICE_FILE = "backend.json"
MIN_COSINE = 0.99
"""Least cosine between a faster backend's vectors and fp32's: below, its arithmetic is wrong here."""
MIN_GAIN = 1.1
"""A backend that is not so much faster than fp32 is not worth its deviation."""


def candidates(model: Path) -> tuple[Backend, ...]:
    """Return the backends worth trying, the reference first."""
    if not (model / MODEL_FILE).is_file():
        return ("huggingface",)
    with_gpu: tuple[Backend, ...] = ("huggingface",) if this_machine().gpus else ()
    return ("onnx", "onnx-int8", *with_gpu)


def best_of(trials: Sequence[Trial]) -> Backend:
    """Return the fastest backend that agrees with the first one that ran; pure.

    Where the first one (fp32) did not run, no other can be compared, and the first that ran is taken.
    """
    ran = [trial for trial in trials if not trial.failure]
    if not ran or trials[0].failure:
        return ran[0].backend if ran else trials[0].backend
    reference = trials[0]
    fit = [
        trial
        for trial in ran[1:]
        if trial.passages_per_s >= MIN_GAIN * reference.passages_per_s
        and agreement(trial, reference) >= MIN_COSINE
    ]
    return max([reference, *fit], key=lambda trial: trial.passages_per_s).backend


def agreement(trial: Trial, reference: Trial) -> float:
    """Return the least cosine between two trials' vectors."""
    ours, theirs = np.array(trial.vectors), np.array(reference.vectors)
    cosines = (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    return float(cosines.min())


def choose(
    model: Path,
    note: Callable[[str], None] = lambda _: None,
    try_one: Callable[[Path, Backend], Trial] = try_backend,
) -> Backend:
    """Return the backend for this model on this machine, measuring (some ten seconds) the first time.

    Where the model's directory cannot be written, nothing could be kept: the first candidate is taken.
    """
    wanted = candidates(model)
    if len(wanted) == 1:
        return wanted[0]
    if not os.access(model, os.W_OK):
        return wanted[0]
    identity = this_machine().identity(*map(importlib.metadata.version, ("onnxruntime", "torch")))
    path = model / CHOICE_FILE
    known = _known(path)
    if identity in known:
        kept: Backend = known[identity]["backend"]
        return kept
    note(f"trying what runs the embedding model best on this machine, once: {', '.join(wanted)}")
    trials = [try_one(model, backend) for backend in wanted]
    backend = best_of(trials)
    figures = {
        trial.backend: {"failure": trial.failure}
        if trial.failure
        else {"passages_per_s": round(trial.passages_per_s, 1), "query_ms": round(trial.query_ms, 1)}
        for trial in trials
    }
    write_json(path, {**known, identity: {"backend": backend, "trials": figures}})
    return backend


def _known(path: Path) -> dict[str, dict[str, Backend]]:
    try:
        found: dict[str, dict[str, Backend]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
