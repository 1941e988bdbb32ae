"""The timeline of slots: which request occupied which slot when, and when it only waited for others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from quantserve.benchmarks.store import Measured
from quantserve.core.report.plots import COLOURS, save


@dataclasses.dataclass(frozen=True)
class Stay:
    """One request in one slot; seconds from the first send of its cell."""

    slot: int
    began_s: float
    own_end_s: float
    left_s: float


def lanes(measured: Measured, epoch_s: float) -> list[Stay]:
    """Stays of a cell: as the server reported them, or for a continuous server one stay per request.

    vLLM does not say which slot a request has, so its requests are dealt to the first free lane; each
    stays from its first token (the prefill's end) to its last.
    """
    good = [r for r in measured.records if r.ok and r.phase == "measure" and r.token_s]
    if not good:
        return []
    zero = min(r.sent_s for r in good)
    if all(r.extra and "began_s" in r.extra for r in good):
        return [
            Stay(
                slot=int(r.extra["slot"]),
                began_s=r.extra["began_s"] - epoch_s - zero,
                own_end_s=r.extra["own_end_s"] - epoch_s - zero,
                left_s=r.extra["ended_s"] - epoch_s - zero,
            )
            for r in good
            if r.extra
        ]
    free: list[float] = []
    stays = []
    for record in sorted(good, key=lambda r: r.sent_s):
        began, ended = record.sent_s - zero, record.token_s[-1] - zero
        slot = next((number for number, until in enumerate(free) if until <= began), len(free))
        if slot == len(free):
            free.append(ended)
        else:
            free[slot] = ended
        stays.append(Stay(slot, began, ended, ended))
    return stays


def usefulness(stays: Sequence[Stay], slots: int) -> float | None:
    """Share of slot time, from the first start to the last end, spent on requests that needed tokens."""
    if not stays:
        return None
    span = max(stay.left_s for stay in stays) - min(stay.began_s for stay in stays)
    return sum(stay.own_end_s - stay.began_s for stay in stays) / (span * slots) if span > 0 else None


def draw(ways: Mapping[str, Sequence[Stay]], slots: int, path: Path) -> None:
    """One panel per way, on one time axis."""
    if not ways:
        return
    shown = min(slots, 16)
    height = 0.7 + 0.11 * shown
    figure, column = plt.subplots(
        len(ways), 1, figsize=(9.5, height * len(ways) + 0.6), sharex=True, squeeze=False
    )
    for axes, (way, stays) in zip(column[:, 0], ways.items(), strict=True):
        for stay in stays:
            if stay.slot < shown:
                axes.barh(
                    stay.slot,
                    stay.own_end_s - stay.began_s,
                    left=stay.began_s,
                    color=COLOURS[0],
                    height=0.82,
                    edgecolor="white",
                    linewidth=0.4,
                )
                axes.barh(
                    stay.slot, stay.left_s - stay.own_end_s, left=stay.own_end_s, color="#F0B060", height=0.82
                )
        use = usefulness(stays, slots)
        axes.set_title(f"{way}: slots at work {use:.0%} of the time" if use is not None else way)
        axes.set_ylim(-0.6, shown - 0.4)
        axes.set_yticks([])
        axes.set_ylabel(f"{shown} slots")
        axes.grid(axis="y", visible=False)
    column[-1, 0].set_xlabel("seconds")
    figure.tight_layout()
    save(figure, path)
