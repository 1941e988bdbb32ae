"""The reading order of a PDF page with columns or tables, which have no marks but their places on paper.

Lines with a wide gap at the same place, one below the other, have a gutter between them. Long pieces on both
sides are columns of running text, read one after the other; short ones are a table, read by rows. Pages
without gutters keep the order that PDFium gives. Where a table has rules between its rows, they say which
lines are one row. Pure: pieces of text with their places in, lines of text out.
"""

from __future__ import annotations

import bisect
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from quantserve.rag.loaders.grid import table_text
from quantserve.rag.loaders.table import is_header

Interval = tuple[float, float]
_GUTTER_HEIGHTS = 1.4
"""Least width of a gutter, in heights of a line: a blank between words is a quarter of one."""
_NARROW_HEIGHTS = 0.5
_LINES_FOR_NARROW = 3
_SAME_LINE_HEIGHTS = 0.6
_PROSE_WIDTH = 18
"""From this median width (a Korean letter counts two) pieces side by side are columns of running text."""
_MOST_PROSE_COLUMNS = 4
_CONTINUES = 0.85
"""A line without a first cell that is this much closer than rows are goes on with the row above."""
_FAR = 2.5
"""A line so many times further down than the others are ends a band."""
_LINES_FOR_PITCH = 30
_RULED = 0.4
"""Rules part rows where there are at least so many rows for each line; else they only set off the heading."""
_MARKER = re.compile(r"[^\w\s]{1,2}|[\dA-Za-z가-하]{1,3}[.)]|\(\d{1,3}\)|[①-⑳]")


@dataclass(frozen=True)
class Piece:
    """Text that stands together, in points from the page's lower left corner."""

    left: float
    bottom: float
    right: float
    top: float
    text: str


@dataclass
class _Line:
    y: float
    raw: list[Piece]
    """As PDFium gives them."""
    pieces: list[Piece]
    """Those with no gutter between them joined."""

    @property
    def text(self) -> str:
        return " ".join(piece.text.strip() for piece in self.pieces)


def page_lines(pieces: Sequence[Piece], rules: Callable[[], Sequence[float]] = tuple) -> list[str] | None:
    """Return a page's lines in reading order; None where there are no columns and no table.

    `rules` gives the heights of the horizontal lines on the page; it is called where there is a table.
    """
    height = _height(pieces)
    lines = _lines(pieces, height)
    found: list[str] = []
    drawn: Sequence[float] | None = None
    at = 0
    while at < len(lines):
        end, gutters = _band(lines, at, height)
        if gutters:
            drawn = sorted(rules(), reverse=True) if drawn is None else drawn
            band = lines[at:end]
            while end < len(lines) and _is_inside(lines[end], band[-1], drawn):
                band.append(lines[end])
                end += 1
            found += _read_band(band, gutters, [_above(line, drawn) for line in band])
        else:
            found.append(lines[at].text)
        at = end
    return found if drawn is not None else None


def _above(line: _Line, rules: Sequence[float]) -> int:
    """Return how many rules are above a line: lines with the same number stand in one row."""
    return bisect.bisect_left(rules, -line.y, key=lambda rule: -rule)


def _is_inside(line: _Line, before: _Line, rules: Sequence[float]) -> bool:
    """Whether a line stands in the same row as the one before it, with a rule below both."""
    place = _above(line, rules)
    return 0 < place < len(rules) and place == _above(before, rules)


def _height(pieces: Sequence[Piece]) -> float:
    heights = [piece.top - piece.bottom for piece in pieces if piece.top - piece.bottom > 1]
    return median(heights) if heights else 10.0


def _lines(pieces: Sequence[Piece], height: float) -> list[_Line]:
    """Return lines from the top down, each with its pieces from the left, neighbours joined."""
    lines: list[_Line] = []
    for piece in sorted(pieces, key=lambda piece: (-(piece.top + piece.bottom) / 2, piece.left)):
        y = (piece.top + piece.bottom) / 2
        if lines and lines[-1].y - y <= height * _SAME_LINE_HEIGHTS:
            lines[-1].raw.append(piece)
        else:
            lines.append(_Line(y, [piece], []))
    for line in lines:
        line.raw.sort(key=lambda piece: piece.left)
        line.pieces = _joined(line.raw, height * _GUTTER_HEIGHTS)
    return lines


def _joined(pieces: Sequence[Piece], gutter: float) -> list[Piece]:
    found: list[Piece] = []
    for piece in pieces:
        if found and piece.left - found[-1].right < gutter:
            last = found[-1]
            blank = "" if last.text.endswith(" ") or piece.left - last.right < gutter / 10 else " "
            found[-1] = Piece(
                last.left,
                min(last.bottom, piece.bottom),
                max(last.right, piece.right),
                max(last.top, piece.top),
                last.text + blank + piece.text,
            )
        else:
            found.append(piece)
    return found


def _band(lines: Sequence[_Line], start: int, height: float) -> tuple[int, list[Interval]]:
    """Return the end of the lines that share gutters with that at `start`, and these; without any, the next
    line."""
    gutters = _gaps(lines[start])
    end = start + 1
    while gutters and end < len(lines):
        is_far = lines[end - 1].y - lines[end].y > _FAR * _pitch(
            lines[max(start, end - _LINES_FOR_PITCH) : end + 1], height
        )
        narrower = [] if is_far else _shared(gutters, lines[end], height * _GUTTER_HEIGHTS * 0.7)
        if not narrower:
            break
        gutters = narrower
        end += 1
    while end > start + 1 and len(lines[end - 1].pieces) < 2 and not _goes_on(lines[end - 1], lines[end - 2]):
        end -= 1
    band = lines[start:end]
    several = sum(len(line.pieces) > 1 for line in band)
    if not gutters or several < 2 or _is_list(band, gutters):
        return start + 1, []
    return end, _all_gutters(band, height)


def _all_gutters(lines: Sequence[_Line], height: float) -> list[Interval]:
    """Return every strip that the lines of a band leave free, the narrow ones too: blanks of words do not
    line up."""
    least = height * (_NARROW_HEIGHTS if len(lines) >= _LINES_FOR_NARROW else _GUTTER_HEIGHTS * 0.7)
    found: list[Interval] = []
    reached = None
    for piece in sorted((piece for line in lines for piece in line.raw), key=lambda piece: piece.left):
        if reached is not None and piece.left - reached >= least:
            found.append((reached, piece.left))
        reached = piece.right if reached is None else max(reached, piece.right)
    return found


def _gaps(line: _Line) -> list[Interval]:
    return [(before.right, after.left) for before, after in pairwise(line.pieces)]


def _shared(gutters: Sequence[Interval], line: _Line, least: float) -> list[Interval]:
    """Return what another line leaves free of gutters."""
    free = [(-1e9, line.pieces[0].left), *_gaps(line), (line.pieces[-1].right, 1e9)]
    found = ((max(a, c), min(b, d)) for a, b in gutters for c, d in free)
    return [(left, right) for left, right in found if right - left >= least]


def _pitch(lines: Sequence[_Line], height: float) -> float:
    steps = [before.y - after.y for before, after in pairwise(lines)]
    return max(median(steps[:-1]), height) if len(steps) > 1 else 4 * height


def _goes_on(line: _Line, above: _Line) -> bool:
    """Whether a line of one piece goes on with a longer column."""
    return len(above.pieces) > 1 and _width(line.text) >= _PROSE_WIDTH


def _is_list(lines: Sequence[_Line], gutters: Sequence[Interval]) -> bool:
    """Whether the first column holds the marks of a list's items."""
    firsts = [row[0] for row in (_cells(line, gutters[:1]) for line in lines) if row[0]]
    return bool(firsts) and all(_MARKER.fullmatch(text) for text in firsts)


def _cells(line: _Line, gutters: Sequence[Interval]) -> list[str]:
    cells = [""] * (len(gutters) + 1)
    for piece in line.raw:
        centre = (piece.left + piece.right) / 2
        place = sum(centre > right for _, right in gutters)
        cells[place] = f"{cells[place]} {piece.text.strip()}".strip()
    return cells


def _read_band(lines: Sequence[_Line], gutters: Sequence[Interval], places: Sequence[int]) -> Iterator[str]:
    """Yield a band's lines; `places` tell which of them stand between the same two rules."""
    rows = [_cells(line, gutters) for line in lines]
    columns = [[row[place] for row in rows if row[place]] for place in range(len(gutters) + 1)]
    is_prose = len(columns) <= _MOST_PROSE_COLUMNS and all(
        column and median(map(_width, column)) >= _PROSE_WIDTH for column in columns
    )
    if is_prose:
        for column in columns:
            yield from column
        return
    by_rules = len(set(places)) >= max(2, _RULED * len(lines))
    whole = _ruled_rows(rows, places) if by_rules else _whole_rows(rows, [line.y for line in lines])
    if is_header(whole[0]):
        yield from table_text(whole).splitlines()
    else:
        yield from (f"| {' | '.join(row)} |" for row in whole)


def _ruled_rows(rows: Sequence[Sequence[str]], places: Sequence[int]) -> list[list[str]]:
    """Join the lines between two rules, column by column."""
    found: dict[int, list[list[str]]] = {}
    for row, place in zip(rows, places, strict=True):
        found.setdefault(place, []).append(list(row))
    return [
        [" ".join(filter(None, column)) for column in zip(*group, strict=True)] for group in found.values()
    ]


def _whole_rows(rows: Sequence[Sequence[str]], ys: Sequence[float]) -> list[list[str]]:
    """Join the lines of one row: a cell's text that goes on in the next line."""
    steps = [ys[at - 1] - ys[at] for at in range(1, len(rows)) if rows[at][0]]
    usual = median(steps) if steps else 0.0
    found = [list(rows[0])]
    for at in range(1, len(rows)):
        if not rows[at][0] and ys[at - 1] - ys[at] <= usual * _CONTINUES:
            found[-1] = [f"{above} {text}".strip() for above, text in zip(found[-1], rows[at], strict=True)]
        else:
            found.append(list(rows[at]))
    return found


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
