from __future__ import annotations

from pathlib import Path

import pytest

from quantserve.quantize.gate.measure.engine import available_bytes, decide_room

GB = 10**9
ARGV = ["python", "--kv-cache-memory-bytes", str(2 * GB)]


@pytest.mark.parametrize(
    ("available", "more_weights", "on_gpu", "side_by_side"),
    [
        (9 * GB, -GB, False, True),  # (4 + 2) × 1.5 = 9; a smaller base is not counted on
        (9 * GB - 1, -GB, False, False),
        (9 * GB, GB, False, False),  # a larger base needs more than the candidate
        (10 * GB + GB // 2, GB, False, True),  # (4 + 2 + 1) × 1.5 = 10.5
        (10 * GB + GB // 2 - 1, GB, False, False),
        (900 * GB, -GB, True, False),
    ],
)
def test_two_engines_are_up_at_once_where_memory_allows(
    available: int, more_weights: int, on_gpu: bool, side_by_side: bool
) -> None:
    room = decide_room(
        argv=ARGV,
        first_bytes=4 * GB,
        available_bytes=available,
        more_weights=more_weights,
        on_gpu=on_gpu,
    )

    assert room.side_by_side is side_by_side


def test_the_decision_is_given_with_its_figures() -> None:
    room = decide_room(argv=[], first_bytes=4 * GB, available_bytes=5 * GB, more_weights=0, on_gpu=False)

    assert room.reason == "6.0 GB needed for the base, 5.0 GB free: the two take turns"


def test_unknown_memory_is_not_risked() -> None:
    room = decide_room(argv=ARGV, first_bytes=None, available_bytes=90 * GB, more_weights=0, on_gpu=False)

    assert room.side_by_side is False


@pytest.mark.parametrize(("limit", "expected"), [("3000\n", 1000), ("max\n", None)])
def test_a_containers_limit_counts(tmp_path: Path, limit: str, expected: int | None) -> None:
    (tmp_path / "memory.max").write_text(limit, encoding="ascii")
    (tmp_path / "memory.current").write_text("2000\n", encoding="ascii")

    found = available_bytes(tmp_path)

    assert found == expected if expected else found > 10**6


def test_without_a_limit_the_machines_memory_counts(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) > 10**6
