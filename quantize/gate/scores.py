"""Prompt log-probabilities as arrays: one engine's view of the evaluation text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quantserve.quantize.gate.errors import BadReply, NotFinite

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Passage:
    """One passage of T tokens; its first token has no prediction, so there are T - 1 positions."""

    ids: Ints
    """(T,) token ids."""
    actual: Floats
    """(T-1,) log-probability of the token that really comes next."""
    top_ids: Ints
    """(T-1, k) most probable tokens, best first."""
    top: Floats
    """(T-1, k) their log-probabilities."""


def parse_passage(choice: Mapping[str, Any], ids: Sequence[int], top_k: int) -> Passage:
    """Read vLLM's `prompt_logprobs` for the prompt `ids`.

    The list has one entry per prompt token. The first is None. Each other maps token ids, as strings,
    to {logprob, rank}: the k best tokens, and the actual one also when it is not among them, so k or
    k + 1 entries. The actual token's entry comes first; its rank beyond k is the true one.

    Raises:
        BadReply: the reply has another shape.
        NotFinite: a log-probability is not a finite number.
    """
    entries = choice.get("prompt_logprobs")
    if not isinstance(entries, list) or len(entries) < len(ids):
        raise BadReply("the engine gave no log-probability for some prompt tokens")
    actual, top_ids, top = [], [], []
    try:
        for token, entry in zip(ids[1:], entries[1 : len(ids)], strict=True):
            known = {int(key): _number(value["logprob"]) for key, value in entry.items()}
            best = sorted(known.items(), key=lambda item: -item[1])[:top_k]
            actual.append(known[token])
            top_ids.append([key for key, _ in best])
            top.append([value for _, value in best])
        passage = Passage(
            np.array(ids, dtype=np.int64),
            np.array(actual, dtype=np.float64),
            np.array(top_ids, dtype=np.int64).reshape(len(ids) - 1, top_k),
            np.array(top, dtype=np.float64).reshape(len(ids) - 1, top_k),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadReply(f"the engine's prompt log-probabilities cannot be read: {error!r}") from error
    if not (np.isfinite(passage.actual).all() and np.isfinite(passage.top).all()):
        raise NotFinite("the engine gave log-probabilities that are not finite: its weights are damaged")
    return passage


def _number(value: Any) -> float:
    """Return a log-probability; a server may write what is no number as null."""
    return float("nan") if value is None else float(value)


def pack(passages: Sequence[Passage]) -> bytes:
    """Return the passages as one compressed .npz file."""
    arrays = {
        f"{name}_{i}": getattr(passage, name)
        for i, passage in enumerate(passages)
        for name in ("ids", "actual", "top_ids", "top")
    }
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def unpack(data: bytes) -> tuple[Passage, ...]:
    """Read what `pack` wrote."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        count = sum(name.startswith("ids_") for name in arrays.files)
        return tuple(
            Passage(arrays[f"ids_{i}"], arrays[f"actual_{i}"], arrays[f"top_ids_{i}"], arrays[f"top_{i}"])
            for i in range(count)
        )
