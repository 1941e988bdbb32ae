"""The verdicts on artifacts of the default model that were measured in the engine, sound and damaged.

Two cores, bfloat16; the damaged ones are made by tests/damage.py from the INT8 artifact of the defaults.
Where 60 prompts were asked instead of 297 the damage is plain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from quantserve.quantize.gate.facts.comparing import Divergence, FactFindings, FactMark, FactReply
from quantserve.quantize.gate.judge.thresholds import Thresholds, thresholds_for
from quantserve.quantize.gate.judge.verdict import Findings, GateVerdict, judge
from quantserve.quantize.gate.measure.figures import IntervalEstimate
from tests.unit.quantize_gate.test_verdict import FINE, QUALITY

INT8, FOUR_BITS = thresholds_for(8, 135e6), thresholds_for(4, 135e6)
RIGHT, WRONG = FactReply("Paris.", True, False), FactReply("Rome.", False, False)


@dataclass(frozen=True)
class Measured:
    """Counts of prompts: (right before, lost, won) against the base as served, then in float32."""

    ppl_increase: float
    mean_kl: float
    top1: float
    served: tuple[int, int, int]
    exact: tuple[int, int, int]
    formed: tuple[int, int]
    exact_formed: tuple[int, int]
    """Answers that became malformed and that no longer are, against the base as served and in float32."""
    divergence: Divergence
    floor: Divergence
    asked: int = 297


ALL, SOME = Divergence(297, 112, 5217), Divergence(60, 23, 1037)
MEASURED = {
    "sound": Measured(
        0.008, 0.011, 0.917, (158, 11, 13), (155, 10, 15), (8, 1), (7, 3), Divergence(297, 205, 3522), ALL
    ),
    "scales doubled in one matrix": Measured(
        0.130, 0.086, 0.780, (158, 52, 27), (155, 49, 27), (11, 1), (10, 3), Divergence(297, 268, 1677), ALL
    ),
    "a norm folded twice in one layer": Measured(
        0.077, 0.050, 0.829, (158, 35, 17), (155, 35, 20), (14, 1), (12, 2), Divergence(297, 249, 2136), ALL
    ),
    "one layer's rows permuted": Measured(
        1.434, 0.444, 0.502, (35, 27, 3), (34, 26, 3), (6, 0), (6, 0), Divergence(60, 60, 98), SOME, 60
    ),
    "every norm folded twice": Measured(
        51.6, 0.682, 0.157, (35, 35, 0), (34, 34, 0), (60, 0), (60, 0), Divergence(60, 60, 60), SOME, 60
    ),
    "tokenizer swapped": Measured(
        0.007, 0.011, 0.923, (35, 35, 1), (34, 34, 1), (39, 0), (39, 0), Divergence(60, 60, 60), SOME, 60
    ),
    "sign of one matrix turned round": Measured(
        1.011, 0.420, 0.565, (35, 26, 1), (34, 25, 1), (2, 0), (2, 0), Divergence(60, 60, 106), SOME, 60
    ),
}


def short_prompts(one: Measured) -> FactFindings:
    """Make marks that count to what was measured.

    Losses against both bases are put on the same prompts as far as they go; the rest are on others.
    """
    rows: list[tuple[FactReply, FactReply, FactReply]] = []  # base, float32, candidate
    (right, lost, won), (exact_right, exact_lost, exact_won) = one.served, one.exact
    both_lost, both_won = min(lost, exact_lost), min(won, exact_won)
    rows += [(RIGHT, RIGHT, WRONG)] * both_lost + [(WRONG, WRONG, RIGHT)] * both_won
    rows += [(RIGHT, WRONG, WRONG)] * (lost - both_lost) + [(WRONG, RIGHT, WRONG)] * (exact_lost - both_lost)
    rows += [(WRONG, RIGHT, RIGHT)] * (won - both_won) + [(RIGHT, WRONG, RIGHT)] * (exact_won - both_won)
    kept = min(right - sum(b.right for b, _, _ in rows), exact_right - sum(e.right for _, e, _ in rows))
    rows += [(RIGHT, RIGHT, RIGHT)] * kept
    rows += [(WRONG, WRONG, WRONG)] * (one.asked - len(rows))
    (broken, mended), (exact_broken, exact_mended) = one.formed, one.exact_formed
    rows = [
        (
            replace(base, malformed=broken <= n < broken + mended),
            replace(exact, malformed=n < broken - exact_broken or broken <= n < broken + exact_mended),
            replace(candidate, malformed=n < broken),
        )
        for n, (base, exact, candidate) in enumerate(rows)
    ]
    marks = tuple(
        FactMark(f"f{n}", "en", "x", f"Q{n}?", base, candidate, exact)
        for n, (base, exact, candidate) in enumerate(rows)
    )
    return FactFindings(marks, one.divergence, one.floor)


def findings(one: Measured) -> Findings:
    ratio = 1 + one.ppl_increase
    quality = replace(
        QUALITY,
        perplexity_ratio=IntervalEstimate(ratio, ratio, ratio),
        mean_kl=IntervalEstimate(one.mean_kl, one.mean_kl, one.mean_kl),
        top1_agreement=IntervalEstimate(one.top1, one.top1, one.top1),
    )
    return replace(FINE, quality=quality, languages=(), facts=short_prompts(one))


@pytest.mark.parametrize("name", MEASURED)
def test_the_verdict_on_what_was_measured(name: str) -> None:
    verdict, _ = judge(findings(MEASURED[name]), INT8)

    assert verdict is (GateVerdict.ACCEPT if name == "sound" else GateVerdict.REGRESSION)


@pytest.mark.parametrize("name", [name for name in MEASURED if name != "sound"])
@pytest.mark.parametrize("limits", [INT8, FOUR_BITS], ids=["int8", "4 bits"])
def test_the_short_prompts_alone_tell_by_any_classs_limits(name: str, limits: Thresholds) -> None:
    """What perplexity may cost depends on bits and size; that facts may not be lost does not."""
    _, checks = judge(findings(MEASURED[name]), limits)

    assert [check.passed for check in checks if check.name == "short prompts"] == [False]


def test_a_tokenizer_that_was_swapped_shows_in_no_other_figure() -> None:
    """The candidate reads the base's token ids, so its perplexity is as good as ever."""
    _, checks = judge(findings(MEASURED["tokenizer swapped"]), INT8)

    assert [check.name for check in checks if check.passed is False] == [
        *("short prompts", "short answers", "greedy divergence, a token"),
    ]
