"""The semantic cache measured on pairs of questions: wrong hits among near misses, hits among paraphrases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table
from scipy.stats import binomtest

from quantserve.core.stats import Estimate
from quantserve.rag.cache.answers import question_key
from quantserve.rag.cache.calibration import (
    QuestionPair,
    calibration_pairs,
    figures_of,
    verdicts_of,
    why_refused,
)
from quantserve.rag.cache.judge import SameAnswerJudge
from quantserve.rag.config import CacheConfig
from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.text import language_of


@dataclass(frozen=True)
class PairFigures:
    """By rule: the share of near misses and of paraphrases that were hits, with Wilson's 95 % intervals."""

    near_misses: dict[str, Estimate]
    paraphrases: dict[str, Estimate]
    by_kind: dict[str, str]
    """False hits of cosine and judge together, by what differs and language: "2 of 26"."""
    unclear: int
    """Pairs about which the judge said neither yes nor no."""
    verdict: str
    """Whether the judge passes the built-in calibration."""

    def as_json(self) -> dict[str, Any]:
        """Return it as the last line has it."""
        return asdict(self)


def measure_pairs(
    pairs: Sequence[QuestionPair],
    embedder: Embedder,
    judge: SameAnswerJudge | None,
    config: CacheConfig,
    advance: Callable[[], None],
) -> PairFigures:
    """Judge every pair, and the built-in ones.

    Raises:
        JudgeFailed: the judge did not answer, or cannot judge.
    """
    cosine = list(_close(pairs, embedder, config.min_similarity))
    closeness = f"cosine ≥ {config.min_similarity:.2f}"
    hits = {
        "exact": [question_key(pair.one) == question_key(pair.other) for pair in pairs],
        f"{closeness} alone": cosine,
    }
    unclear, verdict, decided = 0, "", cosine
    if judge is not None:
        known = calibration_pairs()
        calibration = figures_of(known, verdicts_of(judge, known, advance))
        verdicts = verdicts_of(judge, pairs, advance)
        unclear = verdicts.count(None)
        decided = [close and bool(said) for close, said in zip(cosine, verdicts, strict=True)]
        hits |= {f"{closeness}, {judge.name}": decided, f"{judge.name} alone": [bool(v) for v in verdicts]}
        verdict = why_refused(judge.name, calibration, config.max_false_hits) or (
            f"{judge.name} passes the calibration: {calibration.false_hits} false hits of "
            f"{calibration.near_misses}, {calibration.hits} hits of {calibration.paraphrases}"
        )
    return PairFigures(
        near_misses={name: _share(rule, pairs, same=False) for name, rule in hits.items()},
        paraphrases={name: _share(rule, pairs, same=True) for name, rule in hits.items()},
        by_kind=_by_kind(pairs, decided),
        unclear=unclear,
        verdict=verdict,
    )


def table(figures: PairFigures) -> Table:
    """Return the figures for people."""
    shown = Table("hit by", "false hits of near misses", "hits of paraphrases", title="Semantic cache")
    for name, false_hits in figures.near_misses.items():
        shown.add_row(name, _told(false_hits), _told(figures.paraphrases[name]))
    return shown


def _close(pairs: Sequence[QuestionPair], embedder: Embedder, least: float) -> Iterator[bool]:
    one = embedder.embed_queries([pair.one for pair in pairs])
    other = embedder.embed_queries([pair.other for pair in pairs])
    for cosine in np.einsum("ij,ij->i", np.asarray(one), np.asarray(other)):
        yield bool(cosine >= least)


def _share(hits: Sequence[bool], pairs: Sequence[QuestionPair], *, same: bool) -> Estimate:
    counted = [hit for hit, pair in zip(hits, pairs, strict=True) if pair.same == same]
    low, high = binomtest(sum(counted), len(counted)).proportion_ci(0.95, "wilson")
    return Estimate(sum(counted) / len(counted), float(low), float(high), len(counted))


def _by_kind(pairs: Sequence[QuestionPair], hits: Sequence[bool]) -> dict[str, str]:
    kinds = [f"{pair.kind}, {language_of(pair.one)}" for pair in pairs if not pair.same]
    false_hits = Counter(
        f"{pair.kind}, {language_of(pair.one)}"
        for pair, hit in zip(pairs, hits, strict=True)
        if hit and not pair.same
    )
    return {kind: f"{false_hits[kind]} of {count}" for kind, count in Counter(kinds).items()}


def _told(share: Estimate) -> str:
    count = round(share.mean * share.n)
    return f"{count} of {share.n}: {share.mean:.1%} ({share.low:.1%}…{share.high:.1%})"
