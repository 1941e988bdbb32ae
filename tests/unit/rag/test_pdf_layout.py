"""Columns and tables of PDF pages: order and rows by the places of the text."""

from __future__ import annotations

from pathlib import Path

import pytest
from fpdf import FPDF

from quantserve.rag.loaders.pdf_layout import Piece, page_lines
from quantserve.rag.loaders.registry import load

LEFT = (
    "The left column begins here",
    "and speaks of apples that",
    "cost three dollars each in",
    "the autumn market of Busan.",
)
RIGHT = (
    "The right column is about",
    "trains which leave at seven",
    "every morning from Seoul",
    "station to Daejeon city.",
)


def piece(x: float, y: float, text: str) -> Piece:
    return Piece(x, y, x + 5.0 * len(text), y + 10, text)


def test_columns_are_read_one_after_the_other() -> None:
    pieces = [
        piece(x, 700 - 15 * number, text)
        for number, row in enumerate(zip(LEFT, RIGHT, strict=True))
        for x, text in zip((50, 320), row, strict=True)
    ]
    title = piece(150, 760, "A title across both of the columns")
    assert page_lines([title, *pieces]) == [title.text, *LEFT, *RIGHT]


def test_a_table_without_lines_keeps_its_rows_and_empty_cells() -> None:
    rows = {
        700: ("지점", "매출", "직원"),
        680: ("서울", "1200", "35"),
        660: ("부산", "", "12"),
        640: ("대구", "700", ""),
    }
    pieces = [
        piece(x, y, text)
        for y, row in rows.items()
        for x, text in zip((60, 180, 300), row, strict=True)
        if text
    ]
    assert page_lines(pieces) == [
        "| 지점 | 매출 | 직원 |",
        "|---|---|---|",
        "| 서울 | 1200 | 35 |",
        "| 부산 |  | 12 |",
        "| 대구 | 700 |  |",
    ]


def test_rules_say_which_lines_are_one_row() -> None:
    pieces = [
        *(piece(x, 700, text) for x, text in ((50, "Severity"), (150, "Meaning"))),
        piece(50, 670, "1"),
        *(piece(150, y, text) for y, text in ((675, "Secret data left"), (665, "the company"))),
        *(piece(x, 640, text) for x, text in ((50, "2"), (150, "A control failed"))),
    ]
    assert page_lines(pieces, lambda: [720, 690, 655, 630]) == [
        "| Severity | Meaning |",
        "|---|---|",
        "| 1 | Secret data left the company |",
        "| 2 | A control failed |",
    ]


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [piece(50, 700 - 15 * number, text) for number, text in enumerate(LEFT)],
        [
            piece(50, 700, "Handbook"),
            piece(400, 700, "Page 1"),
            piece(50, 600, "Text of the page, all of it."),
        ],
        [
            p
            for n in range(4)
            for p in (piece(50, 700 - 15 * n, "•"), piece(80, 700 - 15 * n, f"item {n} of a list"))
        ],
        [
            p
            for n in range(4)
            for p in (piece(50, 700 - 15 * n, f"{n}."), piece(80, 700 - 15 * n, f"item {n} of a list"))
        ],
    ],
    ids=["nothing", "one column", "a head", "bullets", "numbers"],
)
def test_pages_without_columns_keep_pdfiums_order(pieces: list[Piece]) -> None:
    assert page_lines(pieces) is None


def test_a_real_table_of_several_lines_a_cell(tmp_path: Path) -> None:
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=11)
    pdf.multi_cell(0, text="How fast we answer is written in this table.", new_x="LMARGIN", new_y="NEXT")
    with pdf.table(col_widths=(20, 60, 40), width=120) as table:
        for row in (
            ("Severity", "Meaning", "Who is told"),
            ("1", "Secret data has left the company for good", "Executive on call"),
            ("2", "A control failed", "Security office"),
        ):
            table.row(row)
    pdf.output(str(tmp_path / "a.pdf"))
    (section,) = load(tmp_path / "a.pdf").sections
    assert section.text.splitlines() == [
        "How fast we answer is written in this table.",
        "| Severity | Meaning | Who is told |",
        "|---|---|---|",
        "| 1 | Secret data has left the company for good | Executive on call |",
        "| 2 | A control failed | Security office |",
    ]
