from __future__ import annotations

from quantserve.quantize.gate.measure.requests import OutputSpeed, SpeedRound, speed_pairs, totals


def one_round(*seconds: float) -> SpeedRound:
    """Rounds at 1 and 8: 100 tokens each in so many seconds."""
    return SpeedRound(tuple(OutputSpeed(at, 100, s) for at, s in zip((1, 8), seconds, strict=True)), (0.1,))


def test_rounds_are_added_up() -> None:
    assert totals([one_round(1.0, 2.0), one_round(3.0, 2.0)]) == (
        OutputSpeed(1, 200, 4.0),
        OutputSpeed(8, 200, 4.0),
    )


def test_a_pair_shows_how_the_ratio_varies_from_round_to_round() -> None:
    base, candidate = [one_round(2.0, 2.0), one_round(2.0, 6.0)], [one_round(1.0, 4.0), one_round(4.0, 4.0)]

    slow, fast = speed_pairs(base, candidate)

    assert (slow.base, slow.candidate) == (50.0, 40.0)
    assert (slow.low, slow.high) == (0.5, 2.0)
    # a machine that was slow in one round hits both
    assert fast.ratio == 1.0
    assert (fast.low, fast.high) == (0.5, 1.5)


def test_one_round_has_no_spread() -> None:
    (pair, _) = speed_pairs([one_round(1.0, 1.0)], [one_round(2.0, 1.0)])

    assert (pair.ratio, pair.low, pair.high) == (0.5, None, None)
