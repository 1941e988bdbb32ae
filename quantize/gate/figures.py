"""Pure arithmetic: from two models' log-probabilities on the same text to figures with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantserve.quantize.gate.scores import Floats, Ints, Passage

_SMALLEST_MASS = 1e-8
"""Below this, what float32 log-probabilities leave of the total mass is rounding."""
_LARGEST_EXPONENT = 700.0
"""exp of more is no finite float. vLLM writes -9999 for a log-probability of minus infinity."""
PERCENTILES = (10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
"""Of the KL divergence over positions, for the plot."""
_SEED = 20221031
_LEVEL = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
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
    perplexity_ratio: Estimate
    """exp of the mean extra negative log-likelihood per token."""
    mean_kl: Estimate
    """Mean KL(base || candidate) in nats per token, a lower bound: see `divergences`."""
    p99_kl: float
    """99th percentile over positions of the same."""
    unseen_mass: float
    """Mean base probability of tokens that the candidate does not list: what the bound leaves open."""
    top1_agreement: Estimate
    """Share of positions where both put the same token first."""
    kl_percentiles: tuple[float, ...] = ()
    """The divergence at PERCENTILES of the positions."""


@dataclass(frozen=True)
class LanguageQuality:
    """The same on the passages of one language; `judged` when the model was made for it."""

    language: str
    judged: bool
    quality: Quality


def divergences(base: Passage, candidate: Passage) -> tuple[Floats, Floats]:
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


def agreements(base: Passage, candidate: Passage) -> Ints:
    """Return 1 per position where the most probable token is the same, else 0."""
    same: Ints = (base.top_ids[:, 0] == candidate.top_ids[:, 0]).astype(np.int64)
    return same


def resampled_means(sums: Floats, counts: Ints, samples: int) -> Floats:
    """Return bootstrap means of a per-token figure, resampling whole passages.

    Tokens of one passage depend on each other, so passages are what is drawn with replacement (the
    cluster bootstrap; Efron and Tibshirani 1993, chapter 8). Both models are measured on the same
    passages, so their difference is resampled as one figure (paired; Koehn 2004).
    """
    drawn = np.random.default_rng(_SEED).integers(0, len(sums), size=(samples, len(sums)))
    means: Floats = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means


def _estimate(per_token: Sequence[Floats], samples: int) -> Estimate:
    sums = np.array([values.sum() for values in per_token], dtype=np.float64)
    counts = np.array([len(values) for values in per_token], dtype=np.int64)
    low, high = np.percentile(resampled_means(sums, counts, samples), _LEVEL)
    return Estimate(float(sums.sum() / counts.sum()), float(low), float(high))


def _exp(exponent: float) -> float:
    return float(np.exp(min(exponent, _LARGEST_EXPONENT)))


def compare_passages(base: Sequence[Passage], candidate: Sequence[Passage], samples: int) -> Quality:
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
        perplexity_ratio=Estimate(_exp(extra.value), _exp(extra.low), _exp(extra.high)),
        mean_kl=_estimate([kl for kl, _ in bounds], samples),
        p99_kl=float(np.percentile(all_kl, 99)),
        unseen_mass=float(np.concatenate([unseen for _, unseen in bounds]).mean()),
        top1_agreement=_estimate([agreements(*pair).astype(np.float64) for pair in pairs], samples),
        kl_percentiles=tuple(float(value) for value in np.percentile(all_kl, PERCENTILES)),
    )
