"""From two models' log-probabilities on the same text to figures with their uncertainty."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quantserve.quantize.gate.measure.errors import BadReply, NotFinite

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_SMALLEST_MASS = 1e-8
"""Below this, what float32 log-probabilities leave of the total mass is rounding."""
_LARGEST_EXPONENT = 700.0
"""exp of more is no finite float. vLLM writes -9999 for a log-probability of minus infinity."""
PERCENTILES = (10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
"""Of the KL divergence over positions, for the plot."""
_SEED = 20221031


@dataclass(frozen=True)
class ScoredPassage:
    """One passage of T tokens; its first token has no prediction, so there are T - 1 positions."""

    ids: Ints
    """(T,) token ids."""
    actual: Floats
    """(T-1,) log-probability of the token that really comes next."""
    top_ids: Ints
    """(T-1, k) most probable tokens, best first."""
    top: Floats
    """(T-1, k) their log-probabilities."""


def parse_passage(choice: Mapping[str, Any], ids: Sequence[int], top_k: int) -> ScoredPassage:
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
            known = {int(key): _log_probability(value["logprob"]) for key, value in entry.items()}
            best = sorted(known.items(), key=lambda item: -item[1])[:top_k]
            actual.append(known[token])
            top_ids.append([key for key, _ in best])
            top.append([value for _, value in best])
        passage = ScoredPassage(
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


def _log_probability(value: Any) -> float:
    """Return a log-probability; a server may write what is no number as null."""
    return float("nan") if value is None else float(value)


def pack_passages(passages: Sequence[ScoredPassage]) -> bytes:
    """Return the passages as one compressed .npz file."""
    arrays = {
        f"{name}_{i}": getattr(passage, name)
        for i, passage in enumerate(passages)
        for name in ("ids", "actual", "top_ids", "top")
    }
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def unpack_passages(data: bytes) -> tuple[ScoredPassage, ...]:
    """Read what `pack` wrote."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        count = sum(name.startswith("ids_") for name in arrays.files)
        return tuple(
            ScoredPassage(
                arrays[f"ids_{i}"], arrays[f"actual_{i}"], arrays[f"top_ids_{i}"], arrays[f"top_{i}"]
            )
            for i in range(count)
        )


@dataclass(frozen=True)
class IntervalEstimate:
    """A figure and its 95 % bootstrap confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Quality:
    """How far the candidate's predictions are from the base's on the evaluation text."""

    tokens: int
    """Predicted positions."""
    base_perplexity: float
    candidate_perplexity: float
    perplexity_ratio: IntervalEstimate
    """exp of the mean extra negative log-likelihood per token."""
    mean_kl: IntervalEstimate
    """Mean KL(base || candidate) in nats per token, a lower bound: see `divergences`."""
    p99_kl: float
    """99th percentile over positions of the same."""
    unseen_mass: float
    """Mean base probability of tokens that the candidate does not list: what the bound leaves open."""
    top1_agreement: IntervalEstimate
    """Share of positions where both put the same token first."""
    kl_percentiles: tuple[float, ...] = ()
    """The divergence at PERCENTILES of the positions."""


@dataclass(frozen=True)
class LanguageQuality:
    """The same on the passages of one language; `judged` when the model was made for it."""

    language: str
    judged: bool
    quality: Quality


def divergences(base: ScoredPassage, candidate: ScoredPassage) -> tuple[Floats, Floats]:
    """Return KL(base || candidate) in nats and the unseen base mass, one value per position.

    The vocabulary is divided into the base's top k tokens, each by itself, and one bucket for all the
    rest. A token of the base's top k that the candidate does not list among its own has an unknown
    probability there and joins the bucket on both sides. Merging outcomes can only lower a divergence
    (Kullback and Leibler 1951; the log-sum inequality, Cover and Thomas 2006, theorem 2.7.1), so the
    figure is a lower bound of the true KL divergence. The base probability that joined is the second
    result: near 0, the bound is tight.
    """
    same = base.top_ids[:, :, None] == candidate.top_ids[:, None, :]
    listed = same.any(axis=2)
    theirs = np.take_along_axis(candidate.top, same.argmax(axis=2), axis=1)
    p = np.where(listed, np.exp(base.top), 0.0)
    q = np.where(listed, np.exp(theirs), 0.0)
    p_rest = np.maximum(1.0 - p.sum(axis=1), _SMALLEST_MASS)
    q_rest = np.maximum(1.0 - q.sum(axis=1), _SMALLEST_MASS)
    kl = np.where(listed, p * (base.top - theirs), 0.0).sum(axis=1) + p_rest * np.log(p_rest / q_rest)
    unseen = np.where(listed, 0.0, np.exp(base.top)).sum(axis=1)
    return np.maximum(kl, 0.0), unseen


def agreements(base: ScoredPassage, candidate: ScoredPassage) -> Ints:
    """Return 1 per position where the most probable token is the same, else 0."""
    same: Ints = (base.top_ids[:, 0] == candidate.top_ids[:, 0]).astype(np.int64)
    return same


def per_token(sums: Floats, counts: Ints, samples: int) -> IntervalEstimate:
    """Return the mean per token of a figure that passages sum up, with its bootstrap interval.

    Tokens of one passage depend on each other, so whole passages are what is drawn with replacement (the
    cluster bootstrap; Efron and Tibshirani 1993, chapter 8). Both models are measured on the same passages,
    so their difference is resampled as one figure (paired; Koehn 2004).
    """
    from quantserve.core.stats import bootstrap_interval  # scipy takes a second: only measuring waits for it

    def mean(sums: Floats, counts: Ints, axis: int = -1) -> Floats:
        means: Floats = sums.sum(axis=axis) / counts.sum(axis=axis)
        return means

    value = float(mean(sums, counts))
    if len(sums) == 1:
        return IntervalEstimate(value, value, value)
    return IntervalEstimate(value, *bootstrap_interval((sums, counts), mean, samples, _SEED))


def _estimate(values: Sequence[Floats], samples: int) -> IntervalEstimate:
    sums = np.array([one.sum() for one in values], dtype=np.float64)
    return per_token(sums, np.array([len(one) for one in values], dtype=np.int64), samples)


def _exp(exponent: float) -> float:
    return float(np.exp(min(exponent, _LARGEST_EXPONENT)))


def compare_passages(
    base: Sequence[ScoredPassage], candidate: Sequence[ScoredPassage], samples: int
) -> Quality:
    """Return the quality figures of a candidate against its base on the same passages.

    Perplexity is exp(-mean log p(token)) (Jelinek et al. 1977); the ratio's interval comes from the mean
    difference, which is far steadier than either perplexity alone.

    Raises:
        ValueError: the passages are not the same tokens, or there are none.
    """
    pairs = list(zip(base, candidate, strict=True))
    if not pairs or any(not np.array_equal(one.ids, other.ids) for one, other in pairs):
        raise ValueError("base and candidate were not measured on the same tokens")
    bounds = [divergences(one, other) for one, other in pairs]
    extra = _estimate([one.actual - other.actual for one, other in pairs], samples)
    all_kl = np.concatenate([kl for kl, _ in bounds])
    return Quality(
        tokens=len(all_kl),
        base_perplexity=_exp(-np.concatenate([one.actual for one in base]).mean()),
        candidate_perplexity=_exp(-np.concatenate([one.actual for one in candidate]).mean()),
        perplexity_ratio=IntervalEstimate(_exp(extra.value), _exp(extra.low), _exp(extra.high)),
        mean_kl=_estimate([kl for kl, _ in bounds], samples),
        p99_kl=float(np.percentile(all_kl, 99)),
        unseen_mass=float(np.concatenate([unseen for _, unseen in bounds]).mean()),
        top1_agreement=_estimate([agreements(*pair).astype(np.float64) for pair in pairs], samples),
        kl_percentiles=tuple(float(value) for value in np.percentile(all_kl, PERCENTILES)),
    )
