from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from quantserve.quantize.gate.measure.figures import (
    IntervalEstimate,
    agreements,
    compare_passages,
    divergences,
    per_token,
)
from tests.unit.quantize_gate.passages import passage


def test_divergence_of_two_exchanged_tokens() -> None:
    base = passage((0.5, {1: 0.5, 2: 0.25}))
    candidate = passage((0.25, {2: 0.5, 1: 0.25}))

    kl, unseen = divergences(base, candidate)

    # 0.5 ln 2 - 0.25 ln 2, and the rest of 0.25 on both sides adds nothing
    assert kl[0] == pytest.approx(0.173287, abs=1e-6)
    assert unseen[0] == 0


def test_a_changed_rest_counts_as_one_bucket() -> None:
    base = passage((0.6, {1: 0.6, 2: 0.2}))
    candidate = passage((0.6, {1: 0.6, 2: 0.3}))

    kl, _ = divergences(base, candidate)

    # 0.2 ln(2/3) + 0.2 ln(0.2/0.1)
    assert kl[0] == pytest.approx(0.057536, abs=1e-6)


def test_a_token_the_candidate_does_not_list_joins_the_rest_on_both_sides() -> None:
    base = passage((0.5, {1: 0.5, 2: 0.25}))
    candidate = passage((0.5, {1: 0.5, 3: 0.4}))

    kl, unseen = divergences(base, candidate)

    assert kl[0] == pytest.approx(0.0, abs=1e-12)
    assert unseen[0] == pytest.approx(0.25)


def test_identical_predictions_diverge_by_nothing_even_where_all_mass_is_listed() -> None:
    same = passage((0.75, {1: 0.75, 2: 0.25}))

    kl, unseen = divergences(same, same)

    assert (kl[0], unseen[0]) == (0.0, 0.0)


def test_agreement_compares_the_best_tokens_only() -> None:
    base = passage((0.5, {1: 0.5, 2: 0.2}), (0.5, {4: 0.5, 5: 0.2}))
    candidate = passage((0.5, {1: 0.5, 3: 0.2}), (0.2, {5: 0.5, 4: 0.2}))

    assert agreements(base, candidate).tolist() == [1, 0]


def test_perplexities_and_their_ratio() -> None:
    base = passage((0.5, {1: 0.5, 9: 0.1}), (0.5, {2: 0.5, 9: 0.1}))
    candidate = passage((0.25, {1: 0.25, 9: 0.1}), (0.25, {2: 0.25, 9: 0.1}))

    quality = compare_passages([base, base], [candidate, candidate], 200)

    assert quality.base_perplexity == pytest.approx(2.0)
    assert quality.candidate_perplexity == pytest.approx(4.0)
    assert quality.perplexity_ratio.value == pytest.approx(2.0)
    # every passage shows the same difference, so there is nothing to be uncertain about
    assert (quality.perplexity_ratio.low, quality.perplexity_ratio.high) == pytest.approx((2.0, 2.0))
    assert quality.top1_agreement.value == 1.0
    assert quality.tokens == 4


def test_the_interval_spans_the_passages_that_differ() -> None:
    good = passage((0.5, {1: 0.5, 9: 0.1}))
    worse = passage((0.25, {1: 0.25, 9: 0.1}))

    ratio = compare_passages([good] * 8, [good] * 4 + [worse] * 4, 2000).perplexity_ratio

    assert ratio.value == pytest.approx(math.sqrt(2))
    assert 1.0 < ratio.low < 1.3
    assert 1.55 < ratio.high < 2.0


def test_passages_are_resampled_whole_and_weighted_by_their_tokens() -> None:
    # the two passages are drawn as (first, first), (both) or (second, second): 10, 2.5 or 0
    assert per_token(np.array([10.0, 0.0]), np.array([1, 3]), 4000) == IntervalEstimate(2.5, 0.0, 10.0)


def test_an_interval_is_the_one_that_earlier_reports_hold() -> None:
    sums, counts = np.array([12.5, 3.0, -4.25, 7.75, 0.5, 20.0]), np.array([10, 4, 6, 8, 2, 30])

    found = per_token(sums, counts, 2000)

    assert (found.value, found.low, found.high) == pytest.approx((0.6583333, 0.1160714, 1.0438467), abs=1e-6)


def test_one_passage_has_no_spread() -> None:
    assert per_token(np.array([4.0]), np.array([2]), 2000) == IntervalEstimate(2.0, 2.0, 2.0)


def test_other_tokens_are_not_compared() -> None:
    one = passage((0.5, {1: 0.5, 2: 0.2}), ids=[1, 2])
    other = passage((0.5, {1: 0.5, 2: 0.2}), ids=[1, 3])

    with pytest.raises(ValueError, match="same tokens"):
        compare_passages([one], [other], 10)


def test_a_model_that_excludes_the_text_altogether_still_has_finite_figures() -> None:
    base = passage((0.5, {1: 0.5, 2: 0.25}))
    impossible = replace(base, actual=np.array([-9999.0]))

    quality = compare_passages([base], [impossible], 10)

    assert json.dumps(dataclasses.asdict(quality), allow_nan=False)
    assert quality.perplexity_ratio.value > 1e300
